"""How many automatic actions are tried together, in which turns, and what ends a batch or a cycle."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.ledger import update
from mountwarden.ledger.update import Now
from mountwarden.model import Action, Finding, Outcome
from mountwarden.service import actions
from mountwarden.service.actions import BATCH, AutomaticActions

from tests.support.action_scene import Clock, Scene, many, of_roots, takes
from tests.support.findings import CONFIG


def test_three_failures_end_the_actions_on_a_root(tmp_path: Path) -> None:
    assert Scene(tmp_path, *many(5), code="failed").act() == ["failed", "failed", "failed", "none", "none"]


def test_the_first_below_a_root_is_tried_alone_and_the_others_together(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *many(9))
    assert scene.act() == ["done"] * 9
    assert [len(batch) for batch in scene.batches] == [1, 8]


def test_after_a_failure_one_is_tried_alone_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *many(BATCH + 9))
    scene.codes = {scene.findings[BATCH].id: "failed"}
    scene.act()
    assert [len(batch) for batch in scene.batches] == [1, BATCH, 1, 7]


def test_another_root_is_not_tried_along_with_one_that_works(tmp_path: Path) -> None:
    ones = many(4)
    others = [replace(one, root=replace(one.root, path=b"/other")) for one in ones[2:]]
    scene = Scene(tmp_path, *ones[:2], *others)
    assert scene.act() == ["done"] * 4
    assert [len(batch) for batch in scene.batches] == [1, 1, 1, 1]


def test_the_limit_by_the_minute_counts_what_is_due_on_a_root_as_one(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *of_roots(4, 3))
    assert scene.act(replace(CONFIG, acts_per_minute=2)) == ["done"] * 6 + ["none"] * 6
    assert len(scene.ledger.actions) == 2


def test_an_incident_that_goes_on_in_the_next_cycle_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, scene = Clock(monkeypatch), Scene(tmp_path, *many(2 * BATCH))
    takes(scene, clock, actions.BUDGET / 2)
    scene.act()
    assert (len(scene.tried), len(scene.ledger.actions), scene.agent.unfinished) == (1 + BATCH, 1, True)
    scene.act()
    assert (len(scene.tried), len(scene.ledger.actions), scene.agent.unfinished) == (2 * BATCH, 2, False)


def test_what_a_cycle_has_no_time_for_is_begun_no_more_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, scene = Clock(monkeypatch), Scene(tmp_path, *many(9))

    def cut(batch: Sequence[Finding], action: Action, go_on: Callable[[], bool]) -> Iterator[Outcome]:
        yield from scene.carry_out(batch[:2], action, go_on)
        clock.boot += actions.BUDGET if len(batch) > 2 else 0.0

    scene.agent = AutomaticActions(scene.run, cut)
    assert scene.act() == ["done"] * 3 + ["none"] * 6
    assert scene.agent.unfinished
    assert scene.act() == ["done"] * 5 + ["none"] * 4


def test_a_cycle_that_goes_on_goes_on_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy host the first one alone may cost a cycle: the next cycle's is not alone again."""
    clock, scene = Clock(monkeypatch), Scene(tmp_path, *many(9))
    takes(scene, clock, actions.BUDGET)
    scene.act()
    scene.act()
    assert [len(batch) for batch in scene.batches] == [1, 8]


def test_a_cycle_that_goes_on_after_a_failure_begins_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, scene = Clock(monkeypatch), Scene(tmp_path, *many(9))
    scene.codes = {scene.findings[0].id: "failed"}
    takes(scene, clock, actions.BUDGET)
    for _ in range(3):
        scene.act()
    assert [len(batch) for batch in scene.batches] == [1, 1, 7]


def test_one_root_does_not_wait_behind_a_thousand_findings_of_another(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *many(4 * BATCH), *of_roots(1, 1))
    scene.findings = (*scene.findings[:-1], replace(scene.findings[-1], id="mw-other", mountpoint=b"/0/merged"))
    scene.ledger, _ = update.update(scene.ledger, scene.findings, Now(2, 2), CONFIG)
    scene.ledger, _ = update.update(scene.ledger, scene.findings, Now(4, 4), CONFIG)
    scene.act()
    assert scene.tried.index("mw-other") <= BATCH
    assert len(scene.tried) == 4 * BATCH + 1


def test_a_batch_ends_where_its_root_is_left_alone(tmp_path: Path) -> None:
    scene, carry_out = Scene(tmp_path, *many(BATCH)), Scene.carry_out

    def in_twos(batch: Sequence[Finding], action: Action, go_on: Callable[[], bool]) -> Iterator[Outcome]:
        for at in range(0, len(batch), 2):
            if not go_on():
                return
            yield from carry_out(scene, batch[at : at + 2], action, go_on)

    scene.carry_out = in_twos  # type: ignore[method-assign]
    scene.codes = {one.id: "failed" for one in scene.findings[8:]}
    scene.act()
    assert len(scene.tried) == 11, "its third failure is the last of those that were begun together"
    assert [event.kind for event in scene.ledger.pending].count("left-alone") == 1
    assert {entry.attempt for entry in list(scene.ledger.entries.values())[11:]} == {"none"}
