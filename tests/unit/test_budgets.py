"""What the reading of namespaces may take, by whose they are, on a clock of the test's own."""

import contextlib
from dataclasses import replace

import pytest
from mountwarden.model import HOST, UNKNOWN, Owner
from mountwarden.observe import budgets
from mountwarden.observe.budgets import (
    BURST,
    COST_FACTOR,
    FREE,
    HOSTS_OWN,
    KEPT,
    LATER,
    OTHERS,
    OVER,
    Budgets,
    in_turn,
    limits_of,
)

ALICE, BOB, POD = Owner(1000), Owner(1001), Owner(0, "c" * 64)
ALL = (HOST, ALICE, BOB, POD, UNKNOWN)


class Clock:
    """The time, and what the processor did."""

    now = cpu = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(budgets, "time", made)
    monkeypatch.setattr(budgets, "_cpu", lambda: made.cpu)
    return made


def cost(made: Budgets, clock: Clock, owner: Owner, seconds: float) -> None:
    with made.charged(owner):
        clock.cpu += seconds


def refused(made: Budgets) -> dict[Owner, str | None]:
    return {owner: why for owner in ALL if (why := made.refusal(owner))}


def begun(**more: float) -> Budgets:
    made = Budgets(deadline=None, **more)
    made.begin(ALL)
    return made


def test_the_hosts_own_may_be_larger_than_what_others_have() -> None:
    assert limits_of(HOST) == HOSTS_OWN
    assert [limits_of(owner) for owner in ALL[1:]] == [OTHERS] * 4
    assert OTHERS.size < HOSTS_OWN.size
    assert OTHERS.kept < HOSTS_OWN.kept
    assert OTHERS.seconds < HOSTS_OWN.seconds


@pytest.mark.parametrize("owner", ALL[1:], ids=str)
def test_who_costs_more_than_a_burst_is_refused_and_the_others_are_not(clock: Clock, owner: Owner) -> None:
    made = begun()
    cost(made, clock, owner, FREE + BURST - 0.001)
    assert refused(made) == {}
    cost(made, clock, owner, 0.002)
    assert refused(made) == {owner: OVER}


def test_the_host_is_never_over(clock: Clock) -> None:
    made = begun()
    cost(made, clock, HOST, 1000.0)
    assert (refused(made), made.excess) == ({}, 0.0)


def test_two_containers_of_root_have_an_account_each(clock: Clock) -> None:
    made = begun()
    cost(made, clock, POD, FREE + BURST + 0.1)
    assert made.refusal(POD) == OVER
    assert made.refusal(Owner(0, "d" * 64)) is None


def test_a_little_of_each_scan_is_free_for_all_together(clock: Clock) -> None:
    made = begun(burst=0.0)
    cost(made, clock, ALICE, FREE * 0.75)
    assert (refused(made), made.excess) == ({}, 0.0)
    cost(made, clock, BOB, FREE * 0.75)
    assert refused(made) == {BOB: OVER}
    assert made.excess == pytest.approx(FREE * 0.5)
    made.begin(ALL)
    cost(made, clock, ALICE, FREE * 0.9)
    assert ALICE not in refused(made)
    assert made.excess == pytest.approx(FREE * 0.5)


def test_what_was_done_in_vain_is_paid_for_too(clock: Clock) -> None:
    made = begun()
    with contextlib.suppress(OSError), made.charged(ALICE):
        clock.cpu += BURST + 1
        raise OSError
    assert refused(made) == {ALICE: OVER}


def test_a_clock_that_goes_back_gives_nothing(clock: Clock) -> None:
    """The child's time is missing where it was ended meanwhile."""
    made = begun(burst=0.0)
    cost(made, clock, ALICE, FREE + 0.1)
    cost(made, clock, ALICE, -50.0)
    cost(made, clock, BOB, 0.1)
    assert refused(made) == {ALICE: OVER, BOB: OVER}
    assert made.excess == pytest.approx(0.2)


def test_time_pays(clock: Clock) -> None:
    made = begun()
    cost(made, clock, ALICE, FREE + BURST + 1.0)
    clock.now += COST_FACTOR * 0.9
    for _ in range(2):
        made.begin(ALL)
        assert refused(made) == {ALICE: OVER}
    clock.now += COST_FACTOR * 0.11
    made.begin(ALL)
    assert refused(made) == {}


def test_what_time_pays_is_shared_by_all_who_owe(clock: Clock) -> None:
    """However many accounts somebody has: all together cost no more than one could."""
    made = begun()
    for owner in (ALICE, BOB):
        cost(made, clock, owner, BURST + 1.0 + (FREE if owner == ALICE else 0.0))
    clock.now += COST_FACTOR * 1.5
    made.begin(ALL)
    assert refused(made) == {ALICE: OVER, BOB: OVER}
    clock.now += COST_FACTOR * 0.51
    made.begin(ALL)
    assert refused(made) == {}


def test_time_that_is_not_owed_for_is_not_saved_up(clock: Clock) -> None:
    made = begun()
    cost(made, clock, ALICE, FREE + 0.1)
    clock.now += 1e6
    made.begin(ALL)
    cost(made, clock, ALICE, FREE + BURST + 0.1)
    assert refused(made) == {ALICE: OVER}


def test_who_ends_all_he_has_and_comes_back_owes_it_still(clock: Clock) -> None:
    made = begun()
    cost(made, clock, ALICE, FREE + BURST + 10.0)
    made.begin([HOST])
    made.begin(ALL)
    assert refused(made) == {ALICE: OVER}


def test_an_account_without_debt_or_namespaces_is_closed(clock: Clock) -> None:
    made = begun()
    cost(made, clock, ALICE, FREE + 0.1)
    made.keeps(BOB, 7, 100)
    made.begin([HOST])
    assert made._accounts.keys() == {ALICE}
    clock.now += COST_FACTOR
    made.begin([HOST])
    assert made._accounts == {}


def test_after_the_deadline_nobodys_is_read_until_the_next_scan(clock: Clock) -> None:
    made = Budgets(deadline=2.0)
    made.begin(ALL)
    clock.now += 2.0
    assert refused(made) == {}
    clock.now += 0.001
    assert refused(made) == dict.fromkeys(ALL, LATER)
    made.begin(ALL)
    assert refused(made) == {}


def test_what_is_kept_is_limited_by_namespace_and_by_owner(clock: Clock) -> None:
    made = begun()
    assert made.limits(ALICE, 1) == OTHERS
    each = OTHERS.kept
    for inode in range(1, KEPT // each):
        made.keeps(ALICE, inode, each)
    made.keeps(ALICE, 90, each // 2)
    assert made.limits(ALICE, 91) == replace(OTHERS, kept=each // 2)
    made.keeps(ALICE, 91, each)
    assert made.limits(ALICE, 92).kept == 0
    assert made.limits(ALICE, 1).kept == each // 2, "what it keeps of this one now is not counted"
    assert made.limits(BOB, 93) == OTHERS
    made.forget({1: ALICE})
    assert made.limits(ALICE, 92) == OTHERS


def test_what_another_owner_keeps_by_an_inode_of_before_is_not_counted_here(clock: Clock) -> None:
    made = begun()
    for inode in range(KEPT // OTHERS.kept):
        made.keeps(ALICE, inode, OTHERS.kept)
    assert made.limits(ALICE, 99).kept == 0
    made.forget(dict.fromkeys(range(99), BOB))
    assert made.limits(ALICE, 99) == OTHERS


def test_what_is_kept_of_the_host_has_no_sum(clock: Clock) -> None:
    made = begun()
    for inode in range(100):
        made.keeps(HOST, inode, HOSTS_OWN.kept)
    assert made.limits(HOST, 200) == HOSTS_OWN


def test_each_owner_has_a_turn_after_the_other() -> None:
    due = {1: ALICE, 2: ALICE, 3: ALICE, 4: BOB, 5: HOST, 6: HOST}
    assert list(in_turn(due)) == [1, 4, 5, 2, 6, 3]
    assert list(in_turn({})) == []
