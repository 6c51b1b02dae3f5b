"""When the service scans next."""

import pytest
from mountwarden.service.schedule import (
    BURST,
    CLIENT_BURST,
    COST_FACTOR,
    FOUND_BURST,
    FOUND_FACTOR,
    FOUND_LATELY,
    IDLE_ALLOWANCE,
    LONGEST_BURST,
    LONGEST_PAUSE,
    LONGEST_TICK,
    PEEK_BURST,
    PEEK_FACTOR,
    ROOT_BURST,
    SERVICE_BURST,
    SERVICE_SETTLE,
    SETTLE,
    SUSPICION_BURST,
    TICK_FACTOR,
    Schedule,
)


def scanned(*, cost: float = 0.0, deadline: float | None = None) -> Schedule:
    """A schedule after two scans, the last from 10.0 to 10.1."""
    schedule = Schedule(tick=1.0, resync=60.0, started=5.0)
    schedule.done(5.0, 5.5, 0.2, full=True, deadline=None)
    schedule.done(10.0, 10.1, cost, full=False, deadline=deadline)
    return schedule


def test_the_first_scan_is_due_at_once_and_its_cost_puts_nothing_off() -> None:
    schedule = Schedule(tick=1.0, resync=60.0, started=5.0)
    assert schedule.next() == 5.0
    schedule.done(5.0, 5.5, 3.0, full=True, deadline=None)
    assert schedule.next() == 6.0


def test_a_tick_after_the_last_scan() -> None:
    assert scanned().next() == 11.0


def test_ticks_are_as_far_apart_as_they_are_costly() -> None:
    assert scanned(cost=0.0008).next() == pytest.approx(10.0 + TICK_FACTOR * 0.0008)
    assert scanned(cost=0.1).next() == 10.0 + LONGEST_TICK


@pytest.mark.parametrize("full", [True, False])
def test_a_resync_or_a_woken_scan_stretches_no_tick(full: bool) -> None:
    schedule = scanned()
    if not full:
        schedule.woken(10.5)
    schedule.done(11.0, 11.1, 0.2, full=full, deadline=None)
    assert schedule.next() == 12.0


def test_a_wake_up_brings_the_scan_forward_and_many_are_one() -> None:
    schedule = scanned()
    schedule.woken(10.3)
    schedule.woken(10.9)
    assert schedule.next() == pytest.approx(10.3 + SETTLE)


def test_a_service_is_scanned_for_a_while_after_the_last_one_that_started() -> None:
    schedule = scanned()
    schedule.started_service(10.3)
    assert schedule.next() == pytest.approx(10.3 + SERVICE_SETTLE)
    schedule.started_service(10.32)
    schedule.woken(10.33)
    schedule.done(10.35, 10.36, 0.0, full=False, deadline=None)
    assert schedule.next() == pytest.approx(10.32 + SERVICE_SETTLE), "another scan was too soon for it"
    schedule.done(10.32 + SERVICE_SETTLE, 10.6, 0.1, full=False, deadline=None)
    assert schedule.next() == pytest.approx(10.32 + SERVICE_SETTLE + 1.0), "and stretches no tick"


def test_a_deadline_brings_the_scan_forward() -> None:
    assert scanned(deadline=10.7).next() == 10.7
    assert scanned(deadline=99.0).next() == 11.0


def test_one_costly_scan_puts_nothing_off() -> None:
    assert scanned(cost=BURST, deadline=10.2).next() == 10.2


def test_beyond_a_burst_everything_but_what_confirms_is_put_off() -> None:
    schedule = scanned(cost=BURST + 0.2)
    schedule.woken(10.2)
    assert schedule.next() == pytest.approx(10.1 + COST_FACTOR * 0.2)
    schedule.deadline = 10.7
    assert schedule.next() == 10.7
    assert scanned(cost=1e6, deadline=10.7).next() == 10.7


def test_what_is_found_has_an_account_of_its_own_and_is_limited_too() -> None:
    schedule = scanned(deadline=10.7)
    schedule.done(10.7, 10.8, FOUND_BURST, full=False, deadline=11.0, found=True)
    assert schedule.debt == 0.0
    schedule.woken(10.9)
    assert schedule.next() == 10.9 + SETTLE
    schedule.deadline = 11.0
    schedule.wake = None
    assert schedule.next() == 11.0
    schedule.found += 0.01
    assert schedule.next() == pytest.approx(min(10.8 + FOUND_FACTOR * 0.01, 10.7 + LONGEST_TICK))
    schedule.done(20.0, 20.1, 1.0, full=False, deadline=None, found=True)
    assert schedule.debt == 1.0, "what is over counts with all else"


def test_what_looks_for_more_of_what_was_found_lately_is_of_that_account() -> None:
    schedule = scanned(cost=50.0)
    schedule.suspicion = 10.4
    assert schedule.next() > 20.0
    schedule.done(10.4, 10.5, 0.1, full=False, deadline=None, found=True)
    schedule.suspicion = 10.6
    assert schedule.next() == 10.6
    before = schedule.debt
    schedule.done(10.6, 10.7, 0.1, full=False, deadline=None)
    assert schedule.debt <= before
    schedule.done(10.7 + FOUND_LATELY, 10.8 + FOUND_LATELY, 0.0, full=False, deadline=None)
    schedule.suspicion = 10.8 + FOUND_LATELY
    assert schedule.next() > 20.8 + FOUND_LATELY


@pytest.mark.parametrize(("full", "burst"), [(0.1, BURST), (0.7, 0.7), (9.0, LONGEST_BURST)])
def test_where_a_full_scan_costs_more_than_a_burst_one_puts_nothing_off(full: float, burst: float) -> None:
    schedule = Schedule(tick=1.0, resync=60.0, started=5.0)
    schedule.done(5.0, 5.5, full, full=True, deadline=None)
    schedule.done(10.0, 10.1, burst, full=False, deadline=None)
    schedule.woken(10.2)
    assert schedule.next() == pytest.approx(10.2 + SETTLE)
    schedule.done(10.3, 10.4, 0.2, full=False, deadline=None)
    schedule.woken(10.5)
    assert schedule.next() == pytest.approx(10.4 + COST_FACTOR * (0.2 - 0.3 / COST_FACTOR))


def test_in_the_long_run_scans_cost_what_time_allows() -> None:
    schedule, now, spent = scanned(), 10.1, 0.0
    while now < 1000.0:
        schedule.woken(now)
        now = max(now, schedule.next()) + 0.1
        schedule.done(now - 0.1, now, 0.1, full=False, deadline=None)
        spent += 0.1
    assert spent == pytest.approx(BURST + 990 / COST_FACTOR, rel=0.05)


def test_services_leave_a_part_of_what_may_be_spent_at_once() -> None:
    """Leaks on a host that starts services all the time are found as soon as any."""
    schedule = scanned(cost=SERVICE_BURST + 0.01)
    schedule.started_service(10.2)
    assert schedule.next() == pytest.approx(10.1 + COST_FACTOR * 0.01)
    schedule.woken(10.2)
    assert schedule.next() == pytest.approx(10.2 + SETTLE)


def test_no_scan_puts_the_next_one_off_for_ever() -> None:
    assert scanned(cost=1e6).next() == pytest.approx(10.1 + LONGEST_PAUSE)


def test_a_scan_takes_all_wake_ups_with_it() -> None:
    schedule = scanned()
    schedule.woken(10.2)
    schedule.done(10.3, 10.4, 0.0, full=False, deadline=None)
    assert schedule.wake is None
    assert schedule.next() == 11.3


def test_full_scans_come_by_the_resync_interval() -> None:
    schedule = Schedule(tick=1.0, resync=60.0)
    assert schedule.full_is_due(0.0)
    schedule.done(0.0, 0.1, 0.0, full=True, deadline=None)
    schedule.done(30.0, 30.1, 0.0, full=False, deadline=None)
    assert not schedule.full_is_due(59.9)
    assert schedule.full_is_due(60.0)


def test_a_client_brings_a_scan_forward_and_many_are_one() -> None:
    schedule = scanned()
    assert [schedule.asked(10.3), schedule.asked(10.4)] == [10.3, 10.3]
    assert schedule.next() == 10.3
    schedule.done(10.3, 10.4, 0.0, full=False, deadline=None)
    assert schedule.next() == 11.3


def test_clients_have_a_part_of_the_burst_and_put_off_no_scan_because_of_mounts() -> None:
    schedule = scanned(cost=0.25)
    assert schedule.asked(10.3) == pytest.approx(10.1 + COST_FACTOR * (0.25 - CLIENT_BURST))
    assert schedule.next() == 10.0 + LONGEST_TICK
    schedule.woken(10.5)
    assert schedule.next() == 10.5 + SETTLE
    schedule.done(10.5, 10.6, 0.0, full=False, deadline=None)
    schedule.asked(10.7)
    schedule.withdraw()
    assert schedule.next() == 10.5 + LONGEST_TICK


def test_what_root_asks_for_is_paid_from_an_account_of_its_own_until_that_is_used_up() -> None:
    schedule = scanned(cost=10.0)
    assert schedule.asked(10.3) > 20
    assert schedule.asked(10.3, root=True) == 10.3
    assert schedule.next() <= 10.3
    debt = schedule.debt
    schedule.done(10.3, 10.4, ROOT_BURST + 0.1, full=False, deadline=None)
    assert schedule.debt < debt
    assert schedule.asked(10.5, root=True) > 20, "somebody polls it"
    schedule.withdraw()
    later = 10.4 + 0.2 * FOUND_FACTOR
    assert schedule.asked(later, root=True) == later


def test_root_that_asks_no_more_brings_no_scan_forward() -> None:
    schedule = scanned(cost=10.0)
    schedule.asked(10.3, root=True)
    schedule.withdraw()
    assert schedule.next() > 20
    schedule.asked(10.4, root=True)
    schedule.done(10.4, 10.5, 0.0, full=False, deadline=None)
    assert schedule.next() > 20


def test_a_client_stretches_no_tick() -> None:
    schedule = scanned()
    schedule.asked(10.5)
    schedule.done(10.5, 10.6, 0.2, full=False, deadline=None)
    assert schedule.next() == 11.5


def test_what_root_needs_comes_whatever_it_costs() -> None:
    schedule = scanned(cost=10.0)
    assert schedule.next() > 20
    schedule.demand()
    assert schedule.next() <= 10.1
    schedule.done(10.2, 10.3, 0.0, full=False, deadline=None)
    assert schedule.next() > 20


def test_a_look_at_the_homes_waits_for_no_scan_that_was_dear() -> None:
    schedule = scanned(cost=100.0)
    schedule.mounts_changed(10.5)
    schedule.mounts_changed(10.6)
    assert schedule.next() == 10.1 + LONGEST_PAUSE
    assert schedule.next_peek() == 10.5 + SETTLE


def test_looks_at_the_homes_cost_no_more_than_their_share_and_count_for_scans() -> None:
    schedule = scanned()
    now, spent = 20.0, 0.0
    while now < 320.0:
        schedule.mounts_changed(now)
        due = schedule.next_peek()
        assert due is not None
        now = max(now, due) + 0.004
        schedule.peek_done(now, 0.004)
        spent += 0.004
    assert spent == pytest.approx(PEEK_BURST + 300.0 / PEEK_FACTOR, rel=0.02)
    assert schedule.debt >= spent


def test_scans_have_a_share_that_looks_at_the_homes_leave_them() -> None:
    """Homes change all the time, and so does what is to be scanned: nothing waits for ever."""
    schedule = scanned()
    now, scans, peeks = 20.0, 0.0, 0.0
    while now < 620.0:
        schedule.mounts_changed(now)
        schedule.woken(now)
        peek = schedule.next_peek()
        assert peek is not None
        if schedule.next() <= peek:
            now = max(now, schedule.next()) + 0.01
            schedule.done(now - 0.01, now, 0.01, full=False, deadline=None)
            scans += 0.01
        else:
            now = max(now, peek) + 0.004
            schedule.peek_done(now, 0.004)
            peeks += 0.004
    assert scans + peeks == pytest.approx(600.0 / COST_FACTOR, rel=0.1)
    assert scans >= 600.0 * (1 / COST_FACTOR - 1 / PEEK_FACTOR) * 0.9


def test_what_may_be_left_behind_is_looked_for_though_other_scans_are_put_off() -> None:
    schedule = scanned(cost=SUSPICION_BURST)
    assert schedule.next() > 20.0
    schedule.suspicion = 10.4
    assert schedule.next() == 10.4
    schedule.done(10.4, 10.5, 0.01, full=False, deadline=None)
    assert schedule.suspicion is None


def test_what_is_to_be_asked_again_is_no_scan() -> None:
    schedule = scanned()
    assert schedule.next_peek() is None
    schedule.ask = 10.3
    assert (schedule.next_peek(), schedule.next()) == (10.3, 11.0)
    schedule.peek_done(10.31, 0.0)
    assert schedule.next_peek() is None


def test_what_presses_may_cost_what_is_left_and_all_else_a_little() -> None:
    schedule = scanned()
    assert schedule.allowance(10.2, presses=True) == pytest.approx(schedule.burst)
    assert schedule.allowance(10.2, presses=False) == IDLE_ALLOWANCE
    assert scanned(cost=5.0).allowance(10.2, presses=True) == 0.0
    schedule.done(10.2, 10.3, 5.0, full=False, deadline=None, found=True)
    assert schedule.allowance(10.4, presses=False) == IDLE_ALLOWANCE, "what was found puts off no reading"
    assert schedule.owed(10.4).debt < schedule.burst, "nor the first scan after a restart"
    schedule.done(10.4, 10.5, FOUND_BURST, full=False, deadline=None, found=True)
    assert schedule.owed(10.5).debt == pytest.approx(5.0, abs=0.1), "but what is over its burst does"
