"""Exactly once: what is pending at a start is searched for in the journal before it is reported."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.ledger import stored, update
from mountwarden.ledger.update import Ledger
from mountwarden.model import Event, EventKind
from mountwarden.service import outbox
from mountwarden.service.outbox import Outbox, in_journal
from mountwarden.state import run_directory
from mountwarden.state.run_directory import RunDirectory
from mountwarden.systemd import journal_origin
from mountwarden.systemd.journal import Entry, Journal

from tests.support.journal_entries import FROM_SERVICE, Journalctl, lines

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


def printed(*keys: str) -> str:
    return lines(*({**FROM_SERVICE, "__REALTIME_TIMESTAMP": "1", "MOUNTWARDEN_EVENT_ID": key} for key in keys))


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journalctl:
    return Journalctl(tmp_path, monkeypatch)


def test_the_journal_is_synced_and_asked_by_key_boot_and_user(journalctl: Journalctl) -> None:
    journalctl.prints(printed("key-2", "x"))
    assert in_journal(EVENTS, "b-o-o-t") == {"key-2"}
    synced, asked = journalctl.calls
    assert synced == ["--sync"]
    assert {"_UID=0", "_BOOT_ID=boot", "SYSLOG_IDENTIFIER=mountwarden", "MOUNTWARDEN_EVENT_ID=key-0"} <= set(asked)
    assert "+" not in asked, "all of them must match"
    (wanted,) = (word for word in asked if word.startswith("--output-fields="))
    assert set(journal_origin.NEEDED) < set(wanted.removeprefix("--output-fields=").split(","))


def test_a_key_that_a_container_wrote_is_not_reported(journalctl: Journalctl) -> None:
    forged = {"_SYSTEMD_CGROUP": "/docker/1", "MOUNTWARDEN_EVENT_ID": "key-1"}
    journalctl.prints(printed("key-2") + lines({**FROM_SERVICE, "__REALTIME_TIMESTAMP": "1", **forged}))
    assert in_journal(EVENTS, "boot") == {"key-2"}


def test_many_keys_are_asked_for_in_parts(journalctl: Journalctl) -> None:
    template = printed("@").strip()
    each = f"printf '%s\\n' '{template}' | sed \"s/@/${{word#MOUNTWARDEN_EVENT_ID=}}/\""
    journalctl.does(f"for word; do case $word in MOUNTWARDEN_EVENT_ID=*) {each} ;; esac; done")
    events = [Event(EventKind.GAP, f"k{number}", 1.0) for number in range(450)]
    assert len(in_journal(events, "boot")) == 450
    assert len(journalctl.calls) == 4


def test_no_answer_counts_as_not_reported(journalctl: Journalctl, monkeypatch: pytest.MonkeyPatch) -> None:
    journalctl.prints("", "no", 1)
    assert in_journal(EVENTS, "boot") == frozenset()
    assert journalctl.calls == [["--sync"]]
    journalctl.does('[ "$*" = --sync ] || { echo no >&2; exit 1; }')
    assert in_journal(EVENTS, "boot") == frozenset()
    assert len(journalctl.calls) == 3
    assert in_journal((), "boot") == frozenset()
    assert len(journalctl.calls) == 3, "nothing was to be asked"
    monkeypatch.setattr(outbox, "DEADLINE", 0.1)
    for script in ("sleep 9", "[ $1 = --sync ] || sleep 9"):
        journalctl.does(script)
        assert in_journal(EVENTS, "boot") == frozenset()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert in_journal(EVENTS, "boot") == frozenset()


class Deaf(Recorder):
    """A journal that takes nothing, until it does."""

    deaf = True

    def send(self, entry: Entry) -> bool:
        return not self.deaf and super().send(entry)


def test_what_the_journal_does_not_take_waits_and_of_too_many_the_oldest_are_counted(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_PENDING", 20)
    journal, heard = Deaf(run), list[str]()
    one = Outbox(run, journal, lambda event: heard.append(event.key))
    ledger = one.report(replace(Ledger("boot"), pending=EVENTS))
    assert (ledger.pending, stored.load(run_directory.read(run.ledger), "boot")[0].pending) == (EVENTS, EVENTS)
    for number in range(outbox.MOST_PENDING + 50):
        more = Event(EventKind.GAP, f"more-{number}", 1.0, "text")
        ledger = one.report(replace(ledger, pending=(*ledger.pending, more)))
    assert (len(ledger.pending), heard) == (outbox.MOST_PENDING + 1, [])
    journal.deaf = False
    ledger = one.report(ledger)
    assert (ledger.pending, len(journal.sent), heard) == ((), outbox.MOST_PENDING + 1, journal.sent)
    assert (journal.sent[0], journal.sent[-1]) == ("lost.key-0", f"more-{outbox.MOST_PENDING + 49}")


def test_how_many_are_lost_is_right(run: RunDirectory) -> None:
    state = replace(Ledger("boot"), pending=tuple(Event(EventKind.GAP, str(number), 1.0) for number in range(10)))
    state = update.dropped(state, 7)
    state = update.dropped(replace(state, pending=(*state.pending, *EVENTS)), 7)
    assert dict(state.pending[0].data) == {"COUNT": "6"}
    assert [event.key for event in state.pending] == ["lost.0", *"6789", "key-0", "key-1", "key-2"]
