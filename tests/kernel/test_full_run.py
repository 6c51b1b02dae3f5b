"""The service's directory with no space, no inodes, or read-only: it goes on from memory, and says so once."""

import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.cli import remote
from mountwarden.errors import MountwardenError
from mountwarden.kernel import abi, syscalls
from mountwarden.ledger import breaker, stored, update
from mountwarden.ledger.update import Ledger, Now
from mountwarden.service.outbox import Outbox
from mountwarden.service.triggers import Wake
from mountwarden.service.unsaved import RETRY, Unsaved
from mountwarden.state import lock, pause, run_directory
from mountwarden.state.lock import LockHolder
from mountwarden.state.run_directory import RunDirectory
from mountwarden.varlink.client import Unreachable

from tests.support.findings import CONFIG, finding
from tests.support.loop_host import Host, Reported, kinds, serve
from tests.unit.test_lock import process, taken

READ_ONLY = abi.MS_REMOUNT | abi.MS_RDONLY


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    place = os.fsencode(tmp_path)
    syscalls.mount(b"run", place, b"tmpfs", 0, b"size=64k,nr_inodes=40")
    try:
        (tmp_path / "mountwarden").mkdir()
        yield RunDirectory(tmp_path / "mountwarden")
    finally:
        syscalls.umount(place)


def no_space(run: RunDirectory) -> Callable[[], None]:
    with (run.path.parent / "all").open("wb") as file, contextlib.suppress(OSError):
        file.write(b"x" * (64 << 10))
    return (run.path.parent / "all").unlink


def no_inodes(run: RunDirectory) -> Callable[[], None]:
    (run.path.parent / "many").mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        for number in range(100):
            (run.path.parent / "many" / str(number)).touch()
    return lambda: [one.unlink() for one in (run.path.parent / "many").iterdir()] and None


def read_only(run: RunDirectory) -> Callable[[], None]:
    syscalls.mount(b"run", os.fsencode(run.path.parent), b"tmpfs", READ_ONLY, b"")
    return lambda: syscalls.mount(b"run", os.fsencode(run.path.parent), b"tmpfs", abi.MS_REMOUNT, b"")


TROUBLES = pytest.mark.parametrize(
    ("trouble", "number"),
    [(no_space, errno.ENOSPC), (no_inodes, errno.ENOSPC), (read_only, errno.EROFS)],
    ids=["no space", "no inodes", "read-only"],
)


def confirmed() -> Ledger:
    ledger = Ledger("boot")
    for at in (0.0, 5.0):
        ledger, _ = update.update(ledger, [finding(1)], Now(1e9 + at, at), CONFIG)
    return ledger


@TROUBLES
def test_what_is_found_and_tried_is_in_the_journal_and_said_once(
    run: RunDirectory, trouble: Callable[[RunDirectory], Callable[[], None]], number: int
) -> None:
    said: list[str] = []
    journal, now = Reported(), [0.0]
    unsaved = Unsaved(lambda level, text: said.append(f"<{level}>{text}"))
    outbox = Outbox(run, journal, unsaved=unsaved, clock=lambda: now[0])
    mend = trouble(run)
    ledger = outbox.report(confirmed())
    assert (kinds(journal.entries), ledger.pending) == (["found"], ())
    for _scan in range(3):
        ledger = outbox.report(breaker.begin(ledger, finding(1), Now(1e9 + 6, 6.0)))
    assert kinds(journal.entries) == ["found", "begun"], "it is told before it is done, and once"
    assert said == [f"<4>{run.ledger} can't be written, going on without: {os.strerror(number)}"]
    assert unsaved.text == f"{run.ledger} can't be written: {os.strerror(number)}"
    mend()
    assert not outbox.save(ledger), "not at each scan"
    now[0] = 10.0
    assert outbox.save(ledger)
    assert stored.load(run_directory.read(run.ledger), "boot") == (ledger, None)
    assert (said[1:], unsaved.text) == ([f"<5>the files in {run.path} can be written again"], None)


@TROUBLES
def test_it_starts_scans_and_ends_in_such_a_directory(
    run: RunDirectory, trouble: Callable[[RunDirectory], Callable[[], None]], number: int
) -> None:
    mend = trouble(run)
    one = finding(1)
    host = Host([one], [one], [])
    host.wakes = [frozenset({Wake.MOUNTS})] * 9  # no tick is waited for
    status, entries = serve(host, run.path)
    assert (status, kinds(entries)) == (0, ["started", "found", "cleared"])
    assert any(f"can't be written: {os.strerror(number)}" in line for line in host.said if line.startswith("status"))
    mend()


def test_what_can_be_written_now_and_then_is_said_once_a_minute() -> None:
    said: list[str] = []
    now = [0.0]
    unsaved = Unsaved(lambda _level, text: said.append(text), lambda: now[0])

    def fail() -> None:
        raise OSError(errno.ENOSPC, "no space")

    for now[0] in range(120):
        assert not unsaved.write(Path("/r/a"), fail)
        assert unsaved.write(Path("/r/a"), bool)
    assert len(said) == 4


def test_what_is_written_for_once_is_tried_again(tmp_path: Path) -> None:
    now, path = [0.0], tmp_path / "there" / "file"
    unsaved = Unsaved(lambda _level, _text: None, lambda: now[0])
    assert not unsaved.write(path, lambda: path.write_text("once"))
    path.parent.mkdir()
    for now[0], written in ((1.0, False), (RETRY, True)):
        unsaved.look()
        assert (path.exists(), unsaved.text is None) == (written, written)


def test_a_ledger_of_before_is_still_read_where_nothing_can_be_written(run: RunDirectory) -> None:
    run_directory.write(run.ledger, stored.dump(replace(confirmed(), pending=())), run_directory.OWN)
    mend = read_only(run)
    ledger, why = Outbox(run, Reported()).load("boot")
    assert (list(ledger.entries), why) == ([finding(1).id], None)
    mend()


@TROUBLES
def test_there_is_one_service_still(
    run: RunDirectory, trouble: Callable[[RunDirectory], Callable[[], None]], number: int
) -> None:
    """The file can't be made (or opened for writing): the directory is locked. With the file back, too."""
    mend = trouble(run)
    with process(lambda: lock.serve(run)) as pid:
        assert lock.serve(run) == lock.take(run) == lock.service(run) == LockHolder(pid, True)
        mend()
        assert lock.serve(run) == lock.take(run) == LockHolder(pid, True)
    taken(lock.serve(run))
    mend = trouble(run)
    with process(lambda: lock.serve(run)) as pid:  # the file is there: no space is needed for it
        assert lock.serve(run) == lock.take(run) == LockHolder(pid, True)
    mend()


@TROUBLES
def test_what_a_command_made_is_taken_by_a_first_service_that_finds_no_room(
    run: RunDirectory, trouble: Callable[[RunDirectory], Callable[[], None]], number: int
) -> None:
    taken(lock.take(run))
    mend = trouble(run)
    with process(lambda: lock.serve(run)) as pid:
        assert lock.service(run) == LockHolder(pid, True)
    mend()
    with lock.serve(run) as held:
        assert isinstance(held, lock.Lock)
        assert not held.is_first or number == errno.EROFS


def test_who_may_not_run_the_service_locks_nobody_out(run: RunDirectory) -> None:
    def as_nobody() -> None:
        fd = os.open(run.path, os.O_RDONLY)
        os.setuid(65534)
        fcntl.flock(fd, fcntl.LOCK_EX)

    with process(as_nobody):
        held = lock.serve(run)
        assert isinstance(held, lock.Lock)
        held.close()


def test_a_mount_over_the_directory_hides_nothing_from_the_service_and_is_said(tmp_path: Path) -> None:
    here = RunDirectory(tmp_path / "mountwarden")
    run = run_directory.held(here)
    said: list[str] = []
    unsaved = Unsaved(lambda _level, text: said.append(text), run=run)
    pause.write(here, pause.Pause(1.0))
    syscalls.mount(b"over", os.fsencode(here.path), b"tmpfs", 0, b"")
    try:
        unsaved.look()
        unsaved.look()
        assert pause.read(run, 2.0) == pause.Pause(1.0)
        assert unsaved.write(run.ledger, lambda: run_directory.write(run.ledger, b"kept"))
        for call in (lock.serve, lock.take, pause.end, lambda run: pause.write(run, pause.Pause(2.0))):
            with pytest.raises(MountwardenError, match=f"something is mounted over {here.path}"):
                call(here)
    finally:
        syscalls.umount(os.fsencode(here.path))
    assert len(said) == 1
    assert said[0].startswith(f"something is mounted over {here.path}: no command")
    assert "something is mounted over" in (unsaved.text or "")
    unsaved.look()
    assert (said[1:], unsaved.text) == ([f"{here.path} is back"], None)
    assert run_directory.read(here.ledger) == b"kept"
    os.close(int(run.path.name))


def test_a_file_system_that_hangs_there_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FUSE whose program answers nothing."""
    here = RunDirectory(tmp_path / "mountwarden")
    run = run_directory.held(here)
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    syscalls.mount(b"hung", os.fsencode(here.path), b"fuse", abi.MS_NODEV | abi.MS_NOSUID, options)
    monkeypatch.setattr(remote, "RunDirectory", lambda: here)
    signal.alarm(10)
    try:
        unsaved = Unsaved(run=run)
        unsaved.look()
        assert "something is mounted over" in (unsaved.text or "")
        assert unsaved.write(run.ledger, lambda: run_directory.write(run.ledger, b"kept"))
        assert pause.read(run, 1.0) is None
        with pytest.raises(Unreachable, match="something is mounted over"):
            remote.connect()
        with pytest.raises(MountwardenError, match="something is mounted over"):
            lock.take(here)
    finally:
        os.close(fuse)  # what hangs ends with an error
        syscalls.umount(os.fsencode(here.path), abi.MNT_DETACH)
        signal.alarm(0)
    os.close(int(run.path.name))


def test_a_bind_mount_of_the_directory_itself_is_no_cover(tmp_path: Path) -> None:
    """As a container has it that was given the directory."""
    here = RunDirectory(tmp_path / "mountwarden")
    run = run_directory.held(here)
    syscalls.mount(os.fsencode(here.path), os.fsencode(here.path), b"", abi.MS_BIND)
    try:
        unsaved = Unsaved(run=run)
        unsaved.look()
        assert (run_directory.is_covered(here), unsaved.text) == (False, None)
    finally:
        syscalls.umount(os.fsencode(here.path))
    os.close(int(run.path.name))


def test_a_directory_that_was_removed_is_made_again(tmp_path: Path) -> None:
    here = RunDirectory(tmp_path / "mountwarden")
    run = run_directory.held(here)
    here.path.rmdir()
    unsaved = Unsaved(run=run)
    assert not unsaved.write(run.ledger, lambda: run_directory.write(run.ledger, b"kept"))
    assert unsaved.text == f"{here.ledger} can't be written: {os.strerror(errno.ENOENT)}"
    unsaved.look()
    assert unsaved.write(run.ledger, lambda: run_directory.write(run.ledger, b"kept"))
    assert run_directory.read(here.ledger) == b"kept"
    os.close(int(run.path.name))
