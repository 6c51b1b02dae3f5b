"""Many namespaces that have to be entered, and many descriptors: what a scan takes for them."""

import array
import contextlib
import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.observe import descriptors
from mountwarden.observe.descriptors import Descriptors
from mountwarden.observe.enter import own_namespace
from mountwarden.scan.scanner import Scanner
from mountwarden.service.watchdog import Watchdog

from tests.kernel.test_processless import may_walk
from tests.kernel.topology import Home
from tests.support.costs import timed
from tests.support.ours import only_ours


@contextlib.contextmanager
def crowd(home: Home, bare: int, chrooted: int, *, in_flight: bool) -> Iterator[frozenset[int]]:
    """Copies of home: `bare` ones that descriptors keep, and `chrooted` ones with a process in a jail.

    The descriptors are open in one process, or `in_flight`: sent to sockets of it that nobody reads. Gives the inodes
    of the bare ones.
    """
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            home.run(lambda: os.makedirs("/mnt/jail", exist_ok=True))
            syscalls.die_with_parent(signal.SIGKILL)
            fd = os.open(f"/proc/{home.sandbox.pid}/ns/mnt", os.O_RDONLY)
            syscalls.setns(fd, abi.CLONE_NEWNS)
            resource.setrlimit(resource.RLIMIT_NOFILE, (bare + 100, bare + 100))
            jail(chrooted)
            held = [unshared() for _ in range(bare)]
            inodes = [os.fstat(fd).st_ino for fd in held]
            syscalls.setns(fd, abi.CLONE_NEWNS)
            kept = [sent(held[start : start + 200]) for start in range(0, bare, 200)] if in_flight else []
            os.write(tell, struct.pack(f"={bare}Q", *inodes))
            signal.pause()
            del kept
        finally:
            os._exit(1)
    os.close(tell)
    try:
        with open(ready, "rb") as pipe:
            yield frozenset(struct.unpack(f"={bare}Q", pipe.read(bare * 8)))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def unshared() -> int:
    """A descriptor of another copy of the caller's mount namespace, which it then is in."""
    syscalls.unshare(abi.CLONE_NEWNS)
    return os.open("/proc/self/ns/mnt", os.O_RDONLY)


def sent(fds: list[int]) -> tuple[socket.socket, socket.socket]:
    """Sockets in one of which the descriptors are, and nowhere else."""
    ours, theirs = socket.socketpair()
    ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
    for fd in fds:
        os.close(fd)
    return ours, theirs


def jail(chrooted: int) -> None:
    for _ in range(chrooted):
        if os.fork() == 0:
            try:
                syscalls.die_with_parent(signal.SIGKILL)
                os.closerange(3, 1000)
                syscalls.unshare(abi.CLONE_NEWNS)
                os.chroot("/mnt/jail")
                os.chdir("/")
                signal.pause()
            finally:
                os._exit(1)


@pytest.mark.parametrize(
    ("bare", "chrooted", "seconds"),
    [pytest.param(150, 60, 0.6), pytest.param(1500, 600, 4.0, marks=[pytest.mark.long, pytest.mark.timeout(300)])],
)
@pytest.mark.parametrize("in_flight", [False, True], ids=["descriptors", "in-flight"])
def test_what_a_scan_takes(home: Home, bare: int, chrooted: int, seconds: float, in_flight: bool) -> None:
    if in_flight and not may_walk():
        pytest.skip("the walk over all mount namespaces is refused here, which alone finds them")
    alive = [0]

    def live() -> None:
        alive[0] += 1

    def run() -> tuple[list[float], int, int]:
        only_ours(inodes if in_flight else None)
        with contextlib.closing(Scanner(home.config, home=own_namespace(), alive=live)) as scanner:
            scanner._kept.update = lambda *_, **__: None  # type: ignore[method-assign]
            scans = [timed(scanner, resync=resync) for resync in (False, False, True)]
        read = scans[0][0].picture.namespaces.keys() - {gap.namespace for gap in scans[0][0].gaps}
        return [cost for _scan, cost in scans], len(inodes & read), alive[0]

    with crowd(home, bare, chrooted, in_flight=in_flight) as inodes:
        costs, read, lives = home.sandbox.run(run, timeout=120)
    print(f"{bare} bare, {chrooted} chrooted, first, next and full scan: {', '.join(f'{c:.2f} s' for c in costs)}")
    assert read == bare
    assert lives >= bare + chrooted
    assert max(costs) < seconds


def test_a_scan_of_many_slow_namespaces_feeds_the_watchdog(home: Home) -> None:
    class Manager:
        watchdog, fed = 0.1, 0

        def alive(self) -> None:
            self.fed += 1

    def run() -> tuple[int, float]:
        only_ours(None)
        manager = Manager()
        with contextlib.closing(
            Scanner(home.config, home=own_namespace(), alive=Watchdog(manager).alive)  # type: ignore[arg-type]
        ) as scanner:
            read = scanner._observer.read

            def slowly(*arguments: Any) -> Any:
                time.sleep(0.02)
                return read(*arguments)

            scanner._observer.read = slowly  # type: ignore[method-assign]
            began = time.monotonic()
            scanner.scan()
            return manager.fed, time.monotonic() - began

    with crowd(home, 30, 0, in_flight=False):
        fed, seconds = home.run(run)
    assert fed >= 30 * 0.02 / Manager.watchdog
    assert fed <= seconds / (Manager.watchdog / 2) + 1


@contextlib.contextmanager
def many_descriptors(count: int) -> Iterator[tuple[int, int]]:
    """A process with `count` descriptors of /dev/null and then one of a mount namespace without a process."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.die_with_parent(signal.SIGKILL)
            resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
            null = os.open(os.devnull, os.O_RDONLY)
            for _ in range(count):
                os.dup(null)
            inode = os.fstat(unshared()).st_ino
            syscalls.setns(own, abi.CLONE_NEWNS)
            os.write(tell, struct.pack("=Q", inode))
            signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    try:
        with open(ready, "rb") as pipe:
            yield pid, struct.unpack("=Q", pipe.read(8))[0]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_process_with_very_many_descriptors_is_searched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "EACH", 0.005)
    known: dict[int, tuple[int, ...]] = {own_namespace(): ()}
    searched = Descriptors()
    found, times = list[bool](), list[float]()
    with many_descriptors(15_000) as (pid, inode):
        while found.count(True) < 3 and len(found) < 100:
            began = time.thread_time()
            doors, gaps = searched.search(known, [pid], None)
            times.append(time.thread_time() - began)
            found.append(inode in doors)
            assert [gap.count for gap in gaps] == [1]
        assert searched.search({**known, inode: ()}, [pid], None)[0] == {}
        assert Descriptors().search(known, [pid], {inode}) == ({}, ())  # the walk shows it, so that nothing is missed
    print(f"found in search {found.index(True) + 1}, each takes at most {max(times):.3f} s")
    assert not found[0]
    assert found[-3:] == [True, True, True]  # it is kept while the next parts are searched
    assert max(times) < 0.1


def test_others_are_searched_after_a_search_had_no_time_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "SECONDS", -1.0)
    with contextlib.ExitStack() as stack:
        crowd = dict(stack.enter_context(many_descriptors(0)) for _ in range(3))
        searched = Descriptors()
        for number in (1, 2, 3):
            doors, gaps = searched.search({own_namespace(): ()}, sorted(crowd), None)
            assert len(doors) == number
            assert [gap.count for gap in gaps] == [2]
    assert doors.keys() == set(crowd.values())
