"""Entries of the journal as journalctl prints them: ours, and nobody else's."""

import json
import time
from pathlib import Path

import pytest
from mountwarden.errors import MountwardenError
from mountwarden.systemd import journal_reader

from tests.support.journal_entries import FROM_SERVICE, FROM_SESSION, Journalctl, lines

ENTRY = {
    **FROM_SERVICE,
    "__REALTIME_TIMESTAMP": "1790000000250000",
    "MOUNTWARDEN_EVENT": "found",
    "MESSAGE": "a\u2028b",
}
FORGED = {**ENTRY, "_SYSTEMD_UNIT": "docker-1.scope", "_SYSTEMD_CGROUP": "/system.slice/docker-1.scope"}


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journalctl:
    return Journalctl(tmp_path, monkeypatch)


def test_every_command_asks_for_entries_that_look_like_ours_and_root_s() -> None:
    words = journal_reader.command("--boot", "MOUNTWARDEN_FINDING=mw-1")
    assert {"--output=json", "--all", "--no-pager", "_UID=0", "SYSLOG_IDENTIFIER=mountwarden"} <= set(words)
    assert (words[0], words[-2:]) == ("journalctl", ["--boot", "MOUNTWARDEN_FINDING=mw-1"])
    counted = journal_reader.of_service("--lines=5")
    assert {"_SYSTEMD_UNIT=mountwarden.service", "_TRANSPORT=journal", "_UID=0", "--lines=5"} <= set(counted)


def test_an_entry_is_a_line_whatever_its_text(journalctl: Journalctl) -> None:
    journalctl.prints("-- a remark\n" + lines(ENTRY, {**ENTRY, "UNIT": "a.service", "MOUNTWARDEN_ROOT": "/r"}))
    at = "2026-09-21T14:13:20.250Z"
    assert journal_reader.read(["--boot"]) == [
        {"at": at, "event": "found", "message": "a\u2028b", "unit": None},
        {"at": at, "event": "found", "message": "a\u2028b", "unit": "a.service", "root": "/r"},
    ]
    assert journalctl.calls[0][-1] == "--boot"


def test_what_others_wrote_is_left_out_and_a_command_s_has_who_ran_it(journalctl: Journalctl) -> None:
    command = {**ENTRY, **FROM_SESSION, "_AUDIT_LOGINUID": "0", "MOUNTWARDEN_BY": "the service"}
    asked = {**ENTRY, "MOUNTWARDEN_BY": "uid 0, pid 9 (mountwarden)"}
    journalctl.prints(lines(FORGED, command, {**FORGED, "_UID": "1000"}, asked))
    own, answered = journal_reader.read([])
    assert own["by"] == "root (uid 0) with mountwarden detach mw-1, in session-3.scope, pid 47 (mountwarden)"
    assert answered["by"] == "uid 0, pid 9 (mountwarden)", "the service knows it from the socket"


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ([97, 255], "a\udcff"), ([], ""), (["a", "b"], "a"), ([[97, 27], "b"], "a\x1b"), (None, "")],
)
def test_a_field_is_text_in_every_form(value: object, text: str) -> None:
    assert journal_reader.fields(json.dumps({"MESSAGE": value}).encode()) == {"MESSAGE": text}


def test_both_ways_in_which_a_finding_is_named_are_asked_for_among_root_s(journalctl: Journalctl) -> None:
    of_it, summary, other = (
        {**ENTRY, **more}
        for more in (
            {"MOUNTWARDEN_FINDING": "mw-1"},
            {"MOUNTWARDEN_EVENT": "summary", "MOUNTWARDEN_FINDINGS": "mw-0 mw-1"},
            {"MOUNTWARDEN_EVENT": "summary", "MOUNTWARDEN_FINDINGS": "mw-11"},
        )
    )
    journalctl.prints(lines(of_it, summary, other))
    assert [one["event"] for one in journal_reader.of_finding("mw-1") or ()] == ["found", "summary"]
    (words,) = journalctl.calls
    both = words[: words.index("+")], words[words.index("+") :]
    assert all({"_UID=0", "SYSLOG_IDENTIFIER=mountwarden"} <= set(half) for half in both)


def test_where_too_many_entries_look_like_ours_the_service_s_own_are_told(journalctl: Journalctl) -> None:
    endless = f"while :; do printf %s '{lines(FORGED)}'; done"
    own = lines({**ENTRY, "MOUNTWARDEN_FINDING": "mw-1"})
    journalctl.does(f"case \"$*\" in *_SYSTEMD_UNIT=*_SYSTEMD_UNIT=*) printf %s '{own}' ;; *) {endless} ;; esac")
    started = time.monotonic()
    assert [one["event"] for one in journal_reader.of_finding("mw-1", deadline=1.0) or ()] == ["found"]
    warned: list[str] = []
    words = ["--boot", "_UID=0", "+", "_UID=0"]
    assert [one["event"] for one in journal_reader.read(words, deadline=0.5, warn=warned.append)] == ["found"]
    assert warned == ["too many entries look like ours: only those of the service were read"]
    assert time.monotonic() - started < 5


def test_an_entry_without_end_is_passed_over(journalctl: Journalctl) -> None:
    long = "head -c 8000000 /dev/zero | tr '\\0' x; echo"
    journalctl.does(
        f"printf '{{\"MESSAGE\":\"'; {long}; printf %s '{lines(ENTRY)}'; {long}; printf %s '{lines(ENTRY)}'"
    )
    assert [one["event"] for one in journal_reader.read([])] == ["found", "found"]


def test_a_journal_that_may_not_be_read_is_said(journalctl: Journalctl) -> None:
    journalctl.prints("", "No journal files were opened due to insufficient permissions.\n", 1)
    with pytest.raises(MountwardenError, match="insufficient permissions"):
        journal_reader.read([])
    assert journal_reader.of_finding("mw-1") is None
    journalctl.does("sleep 60")
    with pytest.raises(MountwardenError, match="no answer within"):
        journal_reader.read([], deadline=0.1)


def test_no_entry_is_no_failure(journalctl: Journalctl) -> None:
    journalctl.prints("", "", 1)
    assert journal_reader.read([]) == []
