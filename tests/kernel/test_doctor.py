"""The doctor and the map on real namespaces: what they foresee is what the kernel then does; the canary for real."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import mountwarden
import pytest
from mountwarden.cli import map as command
from mountwarden.doctor import canary
from mountwarden.kernel import abi, syscalls
from mountwarden.mounts.exposure import Exposure, Relation
from mountwarden.mounts.table import Table
from mountwarden.observe import processes
from mountwarden.observe.capabilities import NEEDED, interfaces
from mountwarden.observe.enter import own_namespace
from mountwarden.output.map import drawing, fold, svg
from mountwarden.output.terminal import Terminal
from mountwarden.predict.next_leaks import NextLeak, predict_leaks, who
from mountwarden.report.map import MapFacts
from mountwarden.report.map_types import MapJson
from mountwarden.scan.scanner import Scanner
from mountwarden.scratch import topology

from tests.kernel.crash import in_few_processes
from tests.kernel.topology import ROOT, Home
from tests.support.exposures import exposures
from tests.support.scratch_ns import Namespace, Propagation, Sandbox, hold, in_child

AGENT = Path(mountwarden.__file__).parents[1]
NOBODY = 65534
POINTS = (ROOT + b"/X/merged", ROOT + b"/Y/merged")


def tables(*spaces: Namespace) -> dict[int, Table]:
    """The mounts of these namespaces alone: other tests may have made hundreds meanwhile."""
    return {space.inode: Table.from_text(space.mountinfo()) for space in spaces}


def shown(home: Home, *others: Namespace) -> list[Exposure]:
    """The sights of the guarded root in home and the others, by a fresh look."""
    read = tables(home.sandbox, *others)
    return home.run(lambda: list(exposures(Scanner(home.config, home=own_namespace()).scan().picture, read)))


def foreseen(home: Home, *others: Namespace) -> list[NextLeak]:
    read = tables(home.sandbox, *others)

    def here() -> list[NextLeak]:
        picture = Scanner(home.config, home=own_namespace()).scan().picture
        return list(predict_leaks(exposures(picture, read), picture)[0])

    return home.run(here)


def copies(namespace: Namespace, device: str) -> int:
    """Mounts of a device, by the test's own reading of the kernel's table."""
    return sum(line.split(b" ")[2].decode() == device for line in namespace.mountinfo().splitlines())


def device(namespace: Namespace, point: bytes) -> str:
    return next(
        line.split(b" ")[2].decode() for line in namespace.mountinfo().splitlines() if line.split(b" ")[4] == point
    )


def bind_elsewhere(namespace: Namespace, propagation: int) -> None:
    """The whole root a second time, below another path, by a bind of its own propagation."""

    def inside() -> None:
        os.makedirs(b"/mnt/elsewhere", exist_ok=True)
        syscalls.mount(ROOT, b"/mnt/elsewhere", None, abi.MS_BIND | abi.MS_REC)
        syscalls.mount(None, b"/mnt/elsewhere", None, propagation | abi.MS_REC)

    namespace.run(inside)


@contextlib.contextmanager
def one(home: Home, propagation: Propagation | None, *, userns: bool = False) -> Iterator[list[Namespace]]:
    """A single holder."""
    with hold(home.sandbox, propagation=propagation, userns=userns) as holder:
        yield [holder]


@contextlib.contextmanager
def chained(home: Home) -> Iterator[list[Namespace]]:
    """A slave, and a slave of it."""
    with hold(home.sandbox, propagation="slave") as first:
        first.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_SHARED))
        with hold(first, propagation="slave") as second:
            yield [first, second]


HOLDERS: dict[str, tuple[Callable[[Home], contextlib.AbstractContextManager[list[Namespace]]], Relation]] = {
    "private": (lambda home: one(home, "private"), Relation.CUT_OFF),
    "slave": (lambda home: one(home, "slave"), Relation.SLAVE),
    "peer": (lambda home: one(home, None), Relation.PEER),
    "slave of a slave": (chained, Relation.SLAVE),
    "another user's": (lambda home: one(home, None, userns=True), Relation.SLAVE),
}


@pytest.mark.parametrize("kind", HOLDERS)
def test_what_is_foreseen_is_what_the_kernel_does(home: Home, kind: str) -> None:
    home.layer(b"X")
    home.layer(b"Y")
    make, relation = HOLDERS[kind]
    with make(home) as holders:
        holder = holders[-1]
        devices = [device(home.sandbox, point) for point in POINTS]
        (sight,) = (sight for sight in shown(home, *holders) if sight.namespace == holder.inode)
        assert (sight.relation, sight.copies) == (relation, 2)
        for point in POINTS:
            home.umount(point)
        left = sum(copies(holder, each) for each in devices)
        assert left == sight.leaks


@pytest.mark.parametrize(("propagation", "left"), [(abi.MS_PRIVATE, 1), (abi.MS_SLAVE, 0)], ids=["private", "slave"])
def test_a_root_bound_a_second_time_is_a_sight_of_its_own(home: Home, propagation: int, left: int) -> None:
    home.layer(b"X")
    with hold(home.sandbox, propagation="slave") as holder:
        bind_elsewhere(holder, propagation)
        each = device(home.sandbox, POINTS[0])
        found = {sight.at: sight for sight in shown(home, holder) if sight.namespace == holder.inode}
        assert found.keys() == {ROOT, b"/mnt/elsewhere"}
        assert found[ROOT].leaks == 0
        foretold = sum(sight.leaks for sight in found.values())
        home.umount(POINTS[0])
        assert copies(holder, each) == foretold == left


def test_a_second_view_in_home_makes_the_engines_rmdir_busy_as_foretold(home: Home) -> None:
    home.layer(b"X")
    bind_elsewhere(home.sandbox, abi.MS_PRIVATE)
    (view,) = foreseen(home)
    assert (view.at_home, view.leaks) == (b"/mnt/elsewhere", 1)
    home.umount(POINTS[0])
    with pytest.raises(OSError, match="busy"):
        home.run(lambda: os.rmdir(POINTS[0]))
    home.umount(b"/mnt/elsewhere", abi.MNT_DETACH)
    home.run(lambda: os.rmdir(POINTS[0]))


def test_a_holder_without_copies_keeps_none(home: Home) -> None:
    """A private namespace is given no new mount: it leaks only what was live when it was made."""
    with hold(home.sandbox, propagation="private") as holder:
        home.layer(b"X")
        (sight,) = (sight for sight in shown(home, holder) if sight.namespace == holder.inode)
        assert (sight.relation, sight.leaks) == (Relation.CUT_OFF, 0)
        assert not holder.is_mounted(POINTS[0])


def test_who_will_leak_is_a_process_with_a_cause(home: Home) -> None:
    home.layer(b"X")
    with hold(home.sandbox, propagation="private") as holder:
        (told,) = foreseen(home, holder)
        assert (told.namespace, told.leaks) == (holder.inode, 1)
        assert holder.pid in {person.pid for person in told.who.holders}
        assert told.cause is not None


def drawn(home: Home, others: Sequence[Namespace], step: Callable[[], None]) -> MapJson:
    """The picture of home and the others after a step, by a looker that saw it before."""

    def here() -> MapJson:
        scanner = Scanner(home.config, home=own_namespace())
        scanner.scan()
        step()
        seen = scanner.scan()
        told = exposures(seen.picture, tables(home.sandbox, *others))
        held = {inode for finding in seen.findings for inode in finding.namespaces}
        inodes = {sight.namespace for sight in told} | held
        people = {inode: who(inode, seen.picture) for inode in inodes}
        facts = MapFacts(seen.picture, seen.findings, told, people)
        return command.document(facts, (), 0.0)

    return home.run(here)


def test_the_map_shows_who_is_reached_and_what_leaked(home: Home) -> None:
    home.layer(b"X")
    home.layer(b"Y")
    with hold(home.sandbox, propagation="private") as cut, hold(home.sandbox, propagation="slave") as slave:
        (base,) = drawn(home, (cut, slave), lambda: syscalls.umount(POINTS[0]))["bases"]
        rows = {row["namespace"]: row for row in base["namespaces"]}
        assert rows.keys() == {cut.inode, slave.inode}
        assert (base["at"], base["propagation"], base["roots"][0]["live"]) == ("/mnt", "shared", 1)
        assert (rows[cut.inode]["leaks"], rows[cut.inode]["unconfirmed"], rows[cut.inode]["relation"]) == (
            1,
            1,
            "cut-off",
        )
        assert (rows[slave.inode]["copies"], rows[slave.inode]["relation"]) == (1, "slave")
        assert [fold.level(row) for row in base["namespaces"]] == ["leaked", "healthy"]


@pytest.mark.long
@pytest.mark.timeout(120)
def test_two_hundred_namespaces_are_a_screen(home: Home) -> None:
    """Most are reached; a few are cut off, and one copy has leaked in each of those."""
    home.layer(b"X")
    home.layer(b"Y")
    others: list[Namespace] = []
    with contextlib.ExitStack() as stack:
        for number in range(200):
            way: Propagation = "private" if number % 50 == 0 else "slave"
            others.append(stack.enter_context(hold(home.sandbox, propagation=way)))
        document = drawn(home, others, lambda: syscalls.umount(POINTS[0]))
        (base,) = document["bases"]
        told = drawing.render(document, Terminal(80)).splitlines()
        picture = svg.render(document)
    assert [fold.level(row) for row in base["namespaces"]].count("leaked") == 4
    assert any(line.startswith("└ · 196 processes  ") for line in told)
    assert len(told) < 20
    assert picture.count('class="bar leaked"') == 5, "and the legend"
    assert "slaves: 196 copies within reach" in picture


def test_the_canary_sings_and_leaves_nothing() -> None:
    mounts = processes.read("/proc/self/mountinfo")
    result = canary.run()
    assert result.done, result.text
    assert 0 < result.detach < 10
    assert 0 < result.find < 10
    assert processes.read("/proc/self/mountinfo") == mounts


def test_a_canary_that_fails_says_so() -> None:
    def forbidden() -> canary.CanaryResult:
        # Its own user namespace has a limit of its own: none below it. Executing as no root then drops all rights.
        syscalls.unshare(abi.CLONE_NEWUSER)
        for name, value in (("setgroups", "deny"), ("uid_map", "1000 0 1"), ("gid_map", "1000 0 1")):
            Path(f"/proc/self/{name}").write_text(value)
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
        Path("/proc/sys/user/max_mnt_namespaces").write_text("0")
        return canary.run()

    result = in_child(forbidden)
    assert not result.done
    assert canary.check(result).status == "fail"


def test_interfaces_are_refused_to_nobody_and_not_missing() -> None:
    def as_nobody() -> dict[str, str | None]:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        return {one.name: one.errno for one in interfaces() if not one.available}

    as_root = {one.name for one in interfaces() if one.available}
    refused = in_child(as_nobody)
    assert NEEDED in as_root
    assert refused.keys() >= {"MOVE_MOUNT_SET_GROUP", "a scratch topology of umounts"} & as_root
    assert {refused[name] for name in refused.keys() & as_root} == {"EPERM"}


@pytest.mark.timeout(60)
def test_the_command_without_root_sees_what_it_can(tmp_path_factory: pytest.TempPathFactory) -> None:
    code = f"import sys; sys.path.insert(0, {str(AGENT)!r}); from mountwarden.cli.main import run; run()"
    argv = ["/usr/bin/python3", "-I", "-B", "-c", code, "doctor", "--json"]

    def drop() -> None:
        # The checkout may be closed to others: capabilities go, root's own files stay readable.
        syscalls.unshare(abi.CLONE_NEWUSER)
        for name, value in (("setgroups", "deny"), ("uid_map", "1000 0 1"), ("gid_map", "1000 0 1")):
            Path(f"/proc/self/{name}").write_text(value)

    done = subprocess.run(argv, capture_output=True, text=True, check=False, preexec_fn=drop, cwd="/", timeout=50)
    document = json.loads(done.stdout)
    assert done.stderr == ""
    assert document["root"] is False
    assert document["foreseen"] == []
    assert document["canary"]["done"] is True, document["canary"]
    assert any(check["hint"] == "run it as root" for check in document["checks"])
    assert done.returncode == (1 if document["status"] == "fail" else 0)


def test_the_canary_reads_no_namespace_but_its_own() -> None:
    """However many the host has: a thousand mounts in each of 400 took it 46 s."""

    def among_few(_home: Sandbox) -> tuple[canary.CanaryResult, set[int], set[int]]:
        opened = set[int]()

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open" and (path := str(arguments[0])).endswith("/mountinfo"):
                opened.add(os.stat(path.replace("mountinfo", "ns/mnt")).st_ino)

        with hold(propagation="private") as cut, hold(propagation="slave") as slave:
            os.mkdir("/mnt/canary")
            sys.addaudithook(hook)
            result = canary._leak_and_detach(b"/mnt/canary", topology.holder_process)
            return result, opened - {own_namespace()}, {cut.inode, slave.inode}

    result, opened, others = in_few_processes(among_few, 20)
    assert result.done, result.text
    assert len(opened) == 1, "that of the holder"
    assert not opened & others
