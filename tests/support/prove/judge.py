"""One example: build it, predict the act at its end from what can be seen, let the kernel act, compare."""

import errno
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from mountwarden.kernel import abi
from mountwarden.model import Mount
from mountwarden.mounts.graph import Graph
from mountwarden.mounts.propagation import UmountResult, concerned, predict_detach, predict_umount
from mountwarden.mounts.table import Dentry, Table, below, join
from mountwarden.observe import directory_users, processes
from mountwarden.observe.all_mounts import Survey, survey
from mountwarden.observe.umount_probe import probe_behaviour
from mountwarden.predict.locked import locked_mounts

from tests.support import mountinfo
from tests.support.prove import actor
from tests.support.prove.features import Feature, features
from tests.support.prove.steps import BASE, Act, Kind, Scenario
from tests.support.prove.topology import Topology, topology

_ERRNO = {UmountResult.OK: 0, UmountResult.BUSY: errno.EBUSY, UmountResult.LOCKED: errno.EINVAL}

Hangs = dict[tuple[int, int], int]
"""Each mount's parent, by namespace and small id."""


@dataclass(frozen=True)
class Predictor:
    """What the prediction is made with; a mutant is a worse one."""

    graph: type[Graph] = Graph
    locks: bool = True
    compare_locks: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of one example."""

    problem: str | None
    act: str
    answer: str
    namespaces: int
    survivor: bool
    used: Counter[Kind] = field(default_factory=Counter)
    refused: int = 0
    moved: int = 0
    reached: int = 0
    locked: int = 0
    """Locked mounts that were inferred, and all that the kernel was asked about."""
    asked: int = 0
    unknown: int = 0
    """Of those, the ones that were taken for what they are not."""
    doubtful: bool = False
    """Whether any umount by who acts would be predicted otherwise if those were known."""
    features: frozenset[Feature] = frozenset()


@dataclass(frozen=True)
class _Expected:
    error: int
    removed: frozenset[int] = frozenset()
    moved: Mapping[int, int] = field(default_factory=dict)
    survivor: bool = False
    reached: int = 0


def examine(scenario: Scenario, predictor: Predictor) -> Outcome:
    """Try one example."""
    with topology(scenario.steps) as built:
        who = built.pick(scenario.who)
        if built.owner(who) != built.owner(0):
            who = 0  # its own locks need not be known: see _compare_locks
        seen = survey(processes.pids(), thorough=False)
        plain = Graph(seen.tables)
        locked = locked_mounts(plain, seen.owners, plain.places)
        comparing = predictor.compare_locks and len(set(seen.owners.values())) > 1
        asked, unknown, doubtful = _compare_locks(built, who, seen, locked) if comparing else (0, 0, False)
        graph = predictor.graph(seen.tables)
        act, expected, call = _plan(scenario, built, who, seen, graph, locked if predictor.locks else frozenset())
        before = _hangs(seen.tables)
        error = built.call(who, call)
        problem = _compare(expected, error, before, _hangs(_again(seen)))
        if problem:
            problem = _story(problem, built, who, call, seen, locked)
        return Outcome(
            problem,
            act,
            errno.errorcode.get(error, "ok"),
            len(seen.tables) - 1,  # the worker's own is in no topology
            expected.survivor,
            built.used,
            sum(bool(error) for _step, error in built.done),
            len(expected.moved),
            expected.reached,
            len(locked),
            asked,
            unknown,
            doubtful,
            features(plain, built.used, locked, len(set(seen.owners.values()))),
        )


def _plan(
    scenario: Scenario, built: Topology, who: int, seen: Survey, graph: Graph, locked: frozenset[int]
) -> tuple[str, _Expected, "partial[int]"]:
    table, inode = seen.tables[built.namespace(who)], built.namespace(who)
    if scenario.act in (Act.RMDIR, Act.RENAME) and (spots := _spots(table, graph, inode)):
        path, dentry = spots[scenario.which % len(spots)]
        call = partial(actor.remove if scenario.act is Act.RMDIR else actor.replace, path)
        return str(scenario.act), _expect_detach(graph, dentry, inode), call
    lazy = scenario.act is Act.LAZY
    targets = sorted(_targets(table) or _targets(table, b"/mnt"), key=lambda mount: mount.point)
    mount = targets[scenario.which % len(targets)]
    call = partial(actor.unmount, mount.point, abi.MNT_DETACH if lazy else 0)
    return str(Act.LAZY if lazy else Act.UMOUNT), _expect_umount(graph, mount, lazy, locked), call


def _targets(table: Table, under: bytes = BASE) -> list[Mount]:
    return [mount for mount in table.mounts if below(under, mount.point) is not None and table.visible(mount)]


def _spots(table: Table, graph: Graph, inode: int) -> list[tuple[bytes, Dentry]]:
    """Empty directories that something is mounted on somewhere, with a path at which the namespace shows them.

    Where there are some that the namespace itself has no mount on, as after its umount, only those.
    """
    found = []
    for dentry in graph.dentries():
        device, inside = dentry
        if inside.count(b"/") != 2:
            continue
        for mount in table.mounts:
            rest = below(mount.root, inside) if mount.device == device and mount.fstype == "tmpfs" else None
            path = join(mount.point, rest) if rest else b""
            if below(BASE, path) and table.containing(path.rpartition(b"/")[0]) is mount:
                found.append((path, dentry))
    free = [spot for spot in found if not any(graph.places[m.id].namespace == inode for m in graph.on_dentry(spot[1]))]
    return sorted(free or found)


def _expect_umount(graph: Graph, mount: Mount, lazy: bool, locked: frozenset[int]) -> _Expected:
    busy = frozenset[int]()
    if not lazy:
        proc = directory_users.open_proc()
        try:
            busy = frozenset(directory_users.users_by_mount(proc, concerned(graph, mount, lazy=False)))
        finally:
            os.close(proc)
    told = predict_umount(graph, mount, lazy=lazy, busy=busy, locked=locked, behaviour=probe_behaviour())
    return _Expected(_ERRNO[told.answer], told.removed, told.moved, bool(told.left), len(told.reached))


def _expect_detach(graph: Graph, dentry: Dentry, inode: int) -> _Expected:
    on = graph.on_dentry(dentry)
    if any(graph.places[mount.id].namespace == inode for mount in on):
        return _Expected(errno.EBUSY)
    removed = predict_detach(graph, dentry)
    identities = {mount.identity for mount in on}
    stays = any(p.mount.identity in identities for identity, p in graph.places.items() if identity not in removed)
    return _Expected(0, removed, {}, stays, len(removed))


def _hangs(tables: Mapping[int, Table]) -> Hangs:
    return {(inode, mount.id): mount.parent for inode, table in tables.items() for mount in table.mounts}


def _again(seen: Survey) -> dict[int, Table]:
    texts = {inode: mountinfo.whole(inode, seen.pids[inode]) for inode in seen.tables}
    return {inode: Table.from_text(text or b"") for inode, text in texts.items()}


def _compare(expected: _Expected, error: int, before: Hangs, after: Hangs) -> str | None:
    if error != expected.error:
        names = [errno.errorcode.get(number, "success") for number in (expected.error, error)]
        return "predicted {}, the kernel says {}".format(*names)
    wanted = {
        (inode, identity): expected.moved.get(identity, parent)
        for (inode, identity), parent in before.items()
        if identity not in expected.removed
    }
    if wanted == after:
        return None
    gone = sorted(wanted.keys() - after.keys())
    kept = sorted(after.keys() - wanted.keys())
    hung = sorted((key, wanted[key], after[key]) for key in wanted.keys() & after.keys() if wanted[key] != after[key])
    return f"went and should stay: {gone}; stayed and should go: {kept}; hangs elsewhere (id, predicted, real): {hung}"


def _compare_locks(built: Topology, who: int, seen: Survey, locked: frozenset[int]) -> tuple[int, int, bool]:
    """About how many mounts the kernel was asked, how many of them were taken for what they are not, and if it matters.

    Nothing tells some: what a mount was copied from may be gone or moved by now, and an umount that could not take a
    locked copy has unlocked it (fs/pnode.c: propagate_mount_unlock).
    """
    asked, real, unknown = 0, set(locked), set[int]()
    for number in sorted(built.actors):
        mounts = _targets(seen.tables[built.namespace(number)])
        told = built.call(number, partial(actor.locked_among, [(mount.id, mount.point) for mount in mounts]))
        asked += len(mounts)
        unknown |= {mount.id for mount in mounts if (mount.id in told) != (mount.id in locked)}
        real = (real - {mount.id for mount in mounts}) | told
    graph, known = Graph(seen.tables), frozenset(real)
    acts = [(mount, lazy) for mount in _targets(seen.tables[built.namespace(who)]) for lazy in (False, True)]
    doubtful = any(
        _expect_umount(graph, mount, lazy, locked) != _expect_umount(graph, mount, lazy, known)
        for mount, lazy in (acts if unknown else ())
    )
    return asked, len(unknown), doubtful


def _story(problem: str, built: Topology, who: int, call: "partial[int]", seen: Survey, locked: frozenset[int]) -> str:
    lines = [problem, f"act by {who}: {call.func.__name__} {call.args}"]
    lines += [
        f"  {step.kind} who={step.who} a={actor.PATHS[step.a].decode()} b={actor.PATHS[step.b].decode()}"
        f" how={step.how}: {errno.errorcode.get(error, 'ok')}"
        for step, error in built.done
    ]
    numbers = {built.namespace(number): number for number in built.actors}
    for inode, table in seen.tables.items():
        lines.append(f"namespace {inode} process {numbers.get(inode)} owner {seen.owners.get(inode)}")
        lines += [f"  {_line(mount)}{' LOCKED' if mount.id in locked else ''}" for mount in table.mounts]
    return "\n".join(lines)


def _line(mount: Mount) -> str:
    return (
        f"{mount.id} ({mount.unique}) on {mount.parent} {mount.device} {mount.root.decode()} {mount.point.decode()}"
        f" shared:{mount.shared} master:{mount.master} from:{mount.propagate_from}"
    )
