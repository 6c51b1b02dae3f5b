"""The lock of the service and of acting commands, on a real file between real processes."""

import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from mountwarden.cli import performing
from mountwarden.cli.source import Order
from mountwarden.errors import Declined
from mountwarden.kernel import child
from mountwarden.model import Action
from mountwarden.state import lock
from mountwarden.state.lock import Lock, LockHolder
from mountwarden.state.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "mountwarden")


@contextmanager
def process(prepare: Callable[[], object]) -> Iterator[int]:
    """A process that did `prepare` and now waits."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            os.write(done, b".")
            signal.pause()
        finally:
            os._exit(1)
    os.close(done)
    try:
        assert os.read(ready, 1) == b"."
        yield pid
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def taken(found: Lock | LockHolder) -> None:
    assert isinstance(found, Lock)
    found.close()


def test_a_services_run_is_the_first_one_of_a_boot_though_a_command_has_acted_before(run: RunDirectory) -> None:
    taken(lock.take(run))
    for is_first in (True, False):
        with lock.serve(run) as held:
            assert isinstance(held, Lock)
            assert held.is_first == is_first
        taken(lock.take(run))


def test_a_second_service_is_told_who_the_first_is(run: RunDirectory) -> None:
    assert lock.service(run) is None
    with process(lambda: lock.serve(run)) as pid:
        assert lock.serve(run) == lock.service(run) == LockHolder(pid, is_service=True)
    assert lock.service(run) is None, "the kernel drops the lock of a process that was killed"
    taken(lock.serve(run))


def test_a_command_does_not_act_beside_the_service(run: RunDirectory) -> None:
    with process(lambda: lock.serve(run)) as pid:
        started = time.monotonic()
        assert lock.take(run, wait=5) == LockHolder(pid, is_service=True)
        assert time.monotonic() - started < 2, "it is not waited for: it does not end"
    taken(lock.take(run))


def test_a_second_command_waits_a_moment_and_is_told_who_acts(run: RunDirectory) -> None:
    with process(lambda: lock.take(run)) as pid:
        assert lock.take(run) == LockHolder(pid, is_service=False)
        started = time.monotonic()
        assert lock.take(run, wait=0.2) == LockHolder(pid, is_service=False)
        assert time.monotonic() - started >= 0.2
        later = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(0.3); os.kill({pid}, 9)"])
        taken(lock.take(run, wait=20))
        later.wait(20)


def test_a_service_that_starts_while_a_command_acts_waits_with_its_acts_alone(run: RunDirectory) -> None:
    with process(lambda: lock.take(run)):
        serving = lock.serve(run)
        assert isinstance(serving, Lock)
        assert not serving.may_act()
    assert serving.may_act()
    with process(lambda: None):
        own = child.ask(lambda: lock.take(run), deadline=5)
    assert own == LockHolder(os.getpid(), is_service=True)
    serving.close()


def test_a_command_and_a_service_that_begin_at_once_never_both_act(run: RunDirectory) -> None:
    together, start = os.pipe()
    for _ in range(60):
        answers = [os.pipe(), os.pipe()]

        def begin(number: int, acts: Callable[[], bool], answers: list[tuple[int, int]] = answers) -> None:
            os.read(together, 1)
            os.write(answers[number][1], b"1" if acts() else b"0")

        def serves() -> bool:
            return isinstance(found := lock.serve(run), Lock) and found.may_act()

        pids = [_forked(partial(begin, 0, serves)), _forked(partial(begin, 1, lambda: _takes(run)))]
        os.write(start, b"..")
        told = [os.read(reader, 1) for reader, _writer in answers]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for end in (end for pair in answers for end in pair):
            os.close(end)
        assert told != [b"1", b"1"]
    os.close(together)
    os.close(start)


def _takes(run: RunDirectory) -> bool:
    return isinstance(lock.take(run), Lock)


def _forked(function: Callable[[], None]) -> int:
    """A process that called it and waits."""
    if pid := os.fork():
        return pid
    try:
        function()
        signal.pause()
    finally:
        os._exit(1)


def test_a_command_does_nothing_while_another_one_acts(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performing, "RunDirectory", lambda: run)
    monkeypatch.setattr(performing, "PATIENCE", 0.1)
    order = Order(Action.DETACH, ())
    with process(lambda: lock.take(run)) as pid, pytest.raises(Declined) as declined, performing._alone(order):
        raise AssertionError
    assert (declined.value.status, declined.value.hint) == (1, "detach again when it has ended")
    assert declined.value.message == f"nothing was done: another mountwarden command acts now (process {pid})"
    with performing._alone(order):
        assert isinstance(child.ask(lambda: lock.take(run), deadline=5), LockHolder), "held for the act"
    with process(lambda: lock.serve(run)), pytest.raises(Declined, match="two must not act"), performing._alone(order):
        raise AssertionError
    taken(lock.take(run))


def test_a_child_that_hangs_does_not_keep_the_lock_of_its_parent(run: RunDirectory) -> None:
    """As an agent that is killed amid an act: its child lives on, with every descriptor that fork(2) gave it."""
    ready, done = os.pipe()

    def serve_and_fork() -> None:
        assert isinstance(lock.serve(run), Lock)
        if (pid := os.fork()) == 0:
            os.write(done, b".")
            signal.pause()
        os.write(done, f"{pid}\n".encode())

    with process(serve_and_fork):
        os.close(done)
        text = b""
        while not (b"." in text and b"\n" in text):
            assert select.select([ready], [], [], 10)[0]
            text += os.read(ready, 100)
        assert isinstance(lock.serve(run), LockHolder)
    orphan = int(text.replace(b".", b""))
    os.kill(orphan, 0)
    taken(lock.serve(run))
    os.kill(orphan, signal.SIGKILL)
    os.close(ready)


def test_to_ask_while_it_is_held_does_not_lose_it(run: RunDirectory) -> None:
    """close(2) of another descriptor of the file would drop every lock of the process."""
    held = lock.serve(run)
    assert isinstance(held, Lock)
    assert lock.service(run) is None
    with pytest.raises(AssertionError):
        lock.take(run)
    assert child.ask(lambda: lock.serve(run), deadline=5) == LockHolder(os.getpid(), is_service=True)
    held.close()


def test_a_file_that_was_removed_meanwhile_is_no_lock(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = lock._locked

    def removed_once(fd: int, byte: int) -> bool:
        monkeypatch.setattr(lock, "_locked", locked)
        run.lock.unlink()
        return locked(fd, byte)

    monkeypatch.setattr(lock, "_locked", removed_once)
    held = lock.serve(run)
    assert isinstance(held, Lock)
    assert run.lock.stat().st_ino == os.fstat(held.fd).st_ino
    held.close()


def test_only_root_may_open_it_and_no_link_is_followed(run: RunDirectory, tmp_path: Path) -> None:
    taken(lock.take(run))
    assert stat.S_IMODE(run.lock.stat().st_mode) == 0o600
    run.lock.unlink()
    run.lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        lock.take(run)
    assert not (tmp_path / "elsewhere").exists()
