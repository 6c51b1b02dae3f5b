"""Texts that further threads read before a scan comes to them: how many, how much, and what a fork finds of them."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mountwarden.observe import mount_lines, namespaces, read_ahead
from mountwarden.observe.mount_lines import USUAL, OpenMountinfo, ReadingLimits
from mountwarden.observe.read_ahead import Wanted

from tests.kernel.crash import in_few_processes
from tests.support.scratch_ns import Namespace, Sandbox, hold
from tests.support.wait import wait_until

PROJECT = Path(__file__).parents[2]
OTHERS = 6


@pytest.fixture
def others() -> Iterator[list[Namespace]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(hold()) for _number in range(OTHERS)]


@pytest.fixture(autouse=True)
def _two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "_threads", 2)
    monkeypatch.setattr(read_ahead, "_SAMPLE", 100)


def wanted(others: list[Namespace], limits: ReadingLimits = USUAL) -> list[Wanted]:
    return [(other.inode, (other.pid,), limits) for other in others]


def whole(lines: OpenMountinfo) -> tuple[bytes | None, tuple[int, bytes | int]]:
    return lines.whole(), lines.signature


def in_hand() -> read_ahead._ReadAhead:
    assert read_ahead._current
    return read_ahead._current


def test_texts_are_those_that_the_caller_would_read(others: list[Namespace]) -> None:
    with read_ahead.texts(wanted(others)):
        ahead = [namespaces.read(other.inode, (other.pid,), whole) for other in others]
    assert ahead == [namespaces.read(other.inode, (other.pid,), whole) for other in others]
    assert all(read and read[0] == other.mountinfo() for read, other in zip(ahead, others, strict=True))


def test_as_many_threads_read_as_are_allowed_and_they_end_with_it(others: list[Namespace]) -> None:
    before = threading.active_count()
    with read_ahead.texts(wanted(others)):
        assert threading.active_count() == before, "nothing was asked for yet"
        for other in others[:2]:
            read_ahead.taken(other.inode, USUAL)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_without_leave_no_thread_reads(monkeypatch: pytest.MonkeyPatch, others: list[Namespace]) -> None:
    monkeypatch.setattr(read_ahead, "_threads", 1)
    before = threading.active_count()
    with read_ahead.texts(wanted(others)):
        for other in others:
            assert read_ahead.taken(other.inode, USUAL) is None
            assert threading.active_count() == before


def test_small_texts_are_not_worth_it(monkeypatch: pytest.MonkeyPatch, others: list[Namespace]) -> None:
    monkeypatch.setattr(read_ahead, "_SAMPLE", 1)
    monkeypatch.setattr(read_ahead, "_SMALL", 2 * len(others[0].mountinfo()))
    before = threading.active_count()
    with read_ahead.texts(wanted(others)):
        for other in others[:2]:
            read_ahead.taken(other.inode, USUAL)
        wait_until(lambda: threading.active_count() == before, what="the thread's end")
        ahead = [read_ahead.taken(other.inode, USUAL) is not None for other in others[2:]]
    assert ahead in ([True, False, False, False], [False] * 4)


def test_no_more_is_read_ahead_than_there_is_room(monkeypatch: pytest.MonkeyPatch, others: list[Namespace]) -> None:
    size = len(others[0].mountinfo())
    monkeypatch.setattr(mount_lines, "BLOCK", 2 * size)
    monkeypatch.setattr(read_ahead, "ROOM", 2 * size + size // 2)
    with read_ahead.texts(wanted(others)):
        for other in others[:3]:
            read_ahead.taken(other.inode, USUAL)
        wait_until(lambda: len(in_hand()._read) == 1, what="a text in hand")
        time.sleep(0.1)
        assert list(in_hand()._read) == [others[3].inode]
        assert in_hand()._size == len(others[3].mountinfo())


def test_what_is_longer_than_a_block_is_left_to_the_caller(
    monkeypatch: pytest.MonkeyPatch, others: list[Namespace]
) -> None:
    monkeypatch.setattr(mount_lines, "BLOCK", len(others[0].mountinfo()) // 2)
    with read_ahead.texts(wanted(others)):
        assert [read_ahead.taken(other.inode, USUAL) for other in others] == [None] * OTHERS
        assert in_hand()._size == 0


def test_a_text_that_takes_too_long_is_an_error_for_who_asks(others: list[Namespace]) -> None:
    with read_ahead.texts(wanted(others, ReadingLimits(seconds=-1.0))):
        for other in others[:2]:
            read_ahead.taken(other.inode, USUAL)
        wait_until(lambda: others[2].inode in in_hand()._read, what="a text in hand")
        with pytest.raises(OSError, match="expired"):
            read_ahead.taken(others[2].inode, USUAL)


def test_what_has_ended_or_left_is_left_to_the_caller(others: list[Namespace]) -> None:
    """The inode is another one than that of the process's namespace."""
    asked = [(other.inode + 1_000_000, (other.pid,), USUAL) for other in others[:-1]] + [(7, (1 << 22,), USUAL)]
    with read_ahead.texts(asked):
        assert [read_ahead.taken(inode, USUAL) for inode, _pids, _limits in asked] == [None] * OTHERS


def test_what_a_text_has_cost_counts_from_when_it_is_taken(others: list[Namespace]) -> None:
    with read_ahead.texts(wanted(others)):
        for other in others[:2]:
            read_ahead.taken(other.inode, USUAL)
        wait_until(lambda: others[2].inode in in_hand()._read, what="a text in hand")
        cost = in_hand()._read[others[2].inode].seconds
        began, before = time.thread_time(), read_ahead.cpu_seconds()
        assert read_ahead.taken(others[2].inode, USUAL)
        assert read_ahead.cpu_seconds() - before >= cost > 0
        assert read_ahead.cpu_seconds() - before <= cost + time.thread_time() - began


_FORKS = """
import os, sys, time
seen = []
os.register_at_fork(before=lambda: seen.append(len(os.listdir("/proc/self/task"))))  # the first one is called last
from mountwarden.observe import namespaces, read_ahead
from mountwarden.observe.mount_lines import USUAL
os.sched_getaffinity = lambda _pid: {0, 1}
read_ahead.allow()
pids = [int(one) for one in sys.argv[1:]]
inode = lambda pid: os.stat(f"/proc/{pid}/ns/mnt").st_ino
with read_ahead.texts((inode(pid), (pid,), USUAL) for pid in pids):
    for number, pid in enumerate(pids):
        assert namespaces.read(inode(pid), (pid,), lambda lines: lines.whole())
        if number in (1, 2):
            between = len(os.listdir("/proc/self/task"))
            if (child := os.fork()) == 0:
                links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")[:-1]]
                os._exit(len(os.listdir("/proc/self/task")) if not any("mount" in link for link in links) else 99)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print("threads", between, "at the fork", seen[-1], "in the child", status)
print("afterwards", len(os.listdir("/proc/self/task")))
"""


def test_no_thread_runs_while_a_child_is_forked(others: list[Namespace]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "agent")}
    words = [sys.executable, "-c", _FORKS, *(str(other.pid) for other in others)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert not done.stderr
    assert done.stdout.splitlines() == ["threads 2 at the fork 1 in the child 1"] * 2 + ["afterwards 1"]


_STARTED = """
import atexit, os, sys, threading
started = []
start = threading.Thread.start
threading.Thread.start = lambda self: (started.append(self), start(self))
os.sched_getaffinity = lambda _pid: {0, 1}
atexit.register(lambda: print("STARTED", len(started), file=sys.stderr))
"""
_REPORT = """
from mountwarden.cli.main import run
sys.argv[:] = ["mountwarden", "report", "--json", "--no-wait", "--config", "/mnt"]
sys.exit(run())
"""
_SERVICE = """
from mountwarden.config.load import load
from mountwarden.scan.scanner import Scanner
scanner = Scanner(load(b"/mnt"), deadline=2.0)
for resync in (True, False, True):
    scanner.scan(resync=resync)
"""


@pytest.mark.parametrize(("program", "threads"), [(_REPORT, True), (_SERVICE, False)], ids=["report", "service"])
def test_a_command_has_threads_and_the_service_has_none(program: str, threads: bool) -> None:
    def among_few(_home: Sandbox) -> str:
        Path("/mnt/mountwarden.toml").write_text('engines = []\n[[root]]\npath = "/mnt/root"\nkind = "graph"\n')
        with contextlib.ExitStack() as stack:
            for _number in range(OTHERS):
                stack.enter_context(hold())
            environment = {**os.environ, "PYTHONPATH": str(PROJECT / "agent")}
            words = [sys.executable, "-c", _STARTED + program]
            return subprocess.run(
                words, env=environment, capture_output=True, text=True, timeout=20, check=False
            ).stderr

    told = in_few_processes(among_few, 40)
    (line,) = (line for line in told.splitlines() if line.startswith("STARTED "))
    assert (int(line.split()[1]) > 0) == threads, told
