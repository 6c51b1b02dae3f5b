"""What the service does by itself: the automatic remedies of confirmed findings, one attempt each, in turn."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..config.schema import Config, Mode
from ..errors import MountwardenError
from ..ledger import breaker
from ..ledger.update import Attempt, Ledger, Now
from ..model import Action, Finding, Outcome
from ..remedies.plan import Circumstances, plan, setting_that_ends
from ..state import pause
from ..state.run_directory import RunDirectory

BUDGET = 5.0
"""Seconds of actions in one cycle; the rest waits for the next scan."""
BATCH = 256
"""Detaches that are asked for at once."""

FAILED = frozenset({"failed", "no-answer", "unverified", "still-there", "not-shared", "still-severed"})
"""Codes of outcomes whose effect is missing or unknown though all preconditions held. Others name a precondition."""

CarryOut = Callable[[Sequence[Finding], Action, Callable[[], bool]], Iterable[Outcome]]
"""What carries out one action for findings; before each of its batches it asks whether to go on."""


class AutomaticActions:
    """Carries out what the plan says is automatic.

    Detaches are asked for in batches, but the first below a root alone, and so is the next one after any failure: what
    fails there does not fail a whole batch before the breaker is asked again.
    """

    def __init__(self, run: RunDirectory, carry_out: CarryOut, tidy: Callable[[], list[bytes]] = list) -> None:
        """`tidy` removes what an interrupted action left, and says where."""
        self._run = run
        self._carry_out = carry_out
        self._tidy = tidy

    def remove_leftovers(self, config: Config) -> list[bytes]:
        """Paths of what an interrupted action left, now removed.

        Nothing is removed where actions are not allowed, or where what there is can't be read now.
        """
        if config.mode is Mode.OBSERVE or pause.read(self._run, time.time()):
            return []
        try:
            return self._tidy()
        except (OSError, MountwardenError):
            return []

    def act(
        self, findings: Iterable[Finding], config: Config, ledger: Ledger, report: Callable[[Ledger], Ledger]
    ) -> tuple[Ledger, tuple[Outcome, ...]]:
        """Do what may be done now. `report` saves the ledger and reports what is pending, around each batch."""
        outcomes: list[Outcome] = []
        cycle = _Cycle(deque(finding for finding in findings if finding.confirmed))
        until = _boot() + BUDGET
        while cycle.left and _boot() < until:
            ledger, batch, action = self._begun(cycle, config, ledger)
            if not batch or action is None:
                break
            ledger, done = self._carried_out(batch, action, ledger, report, until)
            outcomes += done
            cycle.learn(done)
        return report(ledger), tuple(outcomes)

    def _carried_out(
        self,
        batch: Sequence[Finding],
        action: Action,
        ledger: Ledger,
        report: Callable[[Ledger], Ledger],
        until: float,
    ) -> tuple[Ledger, list[Outcome]]:
        """The ledger and the outcomes. What was not reached in time, or before a pause, may still be tried later."""
        outcomes: list[Outcome] = []

        def go_on() -> bool:
            nonlocal ledger
            ledger = report(ledger)
            return _boot() < until and pause.read(self._run, time.time()) is None

        for outcome in self._carry_out(batch, action, go_on):
            ledger = _finished(ledger, outcome.finding, action, outcome)
            outcomes.append(outcome)
        tried = {outcome.finding.id for outcome in outcomes}
        ledger = breaker.undo(ledger, [finding for finding in batch if finding.id not in tried])
        return report(ledger), outcomes

    def _begun(self, cycle: "_Cycle", config: Config, ledger: Ledger) -> tuple[Ledger, list[Finding], Action | None]:
        """Take the next findings for which one and the same action may be tried, and note that it is."""
        now = circumstances(self._run, ledger)  # at this very moment: a pause counts from the next batch on
        batch: list[Finding] = []
        chosen: Action | None = None
        while cycle.left and len(batch) < BATCH:
            finding = cycle.left[0]
            action = None if finding.mountpoint in cycle.taken else _automatic(finding, config, now)
            if action is not None and batch and (action is not chosen or not cycle.together(finding, action)):
                break
            cycle.left.popleft()
            if action is None:
                continue
            if why := breaker.objection(ledger, finding, action, _now(), config):
                if why == breaker.MADE_PRIVATE_AGAIN:
                    ledger = breaker.stop_sharing(ledger, finding, _now(), setting_that_ends(finding.root))
                continue
            ledger, chosen = breaker.begin(ledger, finding, _now()), action
            cycle.taken.add(finding.mountpoint)
            batch.append(finding)
            if not cycle.together(finding, action):
                break
        return ledger, batch, chosen


@dataclass(slots=True)
class _Cycle:
    """What is left of one cycle, and what it has shown so far."""

    left: deque[Finding]
    taken: set[bytes] = field(default_factory=set)
    """Mountpoints for which an action was tried: one action at a mountpoint ends the copies of all namespaces."""
    proven: set[bytes] = field(default_factory=set)
    """Roots below which the last action did what it should."""

    def together(self, finding: Finding, action: Action) -> bool:
        """Whether others may be in one batch with it."""
        return action is Action.DETACH and finding.root.path in self.proven

    def learn(self, outcomes: Iterable[Outcome]) -> None:
        """Take in how actions ended."""
        for outcome in outcomes:
            if outcome.done:
                self.proven.add(outcome.finding.root.path)
            elif outcome.code in FAILED:
                self.proven.discard(outcome.finding.root.path)


def _automatic(finding: Finding, config: Config, now: Circumstances) -> Action | None:
    """The first automatic remedy."""
    return next((remedy.action for remedy in plan(finding, config, now).remedies if remedy.automatic), None)


def circumstances(run: RunDirectory, ledger: Ledger) -> Circumstances:
    """What decides whether an action is tried, but for what `breaker.objection` says."""
    paused = pause.read(run, time.time()) is not None
    return Circumstances(paused, breaker.attempted(ledger), breaker.left_alone(ledger))


def reported_circumstances(run: RunDirectory, ledger: Ledger, config: Config) -> Circumstances:
    """The same with all that keeps the service from acting now, for a report."""
    limited = breaker.limited(ledger, _now(), config)
    return replace(circumstances(run, ledger), made_private_again=breaker.made_private_again(ledger), limited=limited)


def _finished(ledger: Ledger, finding: Finding, action: Action, outcome: Outcome) -> Ledger:
    if outcome.code == "gone":
        return breaker.nothing_to_do(ledger, finding)
    attempt = Attempt.DONE if outcome.done else Attempt.FAILED if outcome.code in FAILED else Attempt.DECLINED
    data = {"CODE": outcome.code, "SAW": outcome.saw, "DID": outcome.did, "VERIFIED": outcome.verified}
    said = {name: value for name, value in data.items() if value}
    return breaker.finish(ledger, finding, action, attempt, _now(), outcome.text, said)


def _boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _now() -> Now:
    return Now(time.time(), _boot())
