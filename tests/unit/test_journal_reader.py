"""Entries of the journal as journalctl prints them."""

import json
import subprocess
from unittest.mock import Mock

import pytest
from mountwarden.errors import MountwardenError
from mountwarden.systemd import journal_reader

ENTRY = {"__REALTIME_TIMESTAMP": "1790000000250000", "MOUNTWARDEN_EVENT": "found", "MESSAGE": "a\u2028b"}


def answer(monkeypatch: pytest.MonkeyPatch, out: str, err: str = "", status: int = 0) -> Mock:
    run = Mock(return_value=subprocess.CompletedProcess([], status, out.encode(), err.encode()))
    monkeypatch.setattr(subprocess, "run", run)
    return run


def lines(*entries: object) -> str:
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def test_every_command_asks_for_entries_of_ours_that_root_wrote() -> None:
    words = journal_reader.command("--boot", "MOUNTWARDEN_FINDING=mw-1")
    assert {"--output=json", "--all", "--no-pager", "_UID=0", "SYSLOG_IDENTIFIER=mountwarden"} <= set(words)
    assert (words[0], words[-2:]) == ("journalctl", ["--boot", "MOUNTWARDEN_FINDING=mw-1"])


def test_an_entry_is_a_line_whatever_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    run = answer(monkeypatch, "-- a remark\n" + lines(ENTRY, {**ENTRY, "UNIT": "a.service", "MOUNTWARDEN_ROOT": "/r"}))
    at = "2026-09-21T14:13:20.250Z"
    assert journal_reader.read(["--boot"]) == [
        {"at": at, "event": "found", "message": "a\u2028b", "unit": None},
        {"at": at, "event": "found", "message": "a\u2028b", "unit": "a.service", "root": "/r"},
    ]
    assert run.call_args.args[0][-1] == "--boot"


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ([97, 255], "a\udcff"), ([], ""), (["a", "b"], "a"), ([[97, 27], "b"], "a\x1b"), (None, "")],
)
def test_a_field_is_text_in_every_form(value: object, text: str) -> None:
    assert journal_reader.fields(json.dumps({"MESSAGE": value}).encode()) == {"MESSAGE": text}


def test_both_ways_in_which_a_finding_is_named_are_asked_for_among_root_s(monkeypatch: pytest.MonkeyPatch) -> None:
    of_it, summary, other = (
        {**ENTRY, **more}
        for more in (
            {"MOUNTWARDEN_FINDING": "mw-1"},
            {"MOUNTWARDEN_EVENT": "summary", "MOUNTWARDEN_FINDINGS": "mw-0 mw-1"},
            {"MOUNTWARDEN_EVENT": "summary", "MOUNTWARDEN_FINDINGS": "mw-11"},
        )
    )
    run = answer(monkeypatch, lines(of_it, summary, other))
    assert [one["event"] for one in journal_reader.of_finding("mw-1") or ()] == ["found", "summary"]
    words = run.call_args.args[0]
    both = words[: words.index("+")], words[words.index("+") :]
    assert all({"_UID=0", "SYSLOG_IDENTIFIER=mountwarden"} <= set(half) for half in both)


def test_a_journal_that_may_not_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "", "No journal files were opened due to insufficient permissions.\n", 1)
    with pytest.raises(MountwardenError, match="insufficient permissions"):
        journal_reader.read([])
    assert journal_reader.of_finding("mw-1") is None


def test_no_entry_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "", "", 1)
    assert journal_reader.read([]) == []
