"""A hostile process changes things while an act is at work: never a wrong detach, a lost file, or a missing directory.

Each round makes a leak, starts the act, and lets the hostile step fall at a random moment of it. How many steps fell
between the act's first and last moment is counted, and how each side came out.
"""

import contextlib
import errno
import mmap
import os
import random
import select
import signal
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest
from mountwarden.errors import Declined
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Outcome
from mountwarden.observe import namespaces
from mountwarden.remedies import apply, newer_mounts, replace

from tests.kernel import crash
from tests.kernel.crash import MERGED, ROOT
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay

LAYER = ROOT + b"/X"
VICTIM = ROOT + b"/victim"
AWAY = b"/mnt/away"

Step = Callable[[Namespace], int | None]
Check = Callable[[bool, Outcome, Namespace], None]


@dataclass(frozen=True)
class Race:
    """A hostile step, what must hold afterwards, and how its traces are cleared.

    The step returns how often it was told EBUSY and tried again.
    """

    step: Step
    check: Check
    action: Action = Action.DETACH


def swap_for_symlink(_holder: Namespace) -> None:
    os.rename(LAYER, AWAY)
    os.symlink(VICTIM, LAYER)


def check_symlink(_stepped: bool, _outcome: Outcome, _holder: Namespace) -> None:
    assert os.readlink(LAYER) == VICTIM
    assert crash.dressed_at(AWAY + b"/merged")
    os.unlink(LAYER)
    os.rename(AWAY, LAYER)


def swap_for_directory(_holder: Namespace) -> None:
    os.rename(MERGED, AWAY)
    os.mkdir(MERGED)
    with open(MERGED + b"/data", "wb") as file:
        file.write(b"engine's")


def check_directory(stepped: bool, _outcome: Outcome, _holder: Namespace) -> None:
    assert os.path.isdir(MERGED)
    if stepped:
        with open(MERGED + b"/data", "rb") as file:
            assert file.read() == b"engine's"
        os.unlink(MERGED + b"/data")
    if os.path.isdir(AWAY):
        assert os.listdir(AWAY) == []
        os.rmdir(AWAY)


def mount_layer(name: bytes) -> None:
    """As an engine does, with an upper directory of that name; and write a file, which must end up in it."""
    upper = LAYER + b"/upper" + name
    options = b"lowerdir=%b/lower,upperdir=%b,workdir=%b/work%b" % (LAYER, upper, LAYER, name)
    syscalls.mount(b"overlay", MERGED, b"overlay", 0, options)
    with open(MERGED + b"/written", "wb"):
        pass
    assert os.path.exists(upper + b"/written"), "the engine's mount is not where the engine put it"


def mount_another(_holder: Namespace) -> None:
    mount_layer(b"2")


def mount_again(_holder: Namespace) -> None:
    mount_layer(b"")


def restart(_holder: Namespace) -> int:
    """A container that is stopped and started again and again, by an engine that leaves its mountpoint alone."""
    busy = 0
    for _start in range(8):
        mount_layer(b"")
        os.unlink(MERGED + b"/written")
        busy += umount_as_an_engine()
    mount_layer(b"")
    return busy


def umount_as_an_engine() -> int:
    """umount2(2) without MNT_DETACH is EBUSY while anybody looks its path up; engines try again. How often it was."""
    busy = 0
    while True:
        try:
            syscalls.umount(MERGED)
        except OSError as error:
            if error.errno != errno.EBUSY or busy == 50:
                raise
            busy += 1
            time.sleep(0.001)
        else:
            return busy


def check_mounted(stepped: bool, outcome: Outcome, _holder: Namespace) -> None:
    here = Namespace(os.getpid()).is_mounted(MERGED)
    assert here == stepped, outcome.text
    if stepped:
        assert os.listdir(MERGED) == [b"written"]
        os.unlink(MERGED + b"/written")
        syscalls.umount(MERGED)


def write_a_file(_holder: Namespace) -> None:
    with open(MERGED + b"/data", "xb"):
        pass


def check_file(stepped: bool, outcome: Outcome, holder: Namespace) -> None:
    assert os.path.exists(MERGED + b"/data") == stepped, outcome.text
    if stepped:
        os.unlink(MERGED + b"/data")


def remount_read_only(_holder: Namespace) -> None:
    syscalls.mount(None, b"/mnt", None, abi.MS_REMOUNT | abi.MS_BIND | abi.MS_RDONLY)


def check_read_only(_stepped: bool, _outcome: Outcome, _holder: Namespace) -> None:
    syscalls.mount(None, b"/mnt", None, abi.MS_REMOUNT | abi.MS_BIND)


def kill_holder(holder: Namespace) -> None:
    os.kill(holder.pid, signal.SIGKILL)


def check_killed(_stepped: bool, outcome: Outcome, _holder: Namespace) -> None:
    assert outcome.code in ("done", "gone", "unverified", "changed"), outcome.text


RACES = {
    "symlink": Race(swap_for_symlink, check_symlink),
    "directory": Race(swap_for_directory, check_directory),
    "engine": Race(mount_another, check_mounted),
    "same layer": Race(mount_again, check_mounted),
    "restart": Race(restart, check_mounted),
    "file": Race(write_a_file, check_file),
    "read-only": Race(remount_read_only, check_read_only),
    "kill": Race(kill_holder, check_killed),
    "unmount-kill": Race(kill_holder, check_killed, Action.UNMOUNT),
    "unmount-engine": Race(mount_another, check_mounted, Action.UNMOUNT),
}


class Rounds:
    """Many rounds of one race, counted."""

    def __init__(self, race: Race) -> None:
        self._race = race
        self._shared = mmap.mmap(-1, 32)
        self._took = 0.02
        self.counts: Counter[str] = Counter()

    def run(self, rounds: int) -> dict[str, int]:
        for directory in (b"/lower", b"/upper", b"/work", b"/upper2", b"/work2"):
            os.makedirs(LAYER + directory, exist_ok=True)
        os.makedirs(VICTIM + b"/merged")
        victim = os.stat(VICTIM + b"/merged").st_ino
        random.seed(rounds)
        for _round in crash.rounds_of(self.counts, rounds, rounds // 2):
            self._round()
            assert os.stat(VICTIM + b"/merged").st_ino == victim, "a wrong directory was replaced"
        return dict(self.counts)

    def _round(self) -> None:
        crash.dress()
        overlay(LAYER)
        with hold() as holder:
            syscalls.umount(MERGED)
            act = crash.outcome(self._race.action, holder.inode)
            hostile = self._start(holder)
            started = time.monotonic_ns()
            outcome = act()
            ended = time.monotonic_ns()
            os.waitpid(hostile, 0)
            self._took = 0.9 * self._took + 0.1 * (ended - started) / 1e9
            at, stepped, error, busy = struct.unpack_from("qqqq", self._shared)
            assert error >= 0, "the hostile step itself saw something wrong"
            if error:
                self.counts[f"step {errno.errorcode[error]}"] += 1
            self.counts["told EBUSY"] += busy
            self._judge(outcome, holder, bool(stepped), started <= at <= ended)

    def _start(self, holder: Namespace) -> int:
        delay = random.random() * self._took
        if (pid := os.fork()) == 0:
            select.select((), (), (), delay)
            try:
                struct.pack_into("qqqq", self._shared, 0, time.monotonic_ns(), 0, -1, 0)
                busy = self._race.step(holder)
                struct.pack_into("qqq", self._shared, 8, 1, 0, busy or 0)
            except OSError as error:
                struct.pack_into("q", self._shared, 16, error.errno or 0)
            finally:
                os._exit(0)
        return pid

    def _judge(self, outcome: Outcome, holder: Namespace, stepped: bool, within: bool) -> None:
        self.counts["rounds"] += 1
        self.counts["in the window"] += within
        self.counts["step done"] += stepped
        self.counts[outcome.code] += 1
        assert outcome.code not in ("failed", "no-answer"), outcome.text
        self._race.check(stepped, outcome, holder)
        assert os.path.isdir(MERGED), "the directory is missing"
        left = [name for name in os.listdir(LAYER) if name.startswith(b".")]
        assert all(name.startswith(replace.PREFIX) for name in left)
        self.counts["left behind"] += len(left)
        assert len(apply.remove_leftovers(crash.scanner())) == len(left)


def raced(name: str, rounds: int) -> dict[str, int]:
    def run(_sandbox: Sandbox) -> dict[str, int]:
        return Rounds(RACES[name]).run(rounds)

    counts = crash.in_few_processes(run, 590)
    print(f"{name}: {counts}")
    crash.assert_in_the_window(counts, rounds, rounds // 2)
    return counts


@pytest.mark.parametrize("name", RACES)
def test_some_races(name: str) -> None:
    raced(name, 5)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", RACES)
def test_many_races(name: str) -> None:
    raced(name, int(os.environ.get("RACES", "300")))


def in_another_namespace(rounds: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Another namespace, which has no copy, mounts an overlay of its own on the spot at any moment of the detach.

    What was there when the act read that namespace must stay. What came between that and the rename is lost, which no
    system call of the kernel prevents: it is counted.
    """
    read: dict[int | None, int] = {}
    read_one = namespaces.read
    shared = mmap.mmap(-1, 32)
    took = 0.02

    def timed(inode: int, *rest: Any, **more: Any) -> Any:
        read[inode] = time.monotonic_ns()
        return read_one(inode, *rest, **more)

    def mounting(other: Namespace) -> int:
        """The process that mounts, which has entered the namespace already."""
        delay = random.random() * took
        if (pid := os.fork()) == 0:
            try:
                with open(f"/proc/{other.pid}/ns/mnt", "rb") as file:
                    syscalls.setns(file.fileno(), abi.CLONE_NEWNS)
                select.select((), (), (), delay)
                started = time.monotonic_ns()
                mount_layer(b"2")
                struct.pack_into("qqq", shared, 0, started, time.monotonic_ns(), 1)
            finally:
                os._exit(0)
        return pid

    def one_round(counts: Counter[str]) -> None:
        nonlocal took
        crash.dress()
        overlay(LAYER)
        with hold() as holder, hold() as other:
            other.run(lambda: syscalls.umount(MERGED))
            syscalls.umount(MERGED)
            act = crash.outcome(Action.DETACH, holder.inode)
            struct.pack_into("qqq", shared, 0, 0, 0, 0)
            read.clear()
            hostile = mounting(other)
            started = time.monotonic_ns()
            outcome = act()
            ended = time.monotonic_ns()
            os.waitpid(hostile, 0)
            took = 0.9 * took + 0.1 * (ended - started) / 1e9
            begun, there, stepped = struct.unpack_from("qqq", shared)
            last = read.get(other.inode, ended)
            when = (
                "not at all"
                if not stepped
                else "before"
                if there < last
                else "after"
                if begun > ended
                else "in the gap"
            )
            stays = other.is_mounted(MERGED)
            counts.update(("rounds", outcome.code, when))
            counts["in the window"] += bool(stepped) and started <= there and begun <= ended
            counts["wrong"] += when in ("before", "after") and not stays
            counts["lost in the gap"] += when == "in the gap" and not stays
            assert outcome.done or stays or not stepped, outcome.text
            assert holder.is_mounted(MERGED) != outcome.done
            assert os.path.isdir(MERGED)
            assert crash.dressed()

    def run(_sandbox: Sandbox) -> dict[str, int]:
        monkeypatch.setattr(namespaces, "read", timed)
        counts: Counter[str] = Counter()
        for directory in (b"/lower", b"/upper", b"/work", b"/upper2", b"/work2"):
            os.makedirs(LAYER + directory, exist_ok=True)
        random.seed(rounds)
        for _round in crash.rounds_of(counts, rounds, rounds // 2):
            one_round(counts)
        return dict(counts)

    return crash.in_few_processes(run, 590)


def judge_in_another_namespace(counts: dict[str, int]) -> None:
    """Where the kernel tells the ids of new mounts, hardly any was made between the last check and the rename."""
    print(f"another namespace: {counts}")
    assert counts["wrong"] == 0
    assert counts["mixed"] > 0
    if newer_mounts.newest() is not None:
        assert counts["lost in the gap"] <= max(1, counts["rounds"] // 200)


def test_a_foreign_mount_on_the_spot_is_never_detached(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_in_another_namespace(in_another_namespace(10, monkeypatch))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_foreign_mount_on_the_spot_is_never_detached_in_a_thousand_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_in_another_namespace(in_another_namespace(int(os.environ.get("RACES", "1000")), monkeypatch))


def test_the_last_check_hardly_holds_a_mount_in_flight() -> None:
    """With stat(2) in its place a sixth to a third of these umounts is told EBUSY; with openat2(2) one in 200."""

    def run(_sandbox: Sandbox) -> int:
        crash.dress()
        parent, old = (os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in (LAYER, MERGED))
        overlay(LAYER)
        checking = os.fork() or _check_forever(parent, old)
        told = 0
        for _start in range(2000):
            told += umount_as_an_engine()
            mount_layer(b"")
        os.kill(checking, signal.SIGKILL)
        os.waitpid(checking, 0)
        return told

    told = crash.in_few_processes(run, 50)
    print(f"told EBUSY: {told} of 2000")
    assert told < 100


def _check_forever(parent: int, old: int) -> NoReturn:
    syscalls.die_with_parent(signal.SIGKILL)
    status = os.fstat(old)
    while True:
        with contextlib.suppress(OSError, Declined):
            replace._check_unchanged(parent, b"merged", old, status)
