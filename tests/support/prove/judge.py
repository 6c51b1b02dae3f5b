"""One example: build it, predict the act at its end from what can be seen, let the kernel act, compare."""

import errno
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from mountwarden.graph import Dentry, Graph
from mountwarden.kernel import abi
from mountwarden.locked import locked_mounts
from mountwarden.model import Mount
from mountwarden.observe import namespaces, procs, uses
from mountwarden.observe.behaviour import probe_behaviour
from mountwarden.observe.mountinfo import Table, below, join
from mountwarden.observe.survey import Survey, survey
from mountwarden.propagation import Answer, predict_detach, predict_umount

from tests.support.prove import actor
from tests.support.prove.steps import BASE, Act, Kind, Scenario
from tests.support.prove.topology import Topology, topology

_ERRNO = {Answer.OK: 0, Answer.BUSY: errno.EBUSY, Answer.LOCKED: errno.EINVAL}

Hangs = dict[tuple[int, int], int]
"""Each mount's parent, by namespace and small id."""
Maker = Callable[[Mapping[int, Table], frozenset[int]], Graph]
"""Makes the graph that the prediction is made with; a mutant makes a worse one."""


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
    """Of those, the ones whose origin can no longer be seen, and that were taken for what they are not."""


@dataclass(frozen=True)
class _Expected:
    error: int
    removed: frozenset[int] = frozenset()
    moved: Mapping[int, int] = field(default_factory=dict)
    survivor: bool = False
    reached: int = 0


def examine(scenario: Scenario, maker: Maker = Graph, *, locks: bool = True) -> Outcome:
    """Try one example. `locks`: compare the inferred locks with what the kernel says, too."""
    with topology(scenario.steps) as built:
        who = built.pick(scenario.who)
        if built.owner(who) != built.owner(0):
            who = 0  # its own locks need not be known: see _compare_locks
        seen = survey(procs.pids(), thorough=False)
        locked = locked_mounts(seen.tables, seen.owners)
        graph = maker(seen.tables, locked)
        problem, asked, unknown = _compare_locks(built, who, seen, locked) if locks else (None, 0, 0)
        act, expected, call = _plan(scenario, built, who, seen, graph)
        before = _hangs(seen.tables)
        error = built.call(who, call)
        problem = problem or _compare(expected, error, before, _hangs(_again(seen)))
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
        )


def _plan(
    scenario: Scenario, built: Topology, who: int, seen: Survey, graph: Graph
) -> tuple[str, _Expected, "partial[int]"]:
    table, inode = seen.tables[built.namespace(who)], built.namespace(who)
    if scenario.act in (Act.RMDIR, Act.RENAME) and (spots := _spots(table, graph)):
        path, dentry = spots[scenario.which % len(spots)]
        call = partial(actor.remove if scenario.act is Act.RMDIR else actor.replace, path)
        return str(scenario.act), _expect_detach(graph, dentry, inode), call
    lazy = scenario.act is Act.LAZY
    targets = sorted(_targets(table) or _targets(table, b"/mnt"), key=lambda mount: mount.point)
    mount = targets[scenario.which % len(targets)]
    call = partial(actor.unmount, mount.point, abi.MNT_DETACH if lazy else 0)
    return str(Act.LAZY if lazy else Act.UMOUNT), _expect_umount(graph, mount, lazy), call


def _targets(table: Table, under: bytes = BASE) -> list[Mount]:
    return [mount for mount in table.mounts if below(under, mount.point) is not None and table.visible(mount)]


def _spots(table: Table, graph: Graph) -> list[tuple[bytes, Dentry]]:
    """Empty directories that something is mounted on somewhere, with a path at which the namespace shows them."""
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
    return sorted(found)


def _expect_umount(graph: Graph, mount: Mount, lazy: bool) -> _Expected:
    busy = frozenset[int]()
    if not lazy:
        proc = uses.open_proc()
        try:
            busy = frozenset(uses.users_by_mount(proc, frozenset(graph.places)))
        finally:
            os.close(proc)
    told = predict_umount(graph, mount, lazy=lazy, busy=busy, behaviour=probe_behaviour())
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
    texts = {inode: namespaces.read_mountinfo(inode, seen.pids[inode]) for inode in seen.tables}
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


def _compare_locks(built: Topology, who: int, seen: Survey, locked: frozenset[int]) -> tuple[str | None, int, int]:
    """A difference, how many mounts were asked about, and about how many nothing could be inferred.

    An umount asks only for locks of mounts that it may reach; others may have lost what they were copied from, and are
    only counted.
    """
    if len(set(seen.owners.values())) < 2:
        return None, 0, 0
    matters = Graph(seen.tables).candidates(seen.tables[built.namespace(who)].mounts).keys()
    asked = unknown = 0
    for number in sorted(built.actors):
        mounts = _targets(seen.tables[built.namespace(number)])
        real = built.call(number, partial(actor.locked_among, [(mount.id, mount.point) for mount in mounts]))
        wrong = {mount.id for mount in mounts if (mount.id in real) != (mount.id in locked)}
        asked += len(mounts)
        unknown += len(wrong)
        wrong &= matters
        if wrong:
            return f"locked but not inferred: {wrong & real}; inferred but not locked: {wrong - real}", asked, unknown
    return None, asked, unknown


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
