"""The service's directory with no space, no inodes, or read-only: it goes on from memory, and says so once."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.ledger import breaker, stored, update
from mountwarden.ledger.update import Ledger, Now
from mountwarden.service.outbox import Outbox
from mountwarden.service.triggers import Wake
from mountwarden.service.unsaved import Unsaved
from mountwarden.state import run_directory
from mountwarden.state.run_directory import RunDirectory

from tests.support.findings import CONFIG, finding
from tests.unit.test_service_loop import Host, Reported, kinds, serve

READ_ONLY = abi.MS_REMOUNT | abi.MS_RDONLY


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    place = os.fsencode(tmp_path)
    syscalls.mount(b"run", place, b"tmpfs", 0, b"size=64k,nr_inodes=40")
    try:
        yield RunDirectory(tmp_path)
    finally:
        syscalls.umount(place)


def no_space(run: RunDirectory) -> Callable[[], None]:
    with (run.path / "all").open("wb") as file, contextlib.suppress(OSError):
        file.write(b"x" * (64 << 10))
    return (run.path / "all").unlink


def no_inodes(run: RunDirectory) -> Callable[[], None]:
    (run.path / "many").mkdir()
    with contextlib.suppress(OSError):
        for number in range(100):
            (run.path / "many" / str(number)).touch()
    return lambda: [one.unlink() for one in (run.path / "many").iterdir()] and None


def read_only(run: RunDirectory) -> Callable[[], None]:
    syscalls.mount(b"run", os.fsencode(run.path), b"tmpfs", READ_ONLY, b"")
    return lambda: syscalls.mount(b"run", os.fsencode(run.path), b"tmpfs", abi.MS_REMOUNT, b"")


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


def test_a_ledger_of_before_is_still_read_where_nothing_can_be_written(run: RunDirectory) -> None:
    run_directory.write(run.ledger, stored.dump(replace(confirmed(), pending=())), run_directory.OWN)
    mend = read_only(run)
    ledger, why = Outbox(run, Reported()).load("boot")
    assert (list(ledger.entries), why) == ([finding(1).id], None)
    mend()
