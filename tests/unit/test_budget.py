"""What scans may cost lasts over restarts, however the runs before have ended."""

import random
from pathlib import Path

import pytest
from mountwarden.service.budget import WORTH, Budget
from mountwarden.service.schedule import BURST, COST_FACTOR, LONGEST_BURST, LONGEST_PAUSE, Schedule
from mountwarden.service.unsaved import Unsaved
from mountwarden.state import budget, run_directory
from mountwarden.state.budget import Owed
from mountwarden.state.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def kept(run: RunDirectory, *, is_first: bool = False, boot: str = "boot") -> Budget:
    return Budget(run, boot, Unsaved(lambda _level, _text: None), is_first=is_first)


def test_a_first_run_owes_nothing_and_the_next_one_what_it_left(run: RunDirectory) -> None:
    first = kept(run, is_first=True)
    assert first.taken_up(10.0) is None
    first.keep(Owed(1.0, 11.0))
    assert kept(run).taken_up(12.0) == Owed(1.0, 11.0)
    assert kept(run, boot="other", is_first=True).taken_up(12.0) is None


def test_what_can_t_be_known_is_taken_to_be_spent(run: RunDirectory) -> None:
    assert kept(run).taken_up(10.0) == Owed(BURST, 10.0)
    for text in (b"", b"{}", b"[]", b"\xff", b'{"schema":"mountwarden.budget/1","boot_id":"boot","debt":NaN,"at":1}'):
        run_directory.write(run.budget, text)
        assert kept(run).taken_up(10.0) == Owed(BURST, 10.0)
    for owed in (Owed(1.0, 11.0), Owed(-1.0, 1.0)):
        budget.write(run, "boot", owed)
        assert kept(run).taken_up(10.0) == Owed(BURST, 10.0), "of another clock, or no number for it"


def test_little_is_not_written(run: RunDirectory) -> None:
    one = kept(run, is_first=True)
    for at in range(1000):
        one.keep(Owed(WORTH / 2, float(at)))
    assert not run.budget.exists()
    one.keep(Owed(WORTH * 2, 1000.0))
    before = run_directory.signature(run.budget)
    one.keep(Owed(WORTH * 2 - 1 / COST_FACTOR, 1001.0))
    assert run_directory.signature(run.budget) == before, "time alone needs no file"


@pytest.mark.parametrize("dies", ["in the first scan", "after it", "anywhere"])
@pytest.mark.parametrize("cost", [0.02, 0.2, 0.9])
def test_thirty_restarts_stay_within_the_budget(run: RunDirectory, dies: str, cost: float) -> None:
    """Each run is killed; scans are asked for all the time. What one costs is spent whenever it dies in it."""
    dice, now, spent = random.Random(7), 1000.0, 0.0
    for number in range(30):
        one, schedule = kept(run, is_first=number == 0), Schedule(1.0, 60.0, started=now)
        if owed := one.taken_up(now):
            schedule.go_on(*owed)
        for scan in range({"in the first scan": 1, "after it": 1, "anywhere": dice.randrange(1, 9)}[dies]):
            schedule.woken(now)
            now = max(now, schedule.next())
            if scan == 0:
                one.keep(schedule.owed(now), expected=BURST)
            spent += cost
            if dies == "in the first scan":
                break
            schedule.done(now, now + cost, cost, full=scan == 0, deadline=None)
            now += cost
            one.keep(schedule.owed(now))
        now += 0.3  # systemd starts it anew
    free = (
        max(BURST, min(cost, LONGEST_BURST)) + cost
    )  # the first run's first scan, and one that is begun within a burst
    unseen = 30 * (WORTH + (max(0.0, cost - BURST) if dies == "in the first scan" else 0.0))
    longest = cost * (now - 1000.0) / LONGEST_PAUSE  # after the longest pause a scan is made whatever is owed
    assert spent <= free + (now - 1000.0) / COST_FACTOR + unseen + longest


def test_the_first_scan_waits_for_what_the_last_run_owes() -> None:
    schedule = Schedule(1.0, 60.0, started=100.0)
    schedule.go_on(BURST + 0.1, 99.0)
    assert schedule.next() == pytest.approx(99.0 + 0.1 * COST_FACTOR)
    schedule.demand()
    assert schedule.next() == 100.0, "root asks for an action"
    schedule = Schedule(1.0, 60.0, started=100.0)
    schedule.go_on(50.0, 99.0)
    assert schedule.next() == 99.0 + LONGEST_PAUSE
    schedule.done(129.0, 129.1, 0.1, full=True, deadline=None)
    assert schedule.debt == pytest.approx(50.0 - 30.1 / COST_FACTOR + 0.1)
