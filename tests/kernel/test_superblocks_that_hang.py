"""What hangs in the question whether a superblock lives: FUSE whose daemon does not answer, and children that end."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest
from mountwarden.kernel import child, syscalls
from mountwarden.observe import superblock_child, superblock_server
from mountwarden.observe.superblocks import Superblocks

from tests.kernel.test_superblocks import ABSENT, FILLERS, INOTIFY, NONE, USTAT, a_tmpfs, by, check, device
from tests.support import fuse, seccomp
from tests.support.scratch_ns import Sandbox
from tests.support.wait import wait_until


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


def test_a_lookup_that_hangs_costs_the_others_nothing(sandbox: Sandbox) -> None:
    def case(one: Superblocks) -> None:
        with fuse.silent(b"/mnt/a-dead") as daemon:
            there = {device(a_tmpfs(name)): b"/mnt/" + name for name in (b"b", b"c")}
            mounts = {"0:1": b"/mnt/a-dead/x", **there}
            began = time.monotonic()
            one.follow(mounts)
            assert time.monotonic() - began < 1
            assert one.ask(mounts) == dict.fromkeys(there, True)
            assert superblock_child.hanging() == {b"/mnt/a-dead/x"}
            fuse.end(daemon)
        wait_until(lambda: not superblock_child.hanging(), 5, "the child ended with the daemon's end")

    by(INOTIFY, sandbox, case)


@contextlib.contextmanager
def silent_ones(count: int, *, reads: bool = True) -> Iterator[dict[str, int]]:
    """As a user has them whose FUSE mounts got numbers that were free: by number, the daemon's pid."""
    with contextlib.ExitStack() as stack:
        yield {
            device(path): pid
            for path in (b"/mnt/fuse-%d" % at for at in range(count))
            for pid in [stack.enter_context(fuse.silent(path, reads=reads))]
        }


def test_freed_numbers_of_a_hostile_user_cost_their_deadline_and_are_not_asked_again(sandbox: Sandbox) -> None:
    def case(one: Superblocks) -> None:
        alive = device(a_tmpfs())
        with silent_ones(5) as hostile:
            others = [f"0:{1048575 - at}" for at in range(40)]
            for at, number in enumerate([*hostile][:4]):
                began = time.monotonic()
                assert one.ask([alive, number, *others]) == {alive: True}, "what is behind it is not known"
                assert 0.04 < time.monotonic() - began < 1
                if at < 3:
                    assert one.ask([alive, number, ABSENT]) == {alive: True, ABSENT: False}, "nothing hangs any more"
                    worker = superblock_child._child.kept.current()
                    assert (one.ask([number]), one.ask([alive])) == ({}, {alive: True})
                    assert superblock_child._child.kept.current() is worker
            assert (one.way, one.why) == (NONE, "4 children hang in file systems and can't be killed")
            assert one.ask([alive]) == {}
            assert child.ask(lambda: one.ask([alive]), deadline=5) == {alive: True}, "a forked process has its own"
            fuse.end(hostile.popitem()[1])  # nobody waits for that one
            assert one.way is NONE
            fuse.end(next(iter(hostile.values())))
            wait_until(lambda: one.way is USTAT, 5, "a child has ended")
            assert one.ask([alive, ABSENT]) == {alive: True, ABSENT: False}
        wait_until(lambda: child.reap_late() == 0, 5, "all have ended")

    by(USTAT, sandbox, case)


def test_one_whose_daemon_takes_no_request_is_freed_by_the_end_of_the_child(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its umount waits for the deadline, and no longer. It is left alone for a while all the same."""
    monkeypatch.setattr(superblock_child, "AGAIN", 0.5)

    def case(one: Superblocks) -> None:
        fillers = [a_tmpfs(b"filler-%d" % at) for at in range(FILLERS)]
        with silent_ones(1, reads=False) as hostile:
            (number,) = hostile
            for filler in fillers:
                syscalls.umount(filler)
            assert one.ask([number]) == {}
            syscalls.umount(b"/mnt/fuse-0")
            assert one.ask([number, ABSENT]) == {ABSENT: False}
            wait_until(lambda: one.ask([number]) == {number: False}, 5, "it is asked again")
            assert not superblock_child.stuck()

    by(USTAT, sandbox, case)


def test_the_kernel_answers_for_fuse_of_a_user_namespace(sandbox: Sandbox) -> None:
    """Whoever has no privilege mounts it there: its daemon is not asked by a process outside."""
    ready, tell = os.pipe()

    def mount() -> None:
        with fuse.silent(b"/mnt/theirs", more=b",allow_other"):
            os.write(tell, device(b"/mnt/theirs").encode())
            signal.pause()

    with Sandbox(userns=True) as theirs:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                theirs.run(mount)
            os._exit(0)
        os.close(tell)
        try:
            number = os.read(ready, 20).decode()
            assert number, "it could not mount"
            by(USTAT, sandbox, lambda one: check(one.ask([number, ABSENT]) == {number: True, ABSENT: False}))
        finally:
            os.close(ready)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_a_child_that_somebody_killed_is_replaced(sandbox: Sandbox) -> None:
    def case(one: Superblocks) -> None:
        for sent in (signal.SIGKILL, signal.SIGTERM):
            assert one.ask([ABSENT]) == {ABSENT: False}
            worker = superblock_child._child.kept.current()
            assert worker is not None
            os.kill(worker.pid, sent)
            assert one.ask([ABSENT]) == {ABSENT: False}
        assert not superblock_child.hanging()

    by(USTAT, sandbox, case)


def test_a_child_that_only_waits_for_a_processor_is_waited_for(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a host that is too busy: each new one would cost it more, and its answers are wanted all the same."""
    answer = superblock_server._answer

    def busy(what: bytes, item: bytes, fds: list[int]) -> int:
        until = time.monotonic() + 3 * superblock_child.DEADLINE
        while time.monotonic() < until:
            pass
        return answer(what, item, fds)

    monkeypatch.setattr(superblock_server, "_answer", busy)
    by(USTAT, sandbox, lambda one: check(one.ask([ABSENT]) == {ABSENT: False}))


def test_a_child_that_does_nothing_is_given_up(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def case(one: Superblocks) -> None:
        worker = superblock_child._child.kept.current()
        assert worker is not None
        os.kill(worker.pid, signal.SIGSTOP)
        assert one.ask([ABSENT]) == {}
        alive = device(a_tmpfs())
        assert one.ask([alive]) == {alive: True}
        wait_until(lambda: one.ask([ABSENT]) == {ABSENT: False}, 5, "it is asked again")

    monkeypatch.setattr(superblock_child, "AGAIN", 0.5)
    by(USTAT, sandbox, case)


def test_a_filter_that_kills_its_caller_kills_no_agent(sandbox: Sandbox) -> None:
    def killed() -> None:
        if syscalls.USTAT is None:
            pytest.skip("this architecture has no ustat(2)")
        seccomp.forbid(syscalls.USTAT, seccomp.KILL)
        with contextlib.closing(Superblocks()) as one:
            assert (one.way, one.why) == (INOTIFY, "ustat(2): the child that called it was killed")

    sandbox.run(killed)
