"""The process by which an act would enter a namespace ends meanwhile, and its pid is another's at once.

That other process is in a namespace with a mount of its own on the very path. The kernel gives the pid out again at
once because the last pid of the pid namespace is set back (/proc/sys/kernel/ns_last_pid).
"""

import mmap
import os
import random
import select
import signal
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from mountwarden.errors import Declined
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action
from mountwarden.remedies import apply

from tests.kernel import crash
from tests.kernel.crash import MERGED, ROOT
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay

LAYER = ROOT + b"/X"
TRIES = 5
"""Another fork may take the pid first."""

Act = Callable[[Namespace], Callable[[], str]]


def detach(holder: Namespace) -> Callable[[], str]:
    act = crash.outcome(Action.DETACH, holder.inode)
    return lambda: act().code


def unmount(holder: Namespace) -> Callable[[], str]:
    act = crash.outcome(Action.UNMOUNT, holder.inode)
    return lambda: act().code


def rejoin(holder: Namespace) -> Callable[[], str]:
    """The half that acts; what chooses its mounts needs a service."""
    act, _pair = crash.joining(holder)

    def run() -> str:
        try:
            return "done" if act() else "refused"
        except Declined as error:
            return error.code

    return run


ACTS: dict[str, Act] = {"detach": detach, "unmount": unmount, "rejoin": rejoin}


class Hostile:
    """Starts the holder, whose parent it must be to reap it, and puts another process in its place."""

    def __init__(self, innocent: Namespace) -> None:
        self._innocent = innocent
        self._shared = mmap.mmap(-1, 32)
        self._told, self._tell = os.pipe2(os.O_CLOEXEC)
        self._go, self._let_go = os.pipe2(os.O_CLOEXEC)
        self._process = os.fork()
        if self._process == 0:
            try:
                os.close(self._let_go)
                self._live()
            finally:
                os._exit(0)
        os.close(self._go)
        os.close(self._tell)
        self.holder = Namespace(struct.unpack("q", os.read(self._told, 8))[0])

    def start(self, delay: float) -> None:
        """Do it after so many seconds."""
        os.write(self._let_go, struct.pack("d", delay))

    def end(self) -> tuple[int, bool]:
        """When it did it, by the monotonic clock in ns, and whether the pid was given out again."""
        os.read(self._told, 1)
        at, reused = struct.unpack_from("qq", self._shared)
        os.close(self._let_go)
        os.waitpid(self._process, 0)
        os.close(self._told)
        self._shared.close()
        return at, bool(reused)

    def _live(self) -> None:
        with hold() as holder:
            pid = holder.pid
            os.write(self._tell, struct.pack("q", pid))
            delay = struct.unpack("d", os.read(self._go, 8))[0]
            select.select((), (), (), delay)
            struct.pack_into("q", self._shared, 0, time.monotonic_ns())
            holder.kill()
            fd = os.open(f"/proc/{self._innocent.pid}/ns/mnt", os.O_RDONLY)
            syscalls.setns(fd, abi.CLONE_NEWNS)
            other = next((found for _try in range(TRIES) if (found := _in_place_of(pid))), 0)
            struct.pack_into("q", self._shared, 8, bool(other))
            os.write(self._tell, b".")
            os.read(self._go, 1)
            if other:
                os.kill(other, signal.SIGKILL)


def _in_place_of(pid: int) -> int:
    """A process with that pid, or 0."""
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(pid - 1))
    found = os.fork()
    if found == 0:
        syscalls.die_with_parent(signal.SIGKILL)
        signal.pause()
    if found != pid:
        os.kill(found, signal.SIGKILL)
        os.waitpid(found, 0)
        return 0
    return found


@contextmanager
def bystander() -> Iterator[Namespace]:
    """A namespace with a mount of its own on the path of the layer, on another file system than home's."""
    with hold() as innocent:

        def furnish() -> None:
            syscalls.mount(b"tmpfs", b"/mnt", b"tmpfs")
            os.makedirs(MERGED)
            syscalls.mount(b"tmpfs", MERGED, b"tmpfs")

        innocent.run(furnish)
        yield innocent


class Rounds:
    """Many rounds with one act, counted."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self._took = 0.002 if act is rejoin else 0.02
        self._within = 0.4 if act is rejoin else 0.9  # waking up takes a good part of so short an act
        self.counts: Counter[str] = Counter()

    def run(self, rounds: int) -> dict[str, int]:
        with bystander() as innocent:
            before = innocent.mountinfo()
            for _round in crash.rounds_of(self.counts, rounds, rounds // 6):
                self._round(innocent)
                assert innocent.mountinfo() == before, "another namespace's mounts were touched"
        return dict(self.counts)

    def _round(self, innocent: Namespace) -> None:
        crash.dress()
        overlay(LAYER)
        hostile = Hostile(innocent)
        if self._act is not rejoin:
            syscalls.umount(MERGED)
        act = self._act(hostile.holder)
        hostile.start(random.random() * self._within * self._took)
        started = time.monotonic_ns()
        code = act()
        ended = time.monotonic_ns()
        at, reused = hostile.end()
        self._took = 0.9 * self._took + 0.1 * (ended - started) / 1e9
        self.counts["rounds"] += 1
        self.counts["in the window"] += reused and started <= at <= ended
        self.counts["pid reused"] += reused
        self.counts[code] += 1
        assert code in ("done", "gone", "changed", "covered", "refused", "unread", "unverified"), code
        if self._act is rejoin:
            syscalls.umount(MERGED)
        assert crash.dressed()
        assert sorted(os.listdir(LAYER)) == [b"lower", b"merged", b"upper", b"work"]
        assert apply.remove_leftovers(crash.scanner()) == []


def raced(name: str, rounds: int) -> None:
    def run(_sandbox: Sandbox) -> dict[str, int]:
        random.seed(rounds)
        return Rounds(ACTS[name]).run(rounds)

    counts = crash.in_few_processes(run, 590)
    print(f"pid reused, {name}: {counts}")
    crash.assert_in_the_window(counts, rounds, rounds // 6)


@pytest.mark.parametrize("name", ACTS)
def test_some_pids_are_reused(name: str) -> None:
    raced(name, 6)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ACTS)
def test_many_pids_are_reused(name: str) -> None:
    raced(name, int(os.environ.get("RACES", "300")))
