"""What the ledger reports, and when: each rule as a short history of scans."""

from dataclasses import replace

import pytest
from mountwarden.config.schema import Config, Confirm, Silence
from mountwarden.ledger import update
from mountwarden.ledger.update import Ledger, Now
from mountwarden.model import Cause, EventKind, Gap, Holder, Kind, MountClass, Severity

from tests.support.findings import CONFIG, ROOT, History, changed, finding, many, spread

A, B = finding(1), finding(2)
FOUND_A, CLEARED_A = ("found", A.id), ("cleared", A.id)


def test_reported_once_after_the_confirm_time_and_once_when_gone() -> None:
    history = History()
    assert history.scan(0, A) == []
    assert history.scan(0.99, A) == []
    assert history.scan(1.0, A) == [FOUND_A]
    assert history.scan(2, A) == []
    assert history.scan(3) == [CLEARED_A]
    assert history.scan(4) == []
    assert history.ledger.entries == {}


def test_a_flicker_is_never_reported() -> None:
    history = History()
    for at in range(20):
        assert history.scan(at * 0.7, *([A] if at % 2 else [])) == []


def test_another_mount_on_the_spot_starts_anew() -> None:
    history = History()
    history.scan(0, A)
    assert history.scan(0.9, changed(A, mount_id=8)) == []
    assert history.scan(1.5, changed(A, mount_id=8)) == []
    assert history.scan(1.9, changed(A, mount_id=8)) == [FOUND_A]


def test_the_confirm_time_goes_on_while_one_of_several_mounts_is_left() -> None:
    history = History()
    history.scan(0, spread(A, 42, 43, 44))
    assert history.scan(0.5, spread(A, 43)) == []
    assert history.scan(0.9, spread(A, 43, 45)) == []
    assert history.scan(1.0, spread(A, 45)) == [FOUND_A]


def test_the_same_mount_id_in_another_namespace_is_another_mount() -> None:
    history = History()
    history.scan(0, spread(A, 42))
    assert history.scan(0.9, spread(A, 43)) == []
    assert history.scan(1.0, spread(A, 43)) == []
    assert history.scan(1.9, spread(A, 43)) == [FOUND_A]


def test_a_finding_lasts_while_any_copy_remains_and_is_cleared_once() -> None:
    history = History()
    history.scan(0, spread(A, 42, 43, 44))
    assert history.scan(1, spread(A, 42, 43, 44)) == [FOUND_A]
    assert history.scan(2, spread(A, 43, 44)) == []
    assert history.scan(3, spread(A, 44)) == []
    assert history.scan(4, spread(A, 45)) == [], "confirmed, it is not told again"
    assert history.scan(5) == [CLEARED_A]
    assert history.scan(6) == []


def test_the_confirm_time_counts_from_the_end_of_the_first_scan() -> None:
    history = History()
    history.scan(0, A, took=0.5)
    assert history.scan(1.2, A) == []
    assert history.scan(1.5, A) == [FOUND_A]


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"mount_class": MountClass.VOLUME}, 5),
        ({"mount_class": MountClass.NETNS}, 90),
        ({"kind": Kind.PINNED}, 30),
        ({"kind": Kind.PRIVATE_ROOT}, 0.5),
    ],
)
def test_confirm_times_by_class_and_kind(changes: dict[str, object], seconds: float) -> None:
    history, one = History(), finding(1, **changes)
    history.scan(0, one)
    assert history.scan(seconds - 0.01, one) == []
    assert history.scan(seconds, one) == [FOUND_A]


def test_a_shorter_confirm_time_of_a_new_configuration_counts_at_once() -> None:
    history = History()
    history.scan(0, A)
    history.config = Config(confirm=Confirm(layer=0.2))
    assert history.scan(0.3, A) == [FOUND_A]


def test_a_finding_that_comes_back_is_reported_again_with_another_key() -> None:
    history = History()
    for at in (0, 1):
        history.scan(at, A)
    history.scan(2)
    for at in (3, 4):
        history.scan(at, A)
    assert [event.kind for event in history.reported] == [EventKind.FOUND, EventKind.CLEARED, EventKind.FOUND]
    assert len({event.key for event in history.reported}) == 3


def test_info_is_never_reported_until_it_gets_worse() -> None:
    history, mild = History(), replace(A, severity=Severity.INFO)
    for at in (0, 1, 2):
        assert history.scan(at, mild) == []
    assert history.scan(3, A) == [FOUND_A]
    assert history.scan(4, mild) == []
    assert history.scan(5) == [CLEARED_A]


def test_a_gap_of_its_namespace_holds_a_finding() -> None:
    history = History()
    history.scan(0, A)
    history.scan(1, A)
    assert history.scan(2, gaps=[Gap("namespace", "EACCES", 42)]) == []
    assert history.scan(3, gaps=[Gap("namespace", "EACCES", 43)]) == [CLEARED_A]


def test_a_gap_of_one_of_its_namespaces_holds_a_finding() -> None:
    history = History()
    for at in (0, 1):
        history.scan(at, spread(A, 42, 43, 44))
    assert history.scan(2, spread(A, 42), gaps=[Gap("namespace", "EACCES", 43)]) == []
    assert history.scan(3, gaps=[Gap("namespace", "EACCES", 43)]) == [], "43 may have it still"
    assert history.scan(4, gaps=[Gap("namespace", "EACCES", 44)]) == [CLEARED_A], "44 had none when it was last seen"


def test_a_gap_anywhere_holds_a_finding_of_which_not_all_namespaces_are_named() -> None:
    history = History()
    for at in (0, 1):
        history.scan(at, spread(A, 42, 43, spaces=3))
    assert history.scan(2, gaps=[Gap("namespace", "EACCES", 99)]) == []
    assert history.scan(3) == [CLEARED_A]


def test_an_unjudged_root_or_an_incomplete_scan_holds_a_finding() -> None:
    history = History()
    history.scan(0, A)
    history.scan(1, A)
    assert history.scan(2, unjudged=frozenset({ROOT.path})) == []
    assert history.scan(3, complete=False) == []
    assert history.scan(4, unjudged=frozenset({b"/other"})) == [CLEARED_A]


def test_a_gap_ends_the_wait_of_what_is_not_confirmed() -> None:
    history = History()
    history.scan(0, A)
    history.scan(0.5, gaps=[Gap("namespace", "EACCES", 42)])
    assert history.scan(1.0, A) == []
    assert history.scan(2.0, A) == [FOUND_A]


@pytest.mark.parametrize(
    ("silence", "quiet"),
    [
        (Silence("why", id=A.id), True),
        (Silence("why", id=B.id), False),
        (Silence("why", root=ROOT.path), True),
        (Silence("why", root=b"/var/lib"), False),
        (Silence("why", unit="leaky.service"), True),
        (Silence("why", unit="other.service"), False),
        (Silence("why", kind=Kind.LEAKED, unit="leaky.service"), True),
        (Silence("why", kind=Kind.PINNED, unit="leaky.service"), False),
        (Silence("why"), False),
    ],
)
def test_silences(silence: Silence, quiet: bool) -> None:
    history = History(Config(silences=(silence,)))
    one = changed(A, holders=(Holder(1, "sleep", "leaky.service"),))
    history.scan(0, one)
    assert history.scan(1, one) == ([] if quiet else [FOUND_A])
    assert update.annotate(history.ledger, [one], Now(1e9, 1), history.config)[0].silenced is quiet


@pytest.mark.parametrize(
    ("units", "spaces", "quiet"),
    [
        (("web.service", "web.service"), 2, True),
        (("web.service", "db.service"), 2, False),
        (("web.service", None), 2, False),
        (("web.service", "web.service"), 3, False),
    ],
)
def test_a_silence_by_unit_covers_what_is_that_unit_s_alone(
    units: tuple[str | None, ...], spaces: int, quiet: bool
) -> None:
    both = spread(A, 42, 43)
    held = [(Holder(at, "x", unit),) if unit else () for at, unit in enumerate(units)]
    copies = [replace(copy, holders=some) for copy, some in zip(both.copies, held, strict=True)]
    one = replace(both, copies=tuple(copies), spaces=spaces)
    assert update.silenced(one, [Silence("why", unit="web.service")], 0) is quiet


def test_an_event_names_the_units_of_all_holders_the_first_one_first_and_twenty_at_most() -> None:
    held = [
        (Holder(1, "z", "z.service"), Holder(2, "y", "session.scope")),
        *((Holder(9, "a", f"{n}.service"),) for n in range(30)),
    ]
    wide = spread(A, *range(20), spaces=25)
    copies = [replace(copy, holders=some) for copy, some in zip(wide.copies, held, strict=False)]
    subject = update.subject_of(replace(wide, copies=tuple(copies)), 0.0)
    assert (subject.unit, subject.units[:3], len(subject.units)) == (
        "z.service",
        ("z.service", "session.scope", "0.service"),
        20,
    )
    assert (subject.spaces, subject.others) == (25, 24)
    assert subject.namespaces == tuple(range(20))


def test_holders_of_one_unit_are_one() -> None:
    unit = (Holder(1, "x", "web.service"),)
    assert update.subject_of(spread(changed(A, holders=unit), 42, 43), 0.0).others == 0
    assert update.subject_of(spread(A, 42, 43), 0.0).others == 1, "two namespaces that nobody is seen in"


def test_a_silence_ends_at_its_time_and_then_the_finding_is_reported() -> None:
    history = History(Config(silences=(Silence("why", until=1e9 + 5, id=A.id),)))
    for at in (0, 1, 4.9):
        assert history.scan(at, A) == []
    assert history.scan(5, A) == [FOUND_A]


def test_what_was_reported_before_its_silence_is_cleared_all_the_same() -> None:
    history = History()
    history.scan(0, A)
    history.scan(1, A)
    history.config = Config(silences=(Silence("why", id=A.id),))
    assert history.scan(2, A) == []
    assert history.scan(3) == [CLEARED_A]


def test_a_silenced_finding_ends_in_silence() -> None:
    history = History(Config(silences=(Silence("why", id=A.id),)))
    history.scan(0, A)
    history.scan(1, A)
    assert history.scan(2) == []


def test_due_names_what_update_is_about_to_report() -> None:
    history = History()
    history.scan(0, A)
    now = Now(1e9 + 1, 1)
    assert update.due(history.ledger, [A, B], now, CONFIG) == {A.id}
    assert history.scan(1, A, B) == [FOUND_A]
    assert update.due(history.ledger, [A, B], now, CONFIG) == frozenset()


def test_the_next_deadline_is_the_first_unconfirmed() -> None:
    history, slow = History(), finding(3, mount_class=MountClass.VOLUME)
    assert update.next_deadline(history.ledger) is None
    history.scan(0, A, slow)
    assert update.next_deadline(history.ledger) == 1
    history.scan(1, A, slow)
    assert update.next_deadline(history.ledger) == 5


def test_annotate_says_since_and_keeps_the_cause() -> None:
    history, cause = History(), Cause("code", "text")
    history.scan(10, A)
    history.scan(11, replace(A, cause=cause))
    history.scan(12, A)
    known, unknown = update.annotate(history.ledger, [A, B], Now(1e9 + 12, 12), CONFIG)
    assert (known.confirmed, known.since, known.cause) == (True, 1e9 + 10, cause)
    assert (unknown.confirmed, unknown.since) == (False, None)


def test_annotate_says_when_it_will_be_confirmed() -> None:
    history, netns = History(), finding(3, mount_class=MountClass.NETNS)
    history.scan(10, netns, took=0.5)
    for at in (11, 12.25):
        history.scan(at, netns)
        (waits,) = update.annotate(history.ledger, [netns], Now(1e9 + at, at), CONFIG)
        assert waits.due == 1e9 + 100, "the same at each scan"
    history.scan(101, netns)
    (confirmed,) = update.annotate(history.ledger, [netns], Now(1e9 + 101, 101), CONFIG)
    assert (confirmed.confirmed, confirmed.due) == (True, None)


def test_the_wall_clock_measures_nothing() -> None:
    state = Ledger("boot")
    for wall in (1e9, 2e9, 0.0):
        state, events = update.update(state, [A], Now(wall, 0.0), CONFIG)
        assert events == ()


def test_pending_until_reported() -> None:
    history = History()
    history.scan(0, A)
    history.scan(1, A)
    (event,) = history.ledger.pending
    assert update.reported(history.ledger, ["other"]).pending == (event,)
    assert update.reported(history.ledger, [event.key]).pending == ()


def test_a_lasting_gap_is_reported_once_with_its_count() -> None:
    history, gap = History(), [Gap("namespace", "EACCES", 5), Gap("namespace", "EACCES", 6)]
    assert history.scan(0, gaps=gap) == []
    assert history.scan(59, gaps=gap) == []
    assert history.scan(60, gaps=gap) == [("gap", "")]
    assert history.reported[-1].data == (("COUNT", "2"),)
    assert history.scan(61, gaps=gap) == []
    assert history.scan(62) == []
    assert history.scan(63, gaps=gap) == [], "what comes and goes is one"
    assert history.scan(92) == []
    assert history.scan(93) == [("gap-over", "")]
    assert history.scan(94, gaps=gap) == []
    assert history.scan(154, gaps=gap) == [("gap", "")]


def test_what_one_owner_has_too_much_of_is_one_gap_for_whatever_reason() -> None:
    history = History()
    some = [Gap("namespace", reason, inode, owner="user 1000") for inode, reason in ((5, "EFBIG"), (6, "ETIME"))]
    assert history.scan(0, gaps=some) == []
    assert history.scan(10, gaps=some[1:]) == [("gap", "")]
    assert history.reported[-1].text == "namespace of user 1000: ETIME"
    assert history.scan(11, gaps=[*some, Gap("namespace", "EFBIG", 7, owner="user 1001")]) == []
    assert history.scan(21, gaps=[*some, Gap("namespace", "EFBIG", 7, owner="user 1001")]) == [("gap", "")]


def test_twenty_are_reported_one_by_one() -> None:
    history = History()
    history.scan(0, *many(20))
    assert [kind for kind, _ in history.scan(1, *many(20))] == ["found"] * 20


def test_a_burst_is_one_summary_with_all_ids() -> None:
    history = History()
    history.scan(0, *many(500))
    assert [kind for kind, _ in history.scan(1, *many(500))] == ["summary"]
    data = dict(history.reported[-1].data)
    assert (data["COUNT"], data["SUMMARY_OF"], data["ROOT"]) == ("500", "found", "/var/lib/docker")
    assert data["FINDINGS"].split() == [one.id for one in many(500)]
    assert history.scan(2, *many(500)) == []
    assert [kind for kind, _ in history.scan(3)] == ["summary"]
    assert dict(history.reported[-1].data)["SUMMARY_OF"] == "cleared"
    assert history.ledger.entries == {}


def test_what_follows_a_summary_waits_for_the_next_window() -> None:
    history = History()
    history.scan(0, *many(30))
    history.scan(1, *many(30))
    first, later = many(30), many(5, first=500)
    assert history.scan(1.5, *first, *later) == []
    assert history.scan(2.5, *first, *later) == []
    assert history.scan(10.9, *first, *later) == []
    assert history.scan(11, *first, *later) == [("summary", "")]
    assert dict(history.reported[-1].data)["COUNT"] == "5"
    assert history.scan(30, *first, *later) == []
    history.scan(40, *first, *later, A)
    assert history.scan(41, *first, *later, A) == [FOUND_A]


def test_a_burst_of_one_root_leaves_others_alone() -> None:
    history = History()
    other = replace(A, root=replace(ROOT, path=b"/srv"))
    history.scan(0, *many(30), other)
    assert set(history.scan(1, *many(30), other)) == {("summary", ""), FOUND_A}
