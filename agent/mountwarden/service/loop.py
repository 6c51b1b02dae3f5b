"""The service's loop: wait, scan, remember, report, act, publish. One thread.

Each step leaves the host and the journal right if the service is killed behind it; see `outbox` and `breaker`.
"""

import os
import resource
import sys
import time
import traceback
from collections.abc import Iterable
from typing import Protocol

from ..config.schema import Config
from ..escape import sentence
from ..kernel import child
from ..ledger import breaker, update
from ..ledger.update import Ledger, Now
from ..model import EventKind, Finding, Kind, Outcome
from ..observe import entries, superblocks
from ..scan.part import SHARE, Part
from ..scan.result import Scan
from ..systemd.notify import Notifier
from .actions import AutomaticActions
from .budget import Budget
from .clients import Clients
from .publish import Publisher
from .reporter import Reporter
from .results import Results
from .schedule import BURST, Schedule
from .settings import OperatorSettings
from .triggers import Triggers, Wake
from .watchdog import Watchdog
from .watches import Watches

PATIENCE = 0.5
"""Seconds that a client waits for a scan at most; where the budget has none by then, it gets what the last one saw."""
FAILURES = 10
"""Scans in a row that may fail before the service ends, for systemd to start it anew."""

LATE = 2.0
"""Seconds by which the service wakes too late where it was stopped."""
LONGEST_SCAN = 10.0
"""Seconds that a scan and what follows it take, where nothing stops them."""
SELDOM = 60.0
"""Seconds within which that counts once."""


class HostScanner(Protocol):
    """What the loop needs of scan.scanner.Scanner."""

    config: Config

    @property
    def excess(self) -> float:
        """Processor seconds up to now that users and containers had to pay for."""

    @property
    def wake(self) -> int | None:
        """A descriptor that is readable when a home's mounts changed, until the next look; None where there is none."""

    @property
    def due(self) -> tuple[float | None, float | None]:
        """When a scan, and when `recheck`, should be though nothing happens (monotonic clock)."""

    @property
    def presses(self) -> bool:
        """Whether something lives on that home has unmounted, and was not found, while namespaces wait to be read."""

    def peek(self) -> bool:
        """Look at the homes alone; whether a scan is needed."""

    def recheck(self) -> None:
        """Ask again what lives on of what homes have unmounted; and save what has waited for that."""

    @property
    def suspects(self) -> bool:
        """Whether something lives on that homes have unmounted and that the last scan did not look for."""

    def scan(self, part: Part | None = None, *, resync: bool = False) -> Scan:
        """One scan of the host, or of a part of it."""

    def close(self) -> None:
        """Save what has waited for that, and give back what is open."""


class Agent:
    """The service. `run` returns its exit status."""

    def __init__(
        self,
        scanner: HostScanner,
        settings: OperatorSettings,
        reporter: Reporter,
        actions: AutomaticActions,
        triggers: Triggers,
        notifier: Notifier,
        clients: Clients | None = None,
        budget: Budget | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._scanner, self._settings, self._reporter, self._actions = scanner, settings, reporter, actions
        self._triggers, self._notifier, self._clients = triggers, notifier, clients
        self._watchdog = watchdog or Watchdog(notifier)
        self._watches = Watches(triggers, settings.directory)
        self._publisher = Publisher(settings.run, notifier, triggers, settings.unsaved)
        self._schedule = Schedule(scanner.config.tick, scanner.config.resync, started=_boot())
        self._budget = budget
        self._late = float("-inf")
        self._failures = 0
        self._acted = 0.0
        """Seconds of processor time of the last cycle's actions."""
        self._counted = 0.0
        """Processor seconds of this process up to the last scan, and of looks at the homes and answers since."""
        self._stopping = False
        self._found = frozenset[str]()
        """Ids of what the last scan found, without severed roots."""
        self._again = False
        """Whether the next scan is to see what an action has changed."""
        self._config_changed = False
        """Whether files of the configuration changed since its directories were watched."""

    def run(self) -> int:
        """Work until SIGTERM. READY has been said by the caller, before anything here can take its time."""
        self._start()
        while not self._stopping:
            self._watchdog.alive()
            before = time.process_time()
            self._serve()
            self._counted += time.process_time() - before  # what clients ask for has limits of its own
            due = self._schedule.next()
            if _boot() >= due:
                if not self._cycle():
                    return 1
                continue
            peek = self._schedule.next_peek()
            if peek is not None and _boot() >= peek:
                self._peek()
                continue
            seconds = self._watchdog.at_most(min(due, due if peek is None else peek) - _boot())
            if self._clients:
                seconds = self._clients.at_most(seconds)
            until = _boot() + seconds
            waits = self._schedule.wake is not None
            self._handle(self._triggers.wait(seconds, scan=waits, look=self._schedule.changed is not None))
            self._woke(until)
        self._notifier.stopping()
        if self._clients:
            self._clients.close()
        self._reporter.save()
        self._scanner.close()
        entries.close()
        superblocks.close()
        return 0

    def _woke(self, until: float) -> None:
        """Where that is long after it was to be, such as after SIGSTOP or a frozen control group, trust nothing.

        On a host that is too busy it would be so each time: once in a while must do.
        """
        now = _boot()
        if now - until >= LATE and now - self._late >= SELDOM:
            self._late = now
            self._reporter.stopped()
            self._schedule.trust_nothing()

    def _start(self) -> None:
        if self._budget and (owed := self._budget.taken_up(_boot())):
            self._schedule.go_on(*owed)
        self._settings.share(self._scanner.config)
        if self._clients:  # those who come before the first scan wait for it
            self._triggers.also(self._clients.open(self._publisher, self._reporter))
        text = f"mode {self._scanner.config.mode}"
        if why := self._reporter.load():
            text += f"; {why}, a new one was started"
        if left := self._actions.remove_leftovers(self._scanner.config):
            text += f"; removed what an interrupted action left: {', '.join(os.fsdecode(path) for path in left[:3])}"
        self._reporter.note(EventKind.STARTED, text)
        self._reporter.report()

    def _serve(self) -> None:
        """Answer clients, and bring a scan forward that they ask for."""
        if self._clients is None:
            return
        self._clients.serve()
        if self._clients.needs_scan:
            self._schedule.demand()
        clients = self._clients
        if clients.wants_scan and self._schedule.asked(_boot(), root=clients.of_root) > _boot() + PATIENCE:
            self._clients.no_scan()
            self._schedule.withdraw()

    def _handle(self, wakes: Iterable[Wake]) -> None:
        """Do what each reason to wake asks for."""
        wakes = set(wakes)
        self._publisher.woken(wakes)
        if Wake.TERMINATE in wakes:
            self._stopping = True
        if Wake.RELOAD in wakes:
            self._reload(reset=True)
        elif Wake.CONFIG in wakes:
            self._reload(reset=False)
            self._config_changed = True
        if Wake.MOUNTS in wakes:
            self._schedule.mounts_changed(_boot())
        if wakes - {Wake.TERMINATE, Wake.RELOAD, Wake.UNITS, Wake.MOUNTS}:
            self._schedule.woken(_boot())
        if Wake.UNITS in wakes:
            self._schedule.started_service(_boot())
        if wakes & {Wake.ROOTS, Wake.ENGINES, Wake.CONFIG, Wake.OVERFLOW}:
            self._watches.renew()
            self._schedule.trust_nothing()

    def _peek(self) -> None:
        """Look at the homes alone, or ask for what they have unmounted, and scan where that does not do."""
        cost, own, moved = self._cost(), time.process_time(), False
        self._handle(self._triggers.drain())
        try:
            if self._schedule.changed is not None:
                moved = self._scanner.peek()
            else:
                self._scanner.recheck()
        except Exception:  # the scan that follows meets it too, and reports it
            moved = True
        self._schedule.peek_done(_boot(), self._cost() - cost)
        self._counted += time.process_time() - own
        self._note_later()
        if moved:
            self._schedule.woken(_boot())
        if self._scanner.suspects:
            self._schedule.suspicion = _boot()

    def _note_later(self) -> None:
        """When to scan though nothing happens."""
        ahead = _boot() - time.monotonic()
        later, ask = self._scanner.due
        self._schedule.later = None if later is None else later + ahead
        self._schedule.ask = None if ask is None else ask + ahead

    def _part(self, started: float, *, full: bool) -> Part:
        """What the scan at this time reads: less where nobody waits for it."""
        schedule = self._schedule
        again = self._again or schedule.client is not None or schedule.demanded
        self._again = False
        allowance = schedule.allowance(started, presses=again or self._scanner.presses, full=full)
        share = 1.0 if full and schedule.full == float("-inf") else SHARE
        return Part(allowance, again, schedule.changed is None and not full, share)

    def _cycle(self) -> bool:
        """One scan and all that follows; False when scans fail for good."""
        self._handle(self._triggers.drain())
        if self._stopping:
            return True
        started, cpu = _boot(), _cpu()
        try:
            self._scan(started)
            self._woke(started + LONGEST_SCAN)
            self._failures = 0
        except Exception as error:  # the loop's edge: whatever a scan raises is reported, and tried again
            self._failed(error, started, _cpu() - cpu)
        self._counted = time.process_time()
        child.reap_late()
        return self._failures < FAILURES

    def _scan(self, started: float) -> None:
        full, cpu, theirs = self._schedule.full_is_due(started), self._cost(), self._scanner.excess
        if self._schedule.scanned:
            self._schedule.debt += time.process_time() - self._counted
        goes_on = self._actions.unfinished
        due = self._schedule.deadline is not None and self._schedule.deadline <= started
        if self._budget and not self._schedule.scanned:  # it may not live to say what its first scan has cost
            self._budget.keep(self._schedule.owed(started), expected=BURST)
        config = self._settings.with_silences(self._scanner.config)
        scan = self._scanner.scan(self._part(started, full=full), resync=full)
        self._triggers.follow(self._scanner.wake)
        ended, cost = _boot(), self._cost() - cpu
        results = self._results(scan, Now(scan.started, started, ended - started), config, cost)
        self._publisher.publish(results)
        before = self._cost()
        acted = self._clients.scanned(results) if self._clients else False
        asked = self._cost() - before if acted else 0.0  # what root asks for puts nothing off
        by_itself = self._cost() - cpu - asked if goes_on else self._acted
        self._actions.allowance.spend(by_itself, _boot())
        deadline = update.next_deadline(self._reporter.ledger, _boot())
        theirs = self._scanner.excess - theirs
        cost = max(0.0, self._cost() - cpu - asked - by_itself)
        found = self._has_found(scan) or due
        self._schedule.done(started, ended, cost, full=full, deadline=deadline, theirs=theirs, found=found)
        if self._actions.unfinished:
            self._schedule.demand()
        if self._budget:
            self._budget.keep(self._schedule.owed(ended))
        self._note_later()
        if scan.owes:
            self._schedule.woken(_boot())
        if acted or any(outcome.did for outcome in results.outcomes):  # what is declined changes nothing
            self._again = True
            self._schedule.woken(_boot())
        self._watch(scan)
        if full:  # never before the first scan: the bus is nothing that a start waits for
            self._triggers.listen()

    def _has_found(self, scan: Scan) -> bool:
        """Whether the scan found what the one before did not."""
        before = self._found
        self._found = frozenset(one.id for one in scan.findings if one.kind is not Kind.SEVERED)
        return not self._found <= before

    def _cost(self) -> float:
        """Processor seconds up to now, without those that users and containers had to pay for."""
        return _cpu() - self._scanner.excess

    def _results(self, scan: Scan, now: Now, config: Config, cost: float) -> Results:
        """Remember what was found, report, and act."""
        self._reporter.note_missed(scan.missed)
        self._publisher.woken(Wake.OVERFLOW for missed in scan.missed if missed.reason == "overflow")
        self._watchdog.alive()
        findings = self._reporter.remember(scan, now, config)
        pause = self._settings.pause()
        self._reporter.note_pause(pause)
        self._reporter.report()
        outcomes = self._act(findings, config, {gap.namespace for gap in scan.gaps if gap.namespace is not None})
        return Results(scan, findings, config, self._reporter.ledger, pause, self._settings.kept, cost, outcomes)

    def _act(self, findings: tuple[Finding, ...], config: Config, unread: set[int]) -> tuple[Outcome, ...]:
        before = self._cost()
        ledger, outcomes = self._actions.act(findings, config, self._reporter.ledger, self._report_now, unread)
        self._acted = self._cost() - before
        self._reporter.ledger = ledger
        return outcomes

    def _report_now(self, ledger: Ledger) -> Ledger:
        """For the actions: what they did is saved and reported before the next one."""
        self._watchdog.alive()
        return self._reporter.report_ledger(ledger)

    def _failed(self, error: Exception, started: float, cost: float) -> None:
        self._failures += 1
        self._schedule.done(started, _boot(), cost, full=False, deadline=None)
        if self._failures == 1:
            print(*(f"<7>{sentence(line)}" for line in traceback.format_exc().splitlines()), sep="\n", file=sys.stderr)
            self._reporter.note(EventKind.SCAN_FAILED, f"{type(error).__name__}: {error}")
        self._notifier.status(f"scans fail: {type(error).__name__}: {error}")
        if self._clients:
            self._clients.failed(f"the scan failed: {type(error).__name__}: {error}")
        self._reporter.report()

    def _reload(self, *, reset: bool) -> None:
        """Load the configuration. With `reset`, what was declined, failed or left alone may be tried once more."""
        self._notifier.reloading()
        config = self._settings.load()
        if config is None:
            self._reporter.note(EventKind.CONFIG_KEPT, self._settings.kept or "")
        else:
            self._scanner.config = config
            self._settings.share(config)
            self._schedule.configure(config.tick, config.resync)
        if reset:
            self._reporter.ledger = breaker.reset(self._reporter.ledger)
        self._reporter.report()
        self._publisher.stale()
        self._schedule.woken(_boot())
        self._notifier.ready()

    def _watch(self, scan: Scan) -> None:
        """Watch what the roots of this scan ask for.

        A file may have come into a new directory of the configuration after it was read and before it was watched.
        """
        self._watches.update(scan.picture.roots)
        if self._config_changed:
            self._config_changed = False
            if self._settings.differ_from(self._scanner.config):
                self._reload(reset=False)


def _boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _cpu() -> float:
    """Processor seconds of this process and its children, those that live included."""
    living = entries.cpu_seconds() + superblocks.cpu_seconds()  # first: they reap
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime + living
