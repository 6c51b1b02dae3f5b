"""Entries of the journal: their fields, their text, and the last resort."""

import contextlib
import io
import os
import socket
import tempfile
import time

import pytest
from mountwarden.model import Cause, Event, EventKind, Kind, Severity, Subject
from mountwarden.output import journal_messages
from mountwarden.systemd import journal


def subject(**changes: object) -> Subject:
    facts: dict[str, object] = {
        "id": "mw-0123456789",
        "kind": Kind.LEAKED,
        "severity": Severity.WARNING,
        "root": b"/var/lib/docker",
        "engine": "docker",
        "mountpoint": b"/var/lib/docker/overlay2/X/merged",
        "since": 1.0,
        "layer": b"X",
        "namespaces": (4026532200,),
        "spaces": 1,
        "evidence": "history",
        "cause": Cause("mount-flags-private", "leaky.service has MountFlags=private"),
        "pid": 4711,
        "comm": "sleep",
        "unit": "leaky.service",
        "units": ("leaky.service",),
    }
    return Subject(**(facts | changes))  # type: ignore[arg-type]


def written(event: Event) -> list[tuple[str, str]]:
    """The entry as journald is given it."""
    with Journald() as journald:
        assert journal.Journal(socket=journald.path).send(journal_messages.entry(event))
        return journald.entry()


class Journald:
    """A socket that takes entries as journald's does."""

    def __enter__(self) -> "Journald":
        self.folder = tempfile.TemporaryDirectory()
        self.path = f"{self.folder.name}/socket"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(5)
        return self

    def __exit__(self, *_error: object) -> None:
        self.socket.close()
        self.folder.cleanup()

    def entry(self) -> list[tuple[str, str]]:
        """The next one, in one datagram or in a file in memory."""
        data, fds, _flags, _address = socket.recv_fds(self.socket, 1 << 20, 1)
        for fd in fds:
            data = os.pread(fd, 1 << 24, 0)
            os.close(fd)
        return [(name, value) for name, _, value in (line.partition("=") for line in data.decode().splitlines())]


def fields(kind: EventKind, text: str = "", **changes: object) -> dict[str, str]:
    return dict(written(Event(kind, "key", 2.0, text, subject(**changes))))


def test_found_names_everything() -> None:
    sent = fields(EventKind.FOUND)
    assert sent["MESSAGE"] == (
        "/var/lib/docker/overlay2/X/merged leaked: the layer is unmounted on the host, and still mounted in "
        "leaky.service; leaky.service has MountFlags=private (mw-0123456789)"
    )
    assert sent["SYSLOG_IDENTIFIER"] == "mountwarden"
    assert sent["PRIORITY"] == "4"
    assert sent["MOUNTWARDEN_EVENT"] == "found"
    assert sent["MOUNTWARDEN_KIND"] == "leaked"
    assert sent["MOUNTWARDEN_FINDING"] == "mw-0123456789"
    assert sent["MOUNTWARDEN_ROOT"] == "/var/lib/docker"
    assert sent["MOUNTWARDEN_LAYER"] == "X"
    assert sent["MOUNTWARDEN_MOUNTPOINT"] == "/var/lib/docker/overlay2/X/merged"
    assert sent["MOUNTWARDEN_NAMESPACE"] == "4026532200"
    assert sent["MOUNTWARDEN_CAUSE"] == "leaky.service has MountFlags=private"
    assert sent["MOUNTWARDEN_EVIDENCE"] == "history"
    assert (sent["UNIT"], sent["OBJECT_PID"]) == ("leaky.service", "4711")


def test_several_holders_are_named_and_counted_and_each_unit_s_journal_has_the_entry() -> None:
    units = ("leaky.service", "web.service")
    event = Event(EventKind.FOUND, "key", 2.0, "", subject(namespaces=(7, 8, 9), spaces=25, others=24, units=units))
    sent = written(event)
    assert dict(sent)["MESSAGE"].startswith("/var/lib/docker/overlay2/X/merged leaked: the layer is unmounted")
    assert "still mounted in leaky.service and 24 others; " in dict(sent)["MESSAGE"]
    assert dict(sent)["MOUNTWARDEN_HOLDER"] == "leaky.service and 24 others"
    assert [value for name, value in sent if name == "MOUNTWARDEN_NAMESPACE"] == ["7", "8", "9"]
    for name in ("UNIT", "OBJECT_SYSTEMD_UNIT"):
        assert [value for each, value in sent if each == name] == list(units)
    assert [value for name, value in sent if name == "OBJECT_PID"] == ["4711"]


def test_what_is_not_known_says_so() -> None:
    sent = fields(EventKind.FOUND, cause=None, layer=None, unit=None, units=(), pid=None)
    assert sent["MOUNTWARDEN_CAUSE"] == "not known"
    assert sent["MOUNTWARDEN_HOLDER"] == "mount namespace 4026532200 (no process seen)"
    assert {"MOUNTWARDEN_LAYER", "UNIT", "OBJECT_PID"} & sent.keys() == set()


def test_a_critical_finding_is_an_error() -> None:
    assert fields(EventKind.FOUND, severity=Severity.CRITICAL)["PRIORITY"] == "3"
    assert fields(EventKind.CLEARED, severity=Severity.CRITICAL)["PRIORITY"] == "5"


def test_declined_is_asked_for_as_failed_and_has_its_own_id() -> None:
    declined, failed = fields(EventKind.DECLINED, "busy"), fields(EventKind.FAILED, "busy")
    assert declined["MOUNTWARDEN_EVENT"] == failed["MOUNTWARDEN_EVENT"] == "failed"
    assert declined["MESSAGE_ID"] != failed["MESSAGE_ID"]
    assert "nothing was changed" in declined["MESSAGE"]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_its_sentence(kind: Kind) -> None:
    sentence = journal_messages.sentence(Event(EventKind.FOUND, "key", 2.0, subject=subject(kind=kind)))
    assert "mw-0123456789" in sentence
    assert "{" not in sentence


def test_hostile_names_stay_on_one_line_and_in_their_field() -> None:
    evil = b"/r/\x1b[2J\nPRIORITY=0\nMOUNTWARDEN_FINDING=mw-other/\xff"
    for name, value in written(Event(EventKind.FOUND, "key", 2.0, subject=subject(mountpoint=evil))):
        assert value.isprintable(), name
    sent = fields(EventKind.FOUND, mountpoint=evil)
    assert sent["MOUNTWARDEN_MOUNTPOINT"] == r"/r/\x1b[2J\x0aPRIORITY=0\x0aMOUNTWARDEN_FINDING=mw-other/\xff"
    assert sent["MOUNTWARDEN_FINDING"] == "mw-0123456789"


def test_long_values_are_cut() -> None:
    assert len(journal.clean("x" * 100_000)) == journal.LONGEST


def test_without_a_socket_lines_go_to_stderr_and_that_is_said_once(tmp_path: object) -> None:
    stderr = io.StringIO()
    teller = journal.Journal(stderr=stderr, socket=f"{tmp_path}/none")
    teller.send(journal_messages.entry(Event(EventKind.FOUND, "key", 2.0, subject=subject())))
    teller.send(journal_messages.entry(Event(EventKind.CLEARED, "other", 3.0, subject=subject())))
    said, found, cleared = stderr.getvalue().splitlines()
    assert said.startswith("<4>the journal can't be written with fields")
    assert found.startswith("<4>/var/lib/docker/overlay2/X/merged leaked")
    assert "MOUNTWARDEN_FINDING=mw-0123456789" in found
    assert cleared.startswith("<5>leaked is over")


@pytest.mark.parametrize("path", ["/proc/self/status", "/nonexistent"])
def test_a_journal_that_fails_is_said_once_and_lines_go_to_stderr(path: str) -> None:
    stderr = io.StringIO()
    teller = journal.Journal(stderr=stderr, socket=path)
    for key in ("one", "two"):
        assert teller.send(journal_messages.entry(Event(EventKind.FOUND, key, 2.0, subject=subject())))
    said, *lines = stderr.getvalue().splitlines()
    assert "writing to stderr" in said
    assert [line[:3] for line in lines] == ["<4>", "<4>"]


def test_a_journald_that_reads_nothing_is_not_waited_for_and_gets_the_entry_later() -> None:
    stderr = io.StringIO()
    gap = journal_messages.entry(Event(EventKind.GAP, "k", 2.0, "a gap"))
    with Journald() as journald:
        teller = journal.Journal(stderr=stderr, socket=journald.path)
        began, sent = time.monotonic(), 0
        while teller.send(gap):
            sent += 1
        assert (teller.send(gap), time.monotonic() - began < 5) == (False, True)
        assert stderr.getvalue() == "<4>journald takes no entries now\n"
        for _number in range(sent):
            assert ("MOUNTWARDEN_EVENT_ID", "k") in journald.entry()
        assert teller.send(gap)


def test_a_command_waits_for_a_journald_that_is_slower_than_its_actions() -> None:
    """Its queue holds some hundred entries, and a command that has ended can't send them later, as the service does."""
    gap = journal_messages.entry(Event(EventKind.GAP, "k", 2.0, "a gap"))
    with Journald() as journald:
        quick = journal.Journal(stderr=io.StringIO(), socket=journald.path)
        while quick.send(gap):
            pass
        pid = os.fork()
        if pid == 0:
            time.sleep(0.2)
            journald.entry()
            os._exit(0)
        assert journal.Journal(socket=journald.path, patience=5).send(gap)
        os.waitpid(pid, 0)


def test_a_journald_that_hangs_is_waited_for_once() -> None:
    gap = journal_messages.entry(Event(EventKind.GAP, "k", 2.0, "a gap"))
    with Journald() as journald:
        patient = journal.Journal(stderr=io.StringIO(), socket=journald.path, patience=0.2)
        while patient.send(gap):
            pass
        began = time.monotonic()
        assert [patient.send(gap) for _entry in range(100)] == [False] * 100
        assert time.monotonic() - began < 2


def test_an_entry_that_no_datagram_holds_is_written_whole() -> None:
    many = subject(units=tuple(f"{number}-{'x' * 250}.service" for number in range(2000)))
    sent = written(Event(EventKind.FOUND, "key", 2.0, "", many))
    assert len([value for name, value in sent if name == "UNIT"]) == 2000


def test_a_stderr_that_takes_nothing_is_not_waited_for() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    with os.fdopen(read), os.fdopen(write, "w") as stderr:
        assert journal.Journal(stderr=stderr, socket="/nonexistent").send(
            (("MESSAGE", "m"), ("PRIORITY", "4"), ("MESSAGE_ID", "i"))
        )


def test_a_closed_stderr_stops_nothing(tmp_path: object) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    teller = journal.Journal(stderr=Closed(), socket=f"{tmp_path}/none")
    teller.send(journal_messages.entry(Event(EventKind.FOUND, "key", 2.0, subject=subject())))
    assert teller._complained
