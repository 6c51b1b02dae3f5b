"""When what scans saw is saved."""

import pytest
from mountwarden.scan import saving
from mountwarden.scan.history import History
from mountwarden.scan.saving import PERIOD, Saving
from mountwarden.scan.stored_history import StoredHistory


def test_what_waits_is_saved_soon_though_nothing_more_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a kill up to the next full scan would lose what a unit that has started meanwhile has."""
    now, kept = [100.0], list[str]()
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    one = Saving(lambda stored: kept.append(stored.boot_id))
    one.save(History(), lambda: StoredHistory("first"), now=False)
    one.save(History(), lambda: StoredHistory("second"), now=False)
    one.save_late()
    assert (kept, one.due) == (["first"], 100.0 + PERIOD)
    now[0] += PERIOD + 1
    one.save_late()
    assert (kept, one.due) == (["first", "second"], None)
    now[0] += PERIOD + 1
    one.save_late()
    one.end()
    assert kept == ["first", "second"], "once"


def test_what_a_whole_scan_saw_is_saved_at_once_and_what_waits_at_the_end() -> None:
    kept = list[str]()
    one = Saving(lambda stored: kept.append(stored.boot_id))
    for number in range(3):
        one.save(History(), lambda number=number: StoredHistory(str(number)), now=number < 2)  # type: ignore[misc]
    assert kept == ["0", "1"]
    one.end()
    assert kept == ["0", "1", "2"]


def test_a_new_stack_is_saved_at_once() -> None:
    """How deep it was when it was first seen is known by nothing else."""
    kept = list[str]()
    one = Saving(lambda stored: kept.append(stored.boot_id))
    for name, depths in (("first", ()), ("waits", ()), ("new", ((7, 8),)), ("same", ((7, 8),))):
        one.save(History(), lambda name=name: StoredHistory(name), depths=depths, now=False)  # type: ignore[misc]
    assert kept == ["first", "new"]
