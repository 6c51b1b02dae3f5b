"""What the service does by itself: the automatic remedies of confirmed findings, one attempt each, in turn.

Many are done in batches, those of one root after those of another, and no longer in one cycle than `BUDGET`; the rest
follows in the next one, at once. A batch ends where the breaker has left its root alone.

What is declined is no attempt: it is tried again, after a pause. Each time costs a scan in full, however many are tried
with it, so the pause is for all of them so long that they cost at most 1/`COST_FACTOR` of the time.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..config.schema import Config, Mode
from ..errors import MountwardenError
from ..ledger import breaker
from ..ledger.entries import Decline
from ..ledger.update import Attempt, Ledger, Now
from ..model import Action, Finding, Kind, Outcome
from ..remedies.plan import Circumstances, plan, setting_that_ends
from ..state import pause
from ..state.run_directory import RunDirectory
from .allowance import Allowance

BUDGET = 5.0
"""Seconds of actions in one cycle; the rest waits for the next scan."""
BATCH = 250
"""Detaches, or umounts at home, that are asked for at once: so many a kill can interrupt, and so many of one root
another one's wait for."""

FAILED = frozenset({"failed", "no-answer", "unverified", "still-there", "not-shared", "still-severed"})
"""Codes of outcomes whose effect is missing or unknown though all preconditions held. Others name a precondition."""

COST_FACTOR, FREED_FACTOR = 100.0, 5.0
"""For each second that it takes to try again what was declined, nothing that was declined is tried for so many; the
second one is for what is freed of the namespaces that kept it back. Who makes new ones all the time costs no more."""

CarryOut = Callable[[Sequence[Finding], Action, Callable[[], bool]], Iterable[Outcome]]
"""What carries out one action for findings; before each of its batches it asks whether to go on."""


class AutomaticActions:
    """Carries out what the plan says is automatic.

    Detaches are asked for in batches, but the first below a root alone, and so is the next one after any failure: what
    fails there does not fail a whole batch before the breaker is asked again. Each one that is declined doubles the
    next batch, since it changed nothing; what was declined before is tried again in one. A cycle that goes on where
    the last one had no more time knows what that one has shown: one act can take all of `BUDGET` on a busy host.
    """

    def __init__(
        self,
        run: RunDirectory,
        carry_out: CarryOut,
        tidy: Callable[[], list[bytes]] = list,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        """`tidy` removes what an interrupted action left, and says where. `may_act`: no command acts now."""
        self._run = run
        self._carry_out = carry_out
        self._tidy = tidy
        self._retry_from, self._freed_from = 0.0, 0.0
        """Seconds of CLOCK_BOOTTIME before which nothing is tried again that was declined, or was and is freed."""
        self._may_act = may_act
        self.allowance = Allowance()
        """Whoever calls `act` knows what that has cost."""
        self._allowed: Counter[bytes] = Counter()
        """What the last cycle ended with (`_Cycle.allowed`)."""
        self.unfinished = False
        """Whether the last cycle ended before all was tried that may be, and did something: the next one goes on."""

    def remove_leftovers(self, config: Config) -> list[bytes]:
        """Paths of what an interrupted action left, now removed.

        Nothing is removed where actions are not allowed, or where what there is can't be read now.
        """
        if config.mode is Mode.OBSERVE or pause.read(self._run, time.time()) or not self._may_act():
            return []
        try:
            return self._tidy()
        except (OSError, MountwardenError):
            return []

    def act(
        self,
        findings: Iterable[Finding],
        config: Config,
        ledger: Ledger,
        report: Callable[[Ledger], Ledger],
        unread: Collection[int] = (),
    ) -> tuple[Ledger, tuple[Outcome, ...]]:
        """Do what may be done now; nothing while a command acts, which has begun before the service did.

        `report` saves the ledger and reports what is pending, around each batch. `unread` are the mount namespaces that
        the last scan could not read.

        Returns the ledger, and the outcomes but for those that were declined before for the same reason.
        """
        outcomes: list[Outcome] = []
        ledger = breaker.freed(ledger, unread, _now())
        declined = breaker.declines(ledger)
        freed = frozenset(one for one, some in declined.items() if any(decline.freed for decline in some))
        due = _in_turns(finding for finding in findings if finding.confirmed)
        self._allowed = self._allowed if self.unfinished else Counter()
        cycle = _Cycle(due, frozenset(declined), freed, self._allowed)
        may = self._may_act() and self.allowance.allows(_boot())
        until, reached = _boot() + BUDGET if may else 0.0, 0
        while cycle.left and _boot() < until:
            began = _boot()
            ledger, batch, action = self._begun(cycle, config, ledger)
            if not batch or action is None:
                break
            ledger, done = self._carried_out(batch, action, ledger, report, until)
            outcomes += [one for one in done if not _known(one, declined)]
            cycle.learn(done)
            ledger = breaker.uncount(ledger, cycle.end_batch(batch, done))
            reached += len(done)
            if any(finding.id in declined for finding in batch):
                took = _boot() - began
                self._retry_from = max(self._retry_from, _boot() + COST_FACTOR * took)
                self._freed_from = max(self._freed_from, _boot() + FREED_FACTOR * took)
        self.unfinished = bool(reached and cycle.left)
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
            left_alone = any(finding.root.path in breaker.left_alone(ledger) for finding in batch)
            return _boot() < until and not left_alone and pause.read(self._run, time.time()) is None

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
        while cycle.left:
            finding = cycle.left[0]
            action = None if finding.mountpoint in cycle.taken else _automatic(finding, config, now)
            if action is not None and batch and (action is not chosen or len(batch) >= cycle.most(finding, action)):
                break
            counted = finding.root.path in cycle.counted
            if batch and not counted and breaker.limited(ledger, _now(), config):
                break  # where all of the batch is declined, its incidents count no more
            cycle.left.popleft()
            if action is None:
                continue
            from_ = self._freed_from if finding.id in cycle.freed else self._retry_from
            if finding.id in cycle.declined and _boot() < from_:
                continue
            if why := breaker.objection(ledger, finding, action, _now(), config, counted=counted):
                if why == breaker.MADE_PRIVATE_AGAIN:
                    ledger = breaker.stop_sharing(ledger, finding, _now(), setting_that_ends(finding.root))
                continue
            ledger, chosen = breaker.begin(ledger, finding, _now(), counted=counted), action
            cycle.counted.setdefault(finding.root.path, False)
            cycle.taken.add(finding.mountpoint)
            batch.append(finding)
            if len(batch) >= cycle.most(finding, action):
                break
        return ledger, batch, chosen


@dataclass(slots=True)
class _Cycle:
    """What is left of one cycle, and what it has shown so far."""

    left: deque[Finding]
    declined: frozenset[str] = frozenset()
    """Ids of findings of which something was declined in an earlier cycle."""
    freed: frozenset[str] = frozenset()
    """Those of them that no namespace keeps back any more which did."""
    allowed: Counter[bytes] = field(default_factory=Counter)
    """How many may be in one batch, by root, by how the last actions below it ended; one where none did."""
    taken: set[bytes] = field(default_factory=set)
    """Mountpoints for which an action was tried: one action at a mountpoint ends the copies of all namespaces."""
    counted: dict[bytes, bool] = field(default_factory=dict)
    """Roots whose incident counts as one of the minute's, and whether anything of it was done, or failed."""

    def most(self, finding: Finding, action: Action) -> int:
        """How many may be in one batch with it, itself among them."""
        if action is not Action.DETACH and finding.kind is not Kind.ABANDONED:
            return 1
        return BATCH if finding.id in self.declined else min(BATCH, max(1, self.allowed[finding.root.path]))

    def learn(self, outcomes: Iterable[Outcome]) -> None:
        """Take in how actions ended."""
        ended: dict[bytes, list[Outcome]] = {}
        for outcome in outcomes:
            ended.setdefault(outcome.finding.root.path, []).append(outcome)
        for root, some in ended.items():
            if any(outcome.code in FAILED for outcome in some):
                self.allowed[root] = 1
            elif any(outcome.done for outcome in some):
                self.allowed[root] = BATCH
            else:
                self.allowed[root] = min(BATCH, 2 * max(1, self.allowed[root]))

    def end_batch(self, batch: Sequence[Finding], outcomes: Collection[Outcome]) -> int:
        """What was not reached is left. How many incidents have come to nothing, and count no more."""
        for one in outcomes:
            if one.done or one.code in FAILED:
                self.counted[one.finding.root.path] = True
        reached = {one.finding.id for one in outcomes}
        missed = [finding for finding in batch if finding.id not in reached]
        self.taken.difference_update(finding.mountpoint for finding in missed)
        self.left.extendleft(reversed(missed))
        nothing = [root for root, tried in self.counted.items() if not tried]
        for root in nothing:
            del self.counted[root]
        return len(nothing)


def _in_turns(findings: Iterable[Finding]) -> deque[Finding]:
    """The first `BATCH` of each root, then the next ones: none waits behind a thousand of another root."""
    seen: Counter[bytes] = Counter()
    turns: dict[int, list[Finding]] = {}
    for finding in findings:
        turns.setdefault(seen[finding.root.path] // BATCH, []).append(finding)
        seen[finding.root.path] += 1
    return deque(finding for _turn, some in sorted(turns.items()) for finding in some)


def _automatic(finding: Finding, config: Config, now: Circumstances) -> Action | None:
    """The first automatic remedy."""
    return next((remedy.action for remedy in plan(finding, config, now).remedies if remedy.automatic), None)


def circumstances(run: RunDirectory, ledger: Ledger) -> Circumstances:
    """What decides whether an action is tried, but for what `breaker.objection` says."""
    paused, now = pause.read(run, time.time()) is not None, _boot()
    waiting = {
        finding: tuple(one for one in some if now < one.again) for finding, some in breaker.declines(ledger).items()
    }
    return Circumstances(paused, breaker.attempted(ledger), breaker.left_alone(ledger), declined=waiting)


def reported_circumstances(run: RunDirectory, ledger: Ledger, config: Config) -> Circumstances:
    """The same with all that keeps the service from acting now, for a report."""
    return replace(
        circumstances(run, ledger),
        made_private_again=breaker.made_private_again(ledger),
        limited=breaker.limited(ledger, _now(), config),
        declined=breaker.declines(ledger),
    )


def _finished(ledger: Ledger, finding: Finding, action: Action, outcome: Outcome) -> Ledger:
    attempt = Attempt.DONE if outcome.done else Attempt.FAILED if outcome.code in FAILED else Attempt.DECLINED
    data = {"CODE": outcome.code, "SAW": outcome.saw, "DID": outcome.did, "VERIFIED": outcome.verified}
    said = {name: value for name, value in data.items() if value}
    return breaker.finish(ledger, finding, action, attempt, _now(), outcome.text, said, outcome.unread)


def _known(outcome: Outcome, declined: Mapping[str, tuple[Decline, ...]]) -> bool:
    """Whether it was declined before, for the same reason."""
    before = declined.get(outcome.finding.id, ())
    return any(one.action is outcome.action and outcome.code in one.told for one in before)


def _boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _now() -> Now:
    return Now(time.time(), _boot())
