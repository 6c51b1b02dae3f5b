"""What the service does by itself: the automatic remedies of confirmed findings, one attempt each, in turn."""

import time
from collections.abc import Callable, Iterable

from . import breaker
from . import pause as pausing
from .config import Config
from .ledger import Attempt, Ledger, Now
from .model import Action, Finding, Outcome
from .remedies.plan import Circumstances, plan
from .state import RunDirectory

BUDGET = 5.0
"""Seconds of acts in one cycle; the rest waits for the next look."""

FAILED = frozenset({"failed", "no-answer", "unverified", "still-there", "not-shared", "still-severed"})
"""Codes of outcomes whose effect is missing or not known though all preconditions held. Others are preconditions."""


class Actor:
    """Carries out what the plan says is automatic. `carry_out` is remedies.apply's, with its Looker."""

    def __init__(self, run: RunDirectory, carry_out: Callable[[Finding, Action], Outcome]) -> None:
        self._run = run
        self._carry_out = carry_out

    def act(
        self, findings: Iterable[Finding], config: Config, ledger: Ledger, tell: Callable[[Ledger], Ledger]
    ) -> tuple[Ledger, tuple[Outcome, ...]]:
        """Do what may be done now. `tell` saves the ledger and tells what is pending, before and after each act."""
        outcomes: list[Outcome] = []
        until, done = _boot() + BUDGET, set[bytes]()
        for finding in findings:
            if not finding.confirmed or finding.mountpoint in done:
                continue  # one act on a spot ends the copies of all namespaces
            action = self._automatic(finding, config, ledger)
            if action is None:
                continue
            if why := breaker.objection(ledger, finding, action, _now(), config):
                ledger = breaker.stop_sharing(ledger, finding, _now()) if why == breaker.FOUGHT else ledger
                continue
            if _boot() >= until:
                break
            ledger = tell(breaker.begin(ledger, finding, _now()))
            outcome = self._carry_out(finding, action)
            ledger = tell(_finished(ledger, finding, action, outcome))
            outcomes.append(outcome)
            done.add(finding.mountpoint)
        return tell(ledger), tuple(outcomes)

    def _automatic(self, finding: Finding, config: Config, ledger: Ledger) -> Action | None:
        """The first automatic remedy, as things are at this very moment: a pause counts from the next act on."""
        now = circumstances(self._run, ledger)
        remedies = plan(finding, config, now).remedies
        return next((remedy.action for remedy in remedies if remedy.automatic), None)


def circumstances(run: RunDirectory, ledger: Ledger) -> Circumstances:
    """What the plan must know besides finding and configuration."""
    paused = pausing.read(run, time.time()) is not None
    return Circumstances(paused, breaker.attempted(ledger), breaker.left_alone(ledger))


def _finished(ledger: Ledger, finding: Finding, action: Action, outcome: Outcome) -> Ledger:
    if outcome.code == "gone":
        return breaker.moot(ledger, finding)
    attempt = Attempt.DONE if outcome.done else Attempt.FAILED if outcome.code in FAILED else Attempt.DECLINED
    data = {"CODE": outcome.code, "SAW": outcome.saw, "DID": outcome.did, "VERIFIED": outcome.verified}
    said = {name: value for name, value in data.items() if value}
    return breaker.finish(ledger, finding, action, attempt, _now(), outcome.text, said)


def _boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _now() -> Now:
    return Now(time.time(), _boot())
