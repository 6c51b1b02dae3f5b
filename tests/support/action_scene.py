"""The service's automatic actions with what carries them out played by the test."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.config.schema import Config
from mountwarden.ledger import update
from mountwarden.ledger.update import Attempt, Ledger, Now
from mountwarden.model import Action, Finding, Outcome
from mountwarden.service import actions
from mountwarden.service.actions import AutomaticActions
from mountwarden.state.run_directory import RunDirectory

from tests.support.findings import CONFIG, finding

A = finding(1)
B = finding(2, mountpoint=b"/var/lib/docker/overlay2/Y/merged")


class Scene:
    """Actions that are noted, and end as given."""

    def __init__(self, path: Path, *findings: Finding, code: str = "done") -> None:
        self.run = RunDirectory(path)
        self.code = code
        self.agent = AutomaticActions(self.run, lambda *asked: self.carry_out(*asked))
        self.codes: dict[str, str] = {}
        self.unread: set[int] = set()
        """Mount namespaces that can't be read, and keep back what is tried."""
        self.batches: list[list[str]] = []
        self.saved: list[str] = []
        self.ledger = Ledger("boot")
        for at in (0.0, 1.0):
            self.ledger, _ = update.update(self.ledger, findings, Now(at, at), CONFIG)
        self.findings = update.annotate(self.ledger, findings, Now(1.0, 1.0), CONFIG)

    def carry_out(self, batch: Sequence[Finding], action: Action, go_on: Callable[[], bool]) -> Iterator[Outcome]:
        assert go_on()
        self.batches.append([one.id for one in batch])
        assert self.saved.count(Attempt.BEGUN) >= len(batch), "not saved before the action"
        for one in batch:
            code = "unread" if self.unread else self.codes.get(one.id, self.code)
            yield Outcome(one, action, code == "done", code, "text", "saw", "did", "verified", tuple(self.unread))

    def outcomes(self, config: Config = CONFIG) -> tuple[Outcome, ...]:
        """What one round has to tell."""
        self.ledger, told = self.agent.act(self.findings, config, self.ledger, self.report, self.unread)
        return told

    @property
    def tried(self) -> list[str]:
        """Ids of the findings for which an action was tried."""
        return [one for batch in self.batches for one in batch]

    def report(self, ledger: Ledger) -> Ledger:
        self.saved = [entry.attempt for entry in ledger.entries.values() if entry.attempt is not Attempt.NONE]
        return ledger

    def act(self, config: Config = CONFIG) -> list[str]:
        """The attempts' results, by finding, after one round."""
        self.outcomes(config)
        return [entry.attempt.value for entry in self.ledger.entries.values()]


class Clock:
    """CLOCK_BOOTTIME as the actions read it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.boot = 10.0
        monkeypatch.setattr(actions, "_boot", lambda: self.boot)


def many(count: int) -> list[Finding]:
    return [finding(number, mountpoint=b"/var/lib/docker/overlay2/%d/merged" % number) for number in range(count)]


def of_roots(count: int, each: int) -> list[Finding]:
    """Findings of so many roots."""
    ones = many(count * each)
    return [replace(one, root=replace(one.root, path=b"/%d" % (at // each))) for at, one in enumerate(ones)]


def takes(scene: Scene, clock: Clock, seconds: float) -> None:
    """From here on each batch takes so long."""
    carry_out = scene.carry_out

    def slow(batch: Sequence[Finding], action: Action, go_on: Callable[[], bool]) -> Iterator[Outcome]:
        yield from carry_out(batch, action, go_on)
        clock.boot += seconds

    scene.carry_out = slow  # type: ignore[method-assign]
