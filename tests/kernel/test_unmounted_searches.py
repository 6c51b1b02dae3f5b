"""When what processes keep is searched for again, in how many of them, and what is kept of it meanwhile."""

import os
from collections.abc import Iterable
from typing import Any

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Finding, Kind
from mountwarden.observe import open_files, processes, unmounted
from mountwarden.observe.enter import own_namespace
from mountwarden.observe.open_files import AttachedMounts
from mountwarden.scan import kept
from mountwarden.scan.history import History
from mountwarden.scan.part import Part
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.kernel.test_unmounted import MERGED, lazily, process
from tests.kernel.topology import Home
from tests.support.scratch_ns import hold
from tests.support.wait import wait_until


def _noted(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """What each search looks for in namespaces, by mount id: of all processes, since others may begin meanwhile."""
    asked, made = list[set[int]](), unmounted.Mounted.__init__

    def noted(self: unmounted.Mounted, ids: Iterable[int], *rest: Any) -> None:
        asked.append(set(ids))
        made(self, asked[-1], *rest)

    monkeypatch.setattr(unmounted.Mounted, "__init__", noted)
    monkeypatch.setattr(kept, "TURN", 0.0)
    monkeypatch.setattr(kept, "SLICE", 1_000_000)
    return asked


def _target(pid: int, fd: str) -> str:
    return os.readlink(f"/proc/{pid}/fd/{fd}")


def _mount_id(pid: int, fd: str) -> int:
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))


@pytest.mark.parametrize("by", ["searching", "superblock"])
def test_that_what_was_found_has_ended_is_seen_without_a_resync(
    home: Home, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Its process lives on, in /proc: it waits to be reaped."""
    home.layer()
    monkeypatch.setattr(kept, "PERIOD", 0.0 if by == "searching" else 3600.0)
    monkeypatch.setattr(kept, "COST_FACTOR", 0.0)

    def pinned_of(scan: Scan) -> list[Finding]:
        return [one for one in scan.findings if one.kind is Kind.PINNED]

    def watched() -> int:
        scanner = Scanner(home.config, home=own_namespace())
        if by == "searching":
            scanner.superblocks.ask = lambda devices: {}  # type: ignore[method-assign]
        seen = scanner.scan()
        os.kill(pid, 9)
        wait_until(lambda: processes.read_or_empty(f"/proc/{pid}/maps") == b"", 5)
        wait_until(lambda: not pinned_of(scanner.scan()), 5, "its superblock ends a moment later")
        return len(pinned_of(seen))

    with process(home, lambda: os.chdir(MERGED)) as pid:
        lazily(home)
        assert home.run(watched) == 1


def test_a_dear_search_is_not_made_again_so_soon(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.layer()
    monkeypatch.setattr(kept, "PERIOD", 0.0)

    def searches() -> int:
        scanner = Scanner(home.config, home=own_namespace())
        scanner.scan()
        begun: list[object] = []
        begin = scanner._kept._unmounted.begin
        monkeypatch.setattr(scanner._kept._unmounted, "begin", lambda *args: begun.append(args) or begin(*args))
        for _ in range(3):
            scanner.scan(Part(again=True))
        return len(begun)

    with process(home, lambda: os.chdir(MERGED)):
        lazily(home)
        assert home.run(searches) == 0
        monkeypatch.setattr(kept, "COST_FACTOR", 0.0)
        assert home.run(searches) == 3


def test_a_link_on_a_mount_of_no_namespace_whose_file_system_is_mounted_is_searched_for_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each search reads all namespaces for it: such as a log whose namespace is gone."""
    asked = _noted(monkeypatch)

    def open_beside() -> object:
        fd = syscalls.open_tree(abi.AT_FDCWD, b"/usr", abi.OPEN_TREE_CLONE)
        return os.open("bin", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)

    def watched() -> list[bool]:
        scanner = Scanner(home.config, home=own_namespace())
        for _ in range(2):
            scanner.scan(Part(), resync=True)
        return [mount in ids for ids in asked]

    with process(home, open_beside) as pid:
        mount = next(_mount_id(pid, fd) for fd in os.listdir(f"/proc/{pid}/fd") if _target(pid, fd) == "/bin")
        first, *later = home.run(watched)
        assert first
        assert not any(later)


def test_later_searches_take_turns_and_keep_what_is_found(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.layer()
    monkeypatch.setattr(kept, "SLICE", len(processes.pids()) // 2 + 2)
    monkeypatch.setattr(kept, "TURN", 0.0)

    def watched() -> list[int]:
        scanner = Scanner(home.config, home=own_namespace())
        scanner.scan()
        syscalls.umount(MERGED, abi.MNT_DETACH)
        scanner._history = History()  # which would tell at once
        seen = [scanner.scan(resync=True) for _ in range(4)]
        return [len([one for one in scan.findings if one.kind is Kind.PINNED]) for scan in seen]

    with process(home, lambda: os.chdir(MERGED)):
        counts = home.run(watched)
        assert sorted(counts) == counts, "what one found, the next has too"
        assert counts[-1] == 1


def test_a_search_reads_no_namespace_for_what_it_had_when_it_was_read(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process in another namespace has its root there, which home has not."""
    asked = _noted(monkeypatch)

    def watched() -> list[bool]:
        scanner, seen = Scanner(home.config, home=own_namespace()), list[bool]()
        for lasts in (300.0, 300.0, 0.0):
            monkeypatch.setattr(kept.MountedElsewhere, "LASTS", lasts)
            asked.clear()
            scanner.scan(Part(), resync=True)
            seen.append(any(not mounts.isdisjoint(ids) for ids in asked))
        return seen

    with hold() as holder:
        mounts = {int(line.split()[0]) for line in holder.mountinfo().splitlines()}
        assert home.run(watched) == [True, False, True], "some minutes later it is searched for again"


def test_mounts_are_those_of_the_links_that_a_search_would_find() -> None:
    with hold(propagation="private") as one, hold(cwd=b"/tmp") as other:
        pids = [one.pid, other.pid]
        links, _hung = open_files.links_beside(pids, AttachedMounts(), 10.0)
        mounts, hung = open_files.mounts_beside(pids, AttachedMounts(), 10.0)
    assert hung is None
    found = {(mount, pid) for mount, users in mounts.items() for pid in users}
    assert found == {(link.mount, link.pid) for link in links}
    assert len({pid for _mount, pid in found}) == 2


def test_of_many_users_of_a_mount_the_first_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "MOST_USERS", 1)
    with hold(propagation="private") as one:
        mounts, _hung = open_files.mounts_beside([one.pid, one.pid], AttachedMounts(), 10.0)
    assert set(map(len, mounts.values())) == {1}
