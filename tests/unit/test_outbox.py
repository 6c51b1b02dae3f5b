"""Exactly once: what is pending at a start is looked up before it is told."""

import io
import json
from dataclasses import replace
from pathlib import Path

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
        self.told: list[str] = []
        self.saved: list[int] = []
        self._run = run

    @property
    def structured(self) -> bool:
        return True

    def send(self, entry: Entry) -> None:
        self.told.append(dict(entry)["MOUNTWARDEN_EVENT_ID"])
        self.saved.append(len(stored.load(run_directory.read(self._run.ledger), "boot")[0].pending))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def test_an_event_is_saved_as_pending_before_it_is_told_and_not_after(run: RunDirectory) -> None:
    journal = Recorder(run)
    told = Outbox(run, journal).tell(replace(Ledger("boot"), pending=EVENTS))
    assert (journal.told, journal.saved) == (["key-0", "key-1", "key-2"], [3, 3, 3])
    assert told.pending == ()
    assert stored.load(run_directory.read(run.ledger), "boot") == (Ledger("boot"), None)


def test_nothing_is_written_when_nothing_changed(run: RunDirectory) -> None:
    one = Outbox(run, Recorder(run))
    one.tell(Ledger("boot"))
    before = run_directory.signature(run.ledger)
    one.tell(Ledger("boot"))
    assert run_directory.signature(run.ledger) == before
    one.tell(replace(Ledger("boot"), paused=True))
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


def test_the_journal_is_synced_and_asked_by_key_boot_and_user() -> None:
    asked: list[list[str]] = []

    def ask(arguments: list[str]) -> str:
        asked.append(arguments)
        return json.dumps({"MOUNTWARDEN_EVENT_ID": "key-2"}) + "\n" + json.dumps({"MOUNTWARDEN_EVENT_ID": "x"}) + "\n"

    assert in_journal(EVENTS, "b-o-o-t", ask) == {"key-2"}
    assert asked[0] == ["--sync"]
    assert {"_UID=0", "_BOOT_ID=boot", "SYSLOG_IDENTIFIER=mountwarden", "MOUNTWARDEN_EVENT_ID=key-0"} <= set(asked[1])


def test_many_keys_are_asked_for_in_parts() -> None:
    calls: list[list[str]] = []

    def ask(arguments: list[str]) -> str:
        calls.append(arguments)
        keys = [word.partition("=")[2] for word in arguments if word.startswith("MOUNTWARDEN_EVENT_ID=")]
        return "\n".join(json.dumps({"MOUNTWARDEN_EVENT_ID": key}) for key in keys)

    events = [Event(EventKind.GAP, f"k{number}", 1.0) for number in range(450)]
    assert len(in_journal(events, "boot", ask)) == 450
    assert len(calls) == 4


def test_no_answer_counts_as_not_told() -> None:
    assert in_journal(EVENTS, "boot", lambda _arguments: None) == frozenset()
    assert in_journal((), "boot", lambda _arguments: pytest.fail("nothing was to be asked")) == frozenset()
