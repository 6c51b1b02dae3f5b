"""The service's loop: wait, look, remember, tell, act, publish. One thread.

Each step leaves the host and the journal right if the service is killed behind it; see `teller` and `breaker`.
"""

import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from ..config.schema import Config, Mode
from ..errors import MountwardenError
from ..escape import timestamp
from ..kernel import child
from ..ledger import breaker
from ..ledger import update as book
from ..ledger.update import Now
from ..model import Cause, Event, EventKind, Finding, Gap, Picture
from ..scan.scanner import Scan
from ..state import pause as pausing
from ..state import silences
from ..state.pause import Pause
from ..state.run_directory import RunDirectory
from ..systemd.notify import Notifier
from .actions import AutomaticActions
from .outbox import Outbox
from .publish import Publisher
from .schedule import Schedule
from .triggers import Triggers, Wake, local, watch_list

FAILURES = 10
"""Looks in a row that may fail before the service ends, for systemd to start it anew."""
EXPLAINED = 50
"""Findings whose causes are asked for in one cycle; what is left of a storm is told without."""
MISSED_SECONDS = 60.0
"""How often missed mount events are told at most."""

Explain = Callable[[Iterable[Finding], Picture], tuple[tuple[Finding, ...], tuple[Gap, ...]]]


class HostScanner(Protocol):
    """What the loop needs of look.Looker."""

    config: Config
    boot_id: str

    @property
    def wake(self) -> int | None:
        """A descriptor that is readable when a home's mounts changed, until the next look; None where there is none."""

    def scan(self, *, resync: bool = False) -> Scan:
        """One look at the host."""


class Agent:
    """The service. `run` returns its exit status."""

    def __init__(
        self,
        scanner: HostScanner,
        load: Callable[[], Config],
        *,
        directory: bytes,
        run: RunDirectory,
        teller: Outbox,
        actor: AutomaticActions,
        triggers: Triggers,
        notifier: Notifier,
        explain: Explain,
        tidy: Callable[[], list[bytes]] = list,
    ) -> None:
        """`load` reads the configuration in `directory` anew; `explain` fills in causes.

        `tidy` removes what an act left behind that was cut short, and says where.
        """
        self._scanner, self._load, self._directory, self._run = scanner, load, directory, run
        self._teller, self._actor, self._triggers, self._notifier = teller, actor, triggers, notifier
        self._explain = explain
        self._tidy = tidy
        self._publisher = Publisher(run, notifier, triggers)
        self._ledger = book.Ledger(scanner.boot_id)
        self._schedule = Schedule(scanner.config.tick, scanner.config.resync, started=_boot())
        self._kept: str | None = None
        self._failures = 0
        self._watched: frozenset[bytes] | None = None
        self._stopping = False
        self._changed = False
        self._alive_at = 0.0
        self._missed: dict[str, tuple[float, int]] = {}
        """By reason: when it was last told, and how often it was not told since."""

    def run(self) -> int:
        """Work until SIGTERM. READY has been said by the caller, before anything here can take its time."""
        self._start()
        while not self._stopping:
            self._sign_of_life()
            due = self._schedule.next()
            if _boot() >= due:
                if not self._cycle():
                    return 1
                continue
            self._handle(self._triggers.wait(self._patience(due), signals_only=self._schedule.wake is not None))
        self._notifier.stopping()
        self._teller.save(self._ledger)
        return 0

    def _start(self) -> None:
        self._ledger, why = self._teller.load(self._scanner.boot_id)
        now = _now()
        self._ledger = breaker.interrupted(self._ledger, now)
        text = f"mode {self._scanner.config.mode}" + (f"; {why}, a new one was started" if why else "")
        if left := self._tidied():
            text += (
                f"; removed what an act left that was cut short: {', '.join(os.fsdecode(path) for path in left[:3])}"
            )
        self._note(EventKind.STARTED, text)
        self._tell()

    def _tidied(self) -> list[bytes]:
        """Only where acts are allowed. What can't be looked at now is left for the next start."""
        if self._scanner.config.mode is Mode.OBSERVE or pausing.read(self._run, time.time()):
            return []
        try:
            return self._tidy()
        except (OSError, MountwardenError):
            return []

    def _patience(self, due: float) -> float:
        watchdog = self._notifier.watchdog
        return due - _boot() if watchdog is None else min(due - _boot(), watchdog / 2)

    def _sign_of_life(self) -> None:
        watchdog, now = self._notifier.watchdog, _boot()
        if watchdog is not None and now - self._alive_at >= watchdog / 2:
            self._notifier.alive()
            self._alive_at = now

    def _handle(self, wakes: Iterable[Wake]) -> None:
        """Act on what woke us."""
        wakes = set(wakes)
        self._publisher.woken(wakes)
        if Wake.TERMINATE in wakes:
            self._stopping = True
        if Wake.RELOAD in wakes:
            self._reload(forgive=True)
        elif Wake.CONFIG in wakes:
            self._reload(forgive=False)
            self._changed = True
        if wakes - {Wake.TERMINATE, Wake.RELOAD, Wake.UNITS}:
            self._schedule.woken(_boot())
        if Wake.UNITS in wakes:
            self._schedule.started_service(_boot())
        if wakes & {Wake.ROOTS, Wake.ENGINES, Wake.CONFIG, Wake.OVERFLOW}:
            self._watched = None
            self._schedule.full = float("-inf")

    def _cycle(self) -> bool:
        """One look and all that follows; False when looks fail for good."""
        self._handle(self._triggers.drain())
        if self._stopping:
            return True
        started = _boot()
        try:
            self._scan(started)
            self._failures = 0
        except Exception as error:  # the loop's edge: whatever a look raises is told, and tried again
            self._failed(error, started)
        child.reap_late()
        return self._failures < FAILURES

    def _scan(self, started: float) -> None:
        full, cpu = self._schedule.full_is_due(started), _cpu()
        config = self._merged()
        scan = self._scanner.scan(resync=full)
        self._triggers.follow(self._scanner.wake)
        self._tell_missed(scan)
        ended, cost = _boot(), _cpu() - cpu
        now = Now(scan.started, started, ended - started)
        self._take_in(scan, now, config)
        pause = self._pause()
        self._tell()
        findings = book.annotate(self._ledger, scan.findings, now, config)
        self._ledger, outcomes = self._actor.act(findings, config, self._ledger, self._tell_now)
        self._publisher.publish(scan, findings, config, self._ledger, pause, self._kept, cost, outcomes)
        self._schedule.done(started, ended, _cpu() - cpu, full=full, deadline=book.next_deadline(self._ledger))
        if outcomes:
            self._schedule.woken(_boot())
        self._watch(scan)
        if full:  # never before the first look: the bus is nothing that a start waits for
            self._triggers.listen()

    def _take_in(self, scan: Scan, now: Now, config: Config) -> None:
        due = book.due(self._ledger, scan.findings, now, config)
        causes = self._causes(tuple(finding for finding in scan.findings if finding.id in due), scan.picture)
        findings = [replace(finding, cause=causes.get(finding.id, finding.cause)) for finding in scan.findings]
        unjudged = frozenset(state.root.path for state in scan.picture.roots if state.status != "ok")
        self._ledger, _ = book.update(self._ledger, findings, now, config, gaps=scan.gaps, unjudged=unjudged)

    def _causes(self, findings: tuple[Finding, ...], picture: Picture) -> dict[str, Cause | None]:
        """The causes of what is about to be told; telling late would be worse than telling without."""
        if not findings:
            return {}
        self._sign_of_life()
        try:
            told, _gaps = self._explain(findings[:EXPLAINED], picture)
        except (OSError, MountwardenError):
            return {}
        return {finding.id: finding.cause for finding in told}

    def _merged(self) -> Config:
        """The configuration with the silences of this boot, which the Looker's acts go by too."""
        return silences.merged(self._scanner.config, self._run)

    def _pause(self) -> Pause | None:
        """The pause in force; its begin and end are told."""
        pause = pausing.read(self._run, time.time())
        if pause is not None and not self._ledger.paused:
            until = "the next boot" if pause.until is None else timestamp(pause.until)
            self._note(EventKind.PAUSED, pause.reason or "no reason was given", ("UNTIL", until))
        elif pause is None and self._ledger.paused:
            self._note(EventKind.RESUMED, "acts go on")
        self._ledger = replace(self._ledger, paused=pause is not None)
        return pause

    def _failed(self, error: Exception, started: float) -> None:
        self._failures += 1
        ended = _boot()
        self._schedule.done(started, ended, 0.0, full=False, deadline=None)
        if self._failures == 1:
            print(f"<7>{traceback.format_exc()}".replace("\n", "\n<7>"), file=sys.stderr, flush=True)
            self._note(EventKind.SCAN_FAILED, f"{type(error).__name__}: {error}")
        self._notifier.status(f"looking fails: {type(error).__name__}: {error}")
        try:
            self._tell()
        except OSError:
            pass  # the state directory itself may be what fails; the journal gets the event once it works

    def _reload(self, *, forgive: bool) -> None:
        self._notifier.reloading()
        try:
            config = self._load()
        except (MountwardenError, OSError) as error:
            self._kept = str(error)
            self._note(EventKind.CONFIG_KEPT, self._kept)
        else:
            self._kept = None
            self._scanner.config = config
            self._schedule.tick, self._schedule.resync = config.tick, config.resync
            self._schedule.full = float("-inf")
        if forgive:
            self._ledger = breaker.forgive(self._ledger)
        self._tell()
        self._publisher.stale()
        self._schedule.woken(_boot())
        self._notifier.ready()

    def _watch(self, scan: Scan) -> None:
        """Watch what the roots of this look ask for; asked for again when they change or a watched directory went."""
        roots = frozenset(
            state.root.path for state in scan.picture.roots if state.mount is not None and local(state.mount.fstype)
        )
        if self._watched != roots:
            self._triggers.watch(watch_list(roots, self._directory))
            self._watched = roots
        if self._changed:
            self._changed = False
            self._load_what_was_missed()

    def _load_what_was_missed(self) -> None:
        """A file may have come into a new directory after we read it and before we watched it."""
        try:
            missed = self._load() != self._scanner.config
        except (MountwardenError, OSError):
            missed = self._kept is None
        if missed:
            self._reload(forgive=False)

    def _note(self, kind: EventKind, text: str, *data: tuple[str, str]) -> None:
        event = Event(kind, f"{kind}.{_boot() * 1e6:.0f}", time.time(), text, data=data)
        self._ledger = book.note(self._ledger, event)

    def _tell_missed(self, scan: Scan) -> None:
        """Told at once, and then once a minute."""
        for missed in scan.missed:
            told, count = self._missed.get(missed.reason, (float("-inf"), 0))
            if (now := _boot()) - told >= MISSED_SECONDS:
                self._note(EventKind.MISSED, missed.text, ("COUNT", str(count + 1)))
                told, count = now, -1
            self._missed[missed.reason] = told, count + 1
            if missed.reason == "overflow":
                self._publisher.woken((Wake.OVERFLOW,))

    def _tell(self) -> None:
        self._ledger = self._teller.tell(self._ledger)

    def _tell_now(self, ledger: book.Ledger) -> book.Ledger:
        """For the actor: what it did is saved and told before the next act."""
        self._sign_of_life()
        return self._teller.tell(ledger)


def _boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _now() -> Now:
    return Now(time.time(), _boot())


def _cpu() -> float:
    """Processor seconds of this process and its children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
