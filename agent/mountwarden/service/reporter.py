"""What the service remembers from scan to scan, and what it reports to the journal.

Each step leaves the ledger's file and the journal right if the service is killed behind it; see `outbox` and `breaker`.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from ..config.schema import Config
from ..errors import MountwardenError
from ..escape import timestamp
from ..ledger import breaker, update
from ..ledger.update import Ledger, Now
from ..model import Event, EventKind, Finding, Gap, Missed, Picture
from ..scan.result import Scan
from ..state.pause import Pause
from .outbox import Outbox

EXPLAINED = 50
"""Findings whose causes are asked for in one cycle; the others of a burst are reported without."""
MISSED_SECONDS = 60.0
"""How often missed mount events are reported at most."""

Explain = Callable[[Iterable[Finding], Picture], tuple[tuple[Finding, ...], tuple[Gap, ...]]]
"""Fills in the causes of findings."""


class Reporter:
    """Holds the ledger of this boot, and puts into it what is to be reported."""

    def __init__(self, outbox: Outbox, explain: Explain, boot_id: str) -> None:
        self.ledger = Ledger(boot_id)
        self._outbox = outbox
        self._explain = explain
        self._missed: dict[str, tuple[float, int]] = {}
        """By reason: when it was last reported, in seconds of CLOCK_BOOTTIME, and how often it was not since."""

    def load(self) -> str | None:
        """Go on with the saved ledger; why a new one was started, None when it was not."""
        self.ledger, why = self._outbox.load(self.ledger.boot_id)
        self.ledger = breaker.interrupted(self.ledger, now())
        return why

    def note(self, kind: EventKind, text: str, *data: tuple[str, str]) -> None:
        """Put an event that is about no finding in line to be reported."""
        moment = now()
        event = Event(kind, f"{kind}.{moment.boot * 1e6:.0f}", moment.wall, text, data=data)
        self.ledger = update.note(self.ledger, event)

    def note_missed(self, missed: Iterable[Missed]) -> None:
        """Missed mount events: each reason is reported at once, and then once in `MISSED_SECONDS` with its count."""
        for one in missed:
            reported, count = self._missed.get(one.reason, (float("-inf"), 0))
            if (moment := now().boot) - reported >= MISSED_SECONDS:
                self.note(EventKind.MISSED, one.text, ("COUNT", str(count + 1)))
                reported, count = moment, -1
            self._missed[one.reason] = reported, count + 1

    def note_pause(self, pause: Pause | None) -> None:
        """The pause in force, None for none: its begin and its end are reported."""
        if pause is not None and not self.ledger.paused:
            until = "the next boot" if pause.until is None else timestamp(pause.until)
            self.note(EventKind.PAUSED, pause.reason or "no reason was given", ("UNTIL", until))
        elif pause is None and self.ledger.paused:
            self.note(EventKind.RESUMED, "actions go on")
        self.ledger = replace(self.ledger, paused=pause is not None)

    def remember(self, scan: Scan, moment: Now, config: Config) -> tuple[Finding, ...]:
        """Take in what a scan found, with causes for what is to be reported now; returns the findings as remembered."""
        self.ledger = update.awake(self.ledger, moment.boot, asleep())
        due = update.due(self.ledger, scan.findings, moment, config)
        causes = self._with_causes([finding for finding in scan.findings if finding.id in due], scan.picture)
        findings = [causes.get(finding.id, finding) for finding in scan.findings]
        unjudged = frozenset(state.root.path for state in scan.picture.roots if state.status != "ok")
        self.ledger, _ = update.update(
            self.ledger,
            findings,
            moment,
            config,
            gaps=scan.gaps,
            unjudged=unjudged,
            namespaces=scan.picture.namespaces,
        )
        return update.annotate(self.ledger, scan.findings, moment, config)

    def stopped(self) -> None:
        """This service did not run for a while, and perhaps nothing did: what is not confirmed must hold anew."""
        self.ledger = update.anew(self.ledger, now().boot)

    def _with_causes(self, findings: list[Finding], picture: Picture) -> dict[str, Finding]:
        """By id, with their causes. Where none can be had, reporting late would be worse than reporting without."""
        if not findings:
            return {}
        try:
            explained, _gaps = self._explain(findings[:EXPLAINED], picture)
        except (OSError, MountwardenError):
            return {}
        return {finding.id: finding for finding in explained}

    def report(self) -> None:
        """Save the ledger, and report what is pending. Never raises: it goes on from memory."""
        self.ledger = self.report_ledger(self.ledger)

    def report_ledger(self, ledger: Ledger) -> Ledger:
        """The same for a ledger that is being worked on; returns it with what the journal did not take."""
        return self._outbox.report(ledger)

    def save(self) -> None:
        """Save the ledger."""
        self._outbox.save(self.ledger)


def asleep() -> float:
    """Seconds of this boot in which the host was suspended, which CLOCK_MONOTONIC does not count."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def now() -> Now:
    """This moment, as the ledger has it."""
    return Now(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
