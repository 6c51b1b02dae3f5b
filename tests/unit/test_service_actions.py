"""What is done without a human: only what the plan calls automatic, once, in the open."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.config.schema import Config, Mode
from mountwarden.model import Action, Evidence, Finding, Kind, Outcome
from mountwarden.remedies.plan import plan
from mountwarden.service import actions
from mountwarden.service.actions import AutomaticActions
from mountwarden.state import pause
from mountwarden.state.pause import Pause

from tests.support.action_scene import A, B, Clock, Scene, many, takes
from tests.support.findings import CONFIG, finding


def test_nothing_is_tried_or_removed_while_a_command_acts(tmp_path: Path) -> None:
    scene, free = Scene(tmp_path, A), False
    actions = AutomaticActions(scene.run, scene.carry_out, tidy=lambda: [b"/left"], may_act=lambda: free)
    assert actions.remove_leftovers(CONFIG) == []
    ledger, outcomes = actions.act(scene.findings, CONFIG, scene.ledger, scene.report)
    assert (scene.tried, outcomes) == ([], ())
    free = True
    assert actions.remove_leftovers(CONFIG) == [b"/left"]
    actions.act(scene.findings, CONFIG, ledger, scene.report)
    assert scene.tried == [A.id]


def test_each_finding_gets_one_attempt(tmp_path: Path) -> None:
    scene = Scene(tmp_path, A, B)
    assert scene.act() == ["done", "done"]
    scene.act()
    assert scene.tried == [A.id, B.id]


@pytest.mark.parametrize(
    ("code", "attempt", "kind"),
    [
        ("done", "done", "acted"),
        ("live", "declined", "declined"),
        ("bound", "declined", "declined"),
        ("mixed", "declined", "declined"),
        ("failed", "failed", "failed"),
        ("no-answer", "failed", "failed"),
        ("still-there", "failed", "failed"),
    ],
)
def test_outcomes(tmp_path: Path, code: str, attempt: str, kind: str) -> None:
    scene = Scene(tmp_path, A, code=code)
    assert scene.act() == [attempt]
    event = scene.ledger.pending[-1]
    assert event.kind == kind
    assert dict(event.data)["CODE"] == code


def test_what_went_by_itself_is_not_reported(tmp_path: Path) -> None:
    scene = Scene(tmp_path, A, code="gone")
    before = scene.ledger.pending
    scene.act()
    assert (scene.tried, scene.ledger.pending) == ([A.id], before)


def test_one_action_on_a_spot_does_for_all_its_copies(tmp_path: Path) -> None:
    scene = Scene(tmp_path, A, finding(3, namespace=77))
    assert scene.act() == ["done", "none"]


@pytest.mark.parametrize(
    "changes",
    [*({"evidence": one} for one in Evidence if one is not Evidence.HISTORY), {"confirmed": False}, {"silenced": True}],
)
def test_what_is_not_automatic_is_left_alone(tmp_path: Path, changes: dict[str, object]) -> None:
    scene = Scene(tmp_path, A)
    scene.findings = tuple(replace(one, **changes) for one in scene.findings)  # type: ignore[arg-type]
    assert scene.act() == ["none"]


def test_observe_and_pause_stop_all_actions(tmp_path: Path) -> None:
    scene = Scene(tmp_path, A)
    assert scene.act(Config(mode=Mode.OBSERVE)) == ["none"]
    pause.write(scene.run, Pause(0.0, None, "why"))
    assert scene.act() == ["none"]
    pause.end(scene.run)
    assert scene.act() == ["done"]


def test_a_pause_counts_from_the_next_batch_on(tmp_path: Path) -> None:
    scene = Scene(tmp_path, A, B)
    carry_out = scene.carry_out

    def paused(batch: Sequence[Finding], action: Action, go_on: Callable[[], bool]) -> Iterator[Outcome]:
        yield from carry_out(batch, action, go_on)
        pause.write(scene.run, Pause(0.0, None, "now"))

    scene.carry_out = paused  # type: ignore[method-assign]
    assert scene.act() == ["done", "none"]


def test_what_a_pause_keeps_from_being_tried_may_be_tried_afterwards(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *many(5))
    carry_out = scene.carry_out

    def cut(batch: Sequence[Finding], action: Action, go_on: Callable[[], bool]) -> Iterator[Outcome]:
        yield from carry_out(batch[:2], action, go_on)
        if len(batch) > 2:
            pause.write(scene.run, Pause(0.0, None, "now"))
            assert not go_on()

    scene.carry_out = cut  # type: ignore[method-assign]
    assert scene.act() == ["done", "done", "done", "none", "none"]
    assert not scene.agent.unfinished
    pause.end(scene.run)
    scene.carry_out = carry_out  # type: ignore[method-assign]
    assert scene.act() == ["done"] * 5


def test_what_was_declined_is_tried_again_and_told_once_until_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, scene = Clock(monkeypatch), Scene(tmp_path, A, code="in-use")
    told = []
    for at in (10.0, 10.5, 11.0, 12.9, 13.0, 17.0):
        clock.boot = at
        told.append(len(scene.outcomes()))
    assert told == [1, 0, 0, 0, 0, 0]
    assert len(scene.tried) == 4
    assert [event.kind for event in scene.ledger.pending if event.kind == "declined"] == ["declined"]
    scene.code, clock.boot = "done", 25.0
    assert [outcome.code for outcome in scene.outcomes()] == ["done"]
    clock.boot = 1000.0
    assert scene.outcomes() == ()


def test_a_new_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, scene = Clock(monkeypatch), Scene(tmp_path, A, code="in-use")
    scene.act()
    scene.code, clock.boot = "bound", 11.0
    assert [outcome.code for outcome in scene.outcomes()] == ["bound"]


def test_hundreds_that_are_declined_are_tried_in_few_batches_and_again_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, scene = Clock(monkeypatch), Scene(tmp_path, *many(200), code="in-use")
    config = replace(CONFIG, acts_per_minute=1000)
    scene.act(config)
    assert [len(batch) for batch in scene.batches] == [1, 2, 4, 8, 16, 32, 64, 73]
    scene.batches.clear()
    clock.boot = 11.0
    scene.act(config)
    assert [len(batch) for batch in scene.batches] == [200]


def test_what_trying_again_costs_is_a_hundredth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, scene = Clock(monkeypatch), Scene(tmp_path, *many(3), code="in-use")
    scene.act()
    takes(scene, clock, 0.5)
    tried = []
    for at in range(11, 200):
        clock.boot = max(clock.boot, float(at))
        scene.batches.clear()
        scene.act()
        tried += [at] * len(scene.batches)
    assert tried == [11, 62, 113, 164]


def test_what_an_unread_namespace_kept_back_is_done_at_once_when_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, scene = Clock(monkeypatch), Scene(tmp_path, A)
    carry_out = scene.carry_out

    def slow(batch: Sequence[Finding], action: Action, go_on: Callable[[], bool]) -> Iterator[Outcome]:
        yield from carry_out(batch, action, go_on)
        clock.boot += 0.5

    scene.carry_out, scene.unread = slow, {71}  # type: ignore[method-assign]
    for clock.boot in range(10, 400):
        scene.act()
    assert len(scene.tried) < 10
    scene.unread, tried = {72}, len(scene.tried)
    for clock.boot in range(400, 500):
        scene.unread = {clock.boot}
        scene.act()
    assert 20 < len(scene.tried) - tried < 40, "a new one each second makes it cost a fifth of the time at most"
    scene.unread = set()
    for clock.boot in range(500, 504):
        scene.act()
    assert [entry.attempt for entry in scene.ledger.entries.values()] == ["done"]


def test_a_declined_action_does_not_use_up_the_limit(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *many(9), code="in-use")
    assert scene.act(replace(CONFIG, acts_per_minute=2)) == ["declined"] * 9


def test_a_report_shows_what_was_declined_though_it_is_due_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, scene = Clock(monkeypatch), Scene(tmp_path, A, code="in-use")
    scene.act()
    for clock.boot in (10.5, 11.5):
        now = actions.reported_circumstances(scene.run, scene.ledger, CONFIG)
        first, second = plan(scene.findings[0], CONFIG, now).remedies[:2]
        assert (first.action, first.automatic, first.declined) == (Action.DETACH, False, True)
        assert first.reason == "text; the service goes on trying"
        assert (second.action, second.command) == (Action.UNMOUNT, f"mountwarden unmount {A.id}")


def test_a_finding_that_is_not_automatic_does_not_keep_another_on_its_spot_from_it(tmp_path: Path) -> None:
    twin = finding(3, namespace=77)
    scene = Scene(tmp_path, A, twin)
    scene.findings = (replace(scene.findings[0], evidence=Evidence.SPOT), scene.findings[1])
    assert scene.act() == ["none", "done"]


def test_an_action_of_another_kind_is_done_alone(tmp_path: Path) -> None:
    root = finding(7, mountpoint=b"/var/lib/docker", kind=Kind.PRIVATE_ROOT, reach=None, seen_at=b"/var/lib/docker")
    scene = Scene(tmp_path, *many(2), root, *[replace(one, id=f"mw-{n}") for n, one in enumerate(many(9)[7:])])
    assert set(scene.act()) == {"done"}
    assert [len(batch) for batch in scene.batches] == [1, 1, 1, 2]
