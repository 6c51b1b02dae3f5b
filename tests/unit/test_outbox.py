"""Exactly once: what is pending at a start is searched for in the journal before it is reported."""

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from mountwarden.ledger import stored
from mountwarden.ledger.update import Ledger
from mountwarden.model import Event, EventKind
from mountwarden.service import outbox
from mountwarden.service.outbox import Outbox, in_journal
from mountwarden.state import run_directory
from mountwarden.state.run_directory import RunDirectory
from mountwarden.systemd.journal import Entry, Journal

EVENTS = tuple(Event(EventKind.GAP, f"key-{number}", 1.0, "text") for number in range(3))


class Recorder(Journal):
    """A journal that remembers; like the real one it takes any entry."""

    def __init__(self, run: RunDirectory) -> None:
        super().__init__(stderr=io.StringIO())
        self.sent: list[str] = []
        self.saved: list[int] = []
        self._run = run

    @property
    def structured(self) -> bool:
        return True

    def send(self, entry: Entry) -> bool:
        self.sent.append(dict(entry)["MOUNTWARDEN_EVENT_ID"])
        self.saved.append(len(stored.load(run_directory.read(self._run.ledger), "boot")[0].pending))
        return True


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def test_an_event_is_saved_as_pending_before_it_is_reported_and_not_after(run: RunDirectory) -> None:
    journal = Recorder(run)
    reported = Outbox(run, journal).report(replace(Ledger("boot"), pending=EVENTS))
    assert (journal.sent, journal.saved) == (["key-0", "key-1", "key-2"], [3, 3, 3])
    assert reported.pending == ()
    assert stored.load(run_directory.read(run.ledger), "boot") == (Ledger("boot"), None)


def test_nothing_is_written_when_nothing_changed(run: RunDirectory) -> None:
    one = Outbox(run, Recorder(run))
    one.report(Ledger("boot"))
    before = run_directory.signature(run.ledger)
    one.report(Ledger("boot"))
    assert run_directory.signature(run.ledger) == before
    one.report(replace(Ledger("boot"), paused=True))
    assert run_directory.signature(run.ledger) != before


def test_a_start_drops_what_the_journal_has(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    run_directory.write(run.ledger, stored.dump(replace(Ledger("boot"), pending=EVENTS)), run_directory.OWN)
    monkeypatch.setattr(outbox, "in_journal", lambda events, boot: frozenset({"key-1"}))
    ledger, why = Outbox(run, Recorder(run)).load("boot")
    assert ([event.key for event in ledger.pending], why) == (["key-0", "key-2"], None)


def test_a_ledger_that_is_too_large_starts_a_new_one(run: RunDirectory) -> None:
    with run.ledger.open("wb") as file:
        file.truncate(run_directory.LARGEST + 1)
    ledger, why = Outbox(run, Recorder(run)).load("boot")
    assert (ledger, "more than 16 MiB" in (why or "")) == (Ledger("boot"), True)


Answer = Callable[[list[str]], str | None]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[list[str]]]:
    """Let a function answer for journalctl (None: it fails); gives the list of what it is called with."""

    def set_up(answer: Answer) -> list[list[str]]:
        asked: list[list[str]] = []

        def run(words: list[str], **_options: object) -> "subprocess.CompletedProcess[bytes]":
            assert words[0] == "journalctl"
            asked.append(words[1:])
            told = answer(words[1:])
            return subprocess.CompletedProcess(words, int(told is None), (told or "").encode(), b"no")

        monkeypatch.setattr(subprocess, "run", run)
        return asked

    return set_up


def printed(*keys: str) -> str:
    entries = ({"__REALTIME_TIMESTAMP": "1", "MOUNTWARDEN_EVENT_ID": key} for key in keys)
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def test_the_journal_is_synced_and_asked_by_key_boot_and_user(answers: Callable[[Answer], list[list[str]]]) -> None:
    asked = answers(lambda words: "" if words == ["--sync"] else printed("key-2", "x"))
    assert in_journal(EVENTS, "b-o-o-t") == {"key-2"}
    assert asked[0] == ["--sync"]
    assert {"_UID=0", "_BOOT_ID=boot", "SYSLOG_IDENTIFIER=mountwarden", "MOUNTWARDEN_EVENT_ID=key-0"} <= set(asked[1])
    assert "+" not in asked[1], "all of them must match"


def test_many_keys_are_asked_for_in_parts(answers: Callable[[Answer], list[list[str]]]) -> None:
    key = "MOUNTWARDEN_EVENT_ID="
    calls = answers(lambda words: printed(*(word.removeprefix(key) for word in words if word.startswith(key))))
    events = [Event(EventKind.GAP, f"k{number}", 1.0) for number in range(450)]
    assert len(in_journal(events, "boot")) == 450
    assert len(calls) == 4


def test_no_answer_counts_as_not_reported(
    answers: Callable[[Answer], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answers(lambda _words: None)
    assert in_journal(EVENTS, "boot") == frozenset()
    assert asked == [["--sync"]]
    asked = answers(lambda words: "" if words == ["--sync"] else None)
    assert in_journal(EVENTS, "boot") == frozenset()
    assert len(asked) == 2
    asked = answers(lambda _words: pytest.fail("nothing was to be asked"))
    assert in_journal((), "boot") == frozenset()
    for error in (FileNotFoundError(), PermissionError(13, "Permission denied"), subprocess.TimeoutExpired("", 5)):
        monkeypatch.setattr(subprocess, "run", Mock(side_effect=error))
        assert in_journal(EVENTS, "boot") == frozenset()
