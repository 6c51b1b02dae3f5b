"""When the service tries nothing more by itself."""

from dataclasses import replace

from mountwarden.config.schema import Config
from mountwarden.ledger import breaker, stored, update
from mountwarden.ledger.update import Attempt, Ledger, Now
from mountwarden.model import Action, EventKind, Finding

from tests.support.findings import CONFIG, ROOT, changed, finding


def confirmed(*findings: Finding, ledger: Ledger | None = None, at: float = 0.0) -> Ledger:
    ledger = ledger or Ledger("boot")
    for moment in (at, at + 1):
        ledger, _ = update.update(ledger, findings, Now(moment, moment), CONFIG)
    return replace(ledger, pending=())


def objection(
    ledger: Ledger, one: Finding, at: float = 2.0, action: Action = Action.DETACH, config: Config = CONFIG
) -> str | None:
    return breaker.objection(ledger, one, action, Now(at, at), config)


def attempt(ledger: Ledger, one: Finding, how: Attempt, action: Action = Action.DETACH) -> Ledger:
    ledger = breaker.begin(ledger, one, Now(2, 2))
    return breaker.finish(ledger, one, action, how, Now(2, 2), "text", {"SAW": "x"})


def test_only_what_is_confirmed() -> None:
    one = finding(1)
    state, _ = update.update(Ledger("boot"), [one], Now(0, 0), CONFIG)
    assert objection(state, one) == "not confirmed"
    assert objection(confirmed(one), one) is None
    assert objection(Ledger("boot"), one) == "not confirmed"


def declined(ledger: Ledger, one: Finding, at: float, code: str = "in-use", action: Action = Action.DETACH) -> Ledger:
    assert objection(ledger, one, at, action) is None
    ledger = breaker.uncount(breaker.begin(ledger, one, Now(at, at)), 1)
    return breaker.finish(ledger, one, action, Attempt.DECLINED, Now(at, at), f"declined: {code}", {"CODE": code})


def kept_back(one: Finding, at: float, *unread: int, ledger: Ledger | None = None) -> Ledger:
    ledger = breaker.begin(ledger or confirmed(one), one, Now(at, at))
    return breaker.finish(
        ledger, one, Action.DETACH, Attempt.DECLINED, Now(at, at), "declined", {"CODE": "unread"}, unread
    )


def test_what_unread_namespaces_kept_back_is_due_when_none_of_them_is_left() -> None:
    one, two = finding(1), finding(2, mountpoint=b"/other")
    state = kept_back(one, 2.0, 71, 72, ledger=confirmed(one, two))
    state = declined(state, two, 2.0)
    for unread in ([71, 72], [72, 73], [71]):
        assert objection(breaker.freed(state, unread, Now(2.5, 2.5)), one, 2.5) == "it was declined"
    state = breaker.freed(state, [73], Now(2.5, 2.5))
    assert objection(state, one, 2.5) is None
    assert objection(state, two, 2.5) == "it was declined: in-use", "what it waits for is something else"
    assert stored.load(stored.dump(state), "boot") == (state, None)
    again = kept_back(one, 3.0, 73, ledger=state)
    assert objection(breaker.freed(again, [73], Now(3.5, 3.5)), one, 3.5) == "it was declined", "its pause grows on"
    assert again.entries[one.id].declines[0].pause == 2 * breaker.PAUSE


def test_a_decline_that_an_older_version_saved_is_read() -> None:
    one = finding(1)
    state = declined(confirmed(one), one, 2.0)
    text = stored.dump(state)
    older = text.replace(b',"unread":[],"freed":false', b"")
    assert older != text
    assert stored.load(older, "boot") == (state, None)


def test_one_attempt_if_it_was_done_or_failed() -> None:
    one = finding(1)
    for how in (Attempt.DONE, Attempt.FAILED):
        assert "tried once" in (objection(attempt(confirmed(one), one, how), one) or "")
    assert "did not end" in (objection(breaker.begin(confirmed(one), one, Now(2, 2)), one) or "")


def test_what_is_declined_is_tried_again_after_a_pause_that_doubles_up_to_ten_minutes() -> None:
    one = finding(1)
    state, at, pauses = confirmed(one), 2.0, []
    for _ in range(12):
        state = declined(state, one, at)
        (last,) = state.entries[one.id].declines
        pauses.append(last.again - at)
        assert objection(state, one, last.again - 0.01) == "it was declined: in-use"
        assert update.next_deadline(state, at) == last.again
        at = last.again
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    assert update.next_deadline(state, at) is None, "what is overdue waits for something else"


def test_each_reason_of_a_decline_is_reported_once_and_it_counts_neither_as_action_nor_as_failure() -> None:
    one = finding(1)
    state, at = confirmed(one), 2.0
    for code in ("in-use", "in-use", "bound", "in-use", "gone", "bound"):
        state = declined(state, one, at, code)
        at = state.entries[one.id].declines[0].again
    assert [(event.kind, event.text) for event in state.pending] == [
        (EventKind.DECLINED, "declined: in-use"),
        (EventKind.DECLINED, "declined: bound"),
    ]
    assert (state.actions, state.roots) == ((), {})
    assert one.id not in breaker.attempted(state)


def test_another_action_is_not_kept_back_by_one_that_was_declined() -> None:
    one = finding(1)
    state = declined(declined(confirmed(one), one, 2.0), one, 2.0, action=Action.UNMOUNT)
    assert [last.action for last in state.entries[one.id].declines] == [Action.DETACH, Action.UNMOUNT]


def test_declines_last_over_a_restart_and_end_with_a_reload_or_another_leak() -> None:
    one = finding(1)
    state, why = stored.load(stored.dump(declined(confirmed(one), one, 2.0)), "boot")
    assert why is None
    assert objection(state, one, 2.5) == "it was declined: in-use"
    assert objection(breaker.reset(state), one, 2.5) is None
    again, _ = update.update(state, [changed(one, mount_id=8)], Now(2.4, 2.4), CONFIG)
    assert objection(again, one, 2.5) is None, "another mount on the same spot is another leak"


def test_what_was_begun_and_not_made_is_declined_as_before() -> None:
    one = finding(1)
    state = declined(confirmed(one), one, 2.0)
    begun = breaker.begin(state, one, Now(4, 4))
    assert breaker.undo(breaker.uncount(begun, 1), [one]) == state


def test_an_attempt_is_reported_with_what_it_saw() -> None:
    one = finding(1)
    kinds = {Attempt.DONE: "acted", Attempt.DECLINED: "declined", Attempt.FAILED: "failed"}
    for how, kind in kinds.items():
        (event,) = attempt(confirmed(one), one, how).pending
        assert (event.kind, event.text) == (kind, "text")
        assert event.data == (("ACTION", "detach"), ("SAW", "x"))


def test_three_failures_in_a_row_leave_the_root_alone_and_that_is_reported_once() -> None:
    ones = [finding(number) for number in range(5)]
    state = confirmed(*ones)
    for one in ones[:3]:
        assert objection(state, one) is None
        state = attempt(state, one, Attempt.FAILED)
    assert "left alone" in (objection(state, ones[3]) or "")
    state = attempt(state, ones[4], Attempt.FAILED)
    assert [event.kind for event in state.pending].count(EventKind.LEFT_ALONE) == 1


def test_another_root_is_not_left_alone() -> None:
    ones = [finding(number) for number in range(3)]
    other = finding(9, root=replace(ROOT, path=b"/srv"))
    state = confirmed(*ones, other)
    for one in ones:
        state = attempt(state, one, Attempt.FAILED)
    assert objection(state, other) is None


def test_a_success_ends_the_row_and_what_was_declined_is_no_failure() -> None:
    ones = [finding(number) for number in range(9)]
    state = confirmed(*ones)
    for one, how in zip(ones, ["failed", "failed", "done", "failed", "failed", "declined", "declined"], strict=False):
        state = attempt(state, one, Attempt(how))
    assert objection(state, ones[8]) is None


def test_actions_are_limited_by_the_minute() -> None:
    ones = [finding(number) for number in range(4)]
    state, config = confirmed(*ones), Config(acts_per_minute=2)
    for one in ones[:2]:
        state = attempt(state, one, Attempt.DONE)
    assert "2 incidents" in (objection(state, ones[2], at=61.9, config=config) or "")
    assert objection(state, ones[2], at=62.0, config=config) is None


def test_an_incident_counts_once_and_not_at_all_where_it_came_to_nothing() -> None:
    ones, config = [finding(number) for number in range(4)], Config(acts_per_minute=1)
    state = breaker.begin(confirmed(*ones), ones[0], Now(2, 2))
    assert breaker.objection(state, ones[1], Action.DETACH, Now(2, 2), config, counted=True) is None
    state = breaker.begin(state, ones[1], Now(2.1, 2.1), counted=True)
    assert state.actions == (2,)
    assert objection(state, ones[2], config=config) == "1 incidents were acted on within the last minute"
    assert objection(breaker.uncount(state, 1), ones[2], config=config) is None


def test_a_root_is_shared_twice_and_then_left_to_its_owner() -> None:
    one = finding(1)
    state = confirmed(one)
    for _ in range(2):
        assert objection(state, one, action=Action.SHARE) is None
        state = attempt(state, one, Attempt.DONE, Action.SHARE)
        state, _ = update.update(state, [], Now(5, 5), CONFIG)
        state = confirmed(one, ledger=state)
    assert "made private again" in (objection(state, one, action=Action.SHARE) or "")
    assert objection(state, one) is None
    assert breaker.made_private_again(state) == {one.root.path}
    for at in (6, 7):
        state = breaker.stop_sharing(state, one, Now(at, at), "a setting ends that")
    assert [event.kind for event in state.pending] == [EventKind.LEFT_ALONE]
    assert state.pending[0].text.endswith("private again each time; a setting ends that")


def test_an_action_that_a_kill_interrupted_is_reported_and_not_tried_again() -> None:
    one = finding(1)
    state = breaker.interrupted(breaker.begin(confirmed(one), one, Now(2, 2)), Now(3, 3))
    assert [event.kind for event in state.pending] == [EventKind.FAILED]
    assert "failed" in (objection(state, one) or "")
    assert breaker.interrupted(state, Now(4, 4)) == state


def test_of_a_batch_that_a_kill_interrupted_each_one_is_reported_and_none_tried_again() -> None:
    ones = [finding(number) for number in range(250)]
    state = confirmed(*ones, finding(250))
    for number, one in enumerate(ones):
        state = breaker.begin(state, one, Now(2, 2), counted=number > 0)
    loaded, why = stored.load(stored.dump(state), "boot")
    state = breaker.interrupted(loaded, Now(3, 3))
    assert (why, len(state.actions)) == (None, 1)
    assert [event.subject.id for event in state.pending if event.subject] == [one.id for one in ones]
    assert {event.kind for event in state.pending} == {EventKind.FAILED}
    assert {objection(state, one) for one in ones} == {"it was tried once, and failed"}
    assert objection(state, finding(250), at=3.0) is None


def test_a_reload_resets_the_attempts_but_never_repeats_what_was_done() -> None:
    ones = [finding(number) for number in range(4)]
    state = confirmed(*ones)
    for one in ones[:3]:
        state = attempt(state, one, Attempt.FAILED)
    state = breaker.reset(state)
    assert [objection(state, one) for one in ones] == [None] * 4
    state = breaker.reset(attempt(state, ones[0], Attempt.DONE))
    assert "was done" in (objection(state, ones[0]) or "")
