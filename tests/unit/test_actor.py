"""What is done without a human: only what the plan calls automatic, once, in the open."""

from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden import ledger as book
from mountwarden import pause
from mountwarden.actor import Actor
from mountwarden.config import Config, Mode
from mountwarden.ledger import Attempt, Ledger, Now
from mountwarden.model import Action, Evidence, Finding, Outcome
from mountwarden.pause import Pause
from mountwarden.state import RunDirectory

from tests.support.findings import CONFIG, finding

A = finding(1)
B = finding(2, mountpoint=b"/var/lib/docker/overlay2/Y/merged")


class Scene:
    """An actor whose acts are noted, and end as told."""

    def __init__(self, path: Path, *findings: Finding, code: str = "done") -> None:
        self.run = RunDirectory(path)
        self.code = code
        self.acts: list[str] = []
        self.saved: list[str] = []
        self.ledger = Ledger("boot")
        for at in (0.0, 1.0):
            self.ledger, _ = book.update(self.ledger, findings, Now(at, at), CONFIG)
        self.findings = book.annotate(self.ledger, findings, Now(1.0, 1.0), CONFIG)

    def carry_out(self, one: Finding, action: Action) -> Outcome:
        self.acts.append(one.id)
        assert self.saved[-1] == Attempt.BEGUN, "the attempt was not saved before the act"
        return Outcome(one, action, self.code == "done", self.code, "text", "saw", "did", "verified")

    def tell(self, ledger: Ledger) -> Ledger:
        self.saved = [entry.attempt for entry in ledger.entries.values() if entry.attempt is not Attempt.NONE]
        return ledger

    def act(self, config: Config = CONFIG) -> list[str]:
        """The attempts' results, by finding, after one round."""
        self.ledger, _ = Actor(self.run, self.carry_out).act(self.findings, config, self.ledger, self.tell)
        return [entry.attempt.value for entry in self.ledger.entries.values()]


def test_each_finding_gets_one_attempt(tmp_path: Path) -> None:
    scene = Scene(tmp_path, A, B)
    assert scene.act() == ["done", "done"]
    scene.act()
    assert scene.acts == [A.id, B.id]


@pytest.mark.parametrize(
    ("code", "attempt", "told"),
    [
        ("done", "done", "acted"),
        ("live", "declined", "declined"),
        ("bound", "declined", "declined"),
        ("failed", "failed", "failed"),
        ("no-answer", "failed", "failed"),
        ("still-there", "failed", "failed"),
    ],
)
def test_outcomes(tmp_path: Path, code: str, attempt: str, told: str) -> None:
    scene = Scene(tmp_path, A, code=code)
    assert scene.act() == [attempt]
    event = scene.ledger.pending[-1]
    assert event.kind == told
    assert dict(event.data)["CODE"] == code


def test_what_went_by_itself_is_not_told(tmp_path: Path) -> None:
    scene = Scene(tmp_path, A, code="gone")
    before = scene.ledger.pending
    scene.act()
    assert (scene.acts, scene.ledger.pending) == ([A.id], before)


def test_one_act_on_a_spot_does_for_all_its_copies(tmp_path: Path) -> None:
    scene = Scene(tmp_path, A, replace(finding(3), namespace=77))
    assert scene.act() == ["done", "none"]


@pytest.mark.parametrize(
    "changes", [{"evidence": Evidence.SPOT}, {"evidence": Evidence.CLAIMED}, {"confirmed": False}, {"silenced": True}]
)
def test_what_is_not_automatic_is_left_alone(tmp_path: Path, changes: dict[str, object]) -> None:
    scene = Scene(tmp_path, A)
    scene.findings = tuple(replace(one, **changes) for one in scene.findings)  # type: ignore[arg-type]
    assert scene.act() == ["none"]


def test_observe_and_pause_stop_all_acts(tmp_path: Path) -> None:
    scene = Scene(tmp_path, A)
    assert scene.act(Config(mode=Mode.OBSERVE)) == ["none"]
    pause.write(scene.run, Pause(0.0, None, "why"))
    assert scene.act() == ["none"]
    pause.end(scene.run)
    assert scene.act() == ["done"]


def test_a_pause_counts_from_the_next_act_on(tmp_path: Path) -> None:
    scene = Scene(tmp_path, A, B)
    carry_out = scene.carry_out

    def paused(one: Finding, action: Action) -> Outcome:
        pause.write(scene.run, Pause(0.0, None, "now"))
        return carry_out(one, action)

    scene.carry_out = paused  # type: ignore[method-assign]
    assert scene.act() == ["done", "none"]


def test_three_failures_end_the_acts_on_a_root(tmp_path: Path) -> None:
    many = [finding(number, mountpoint=b"/var/lib/docker/overlay2/%d/merged" % number) for number in range(5)]
    assert Scene(tmp_path, *many, code="failed").act() == ["failed", "failed", "failed", "none", "none"]
