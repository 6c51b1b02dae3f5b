"""Writes what the service shows: report.json, status.json, the metrics, and the line in systemctl status."""

import collections
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..config.schema import Config
from ..files import check_directory
from ..model import Outcome
from ..output import metrics, report_file
from ..report import assemble, build
from ..report.types import ReportJson
from ..state import run_directory
from ..state.run_directory import RunDirectory
from ..systemd.notify import Notifier
from . import status
from .actions import reported_circumstances
from .results import Results
from .triggers import Triggers, Wake
from .unsaved import Unsaved

OFTEN = 30.0
"""Seconds after which the files are written again though nothing changed: their age is how readers trust them."""
ACTIONS = 10
"""Last actions that the status shows."""
EVERYBODY = 0o644
"""node_exporter runs as a user of its own; the metrics hold counts and no name of the host."""


class Publisher:
    """Writes when something changed, else now and then."""

    def __init__(
        self, run: RunDirectory, notifier: Notifier, triggers: Triggers, unsaved: Unsaved | None = None
    ) -> None:
        self._run, self._notifier, self._triggers = run, notifier, triggers
        self._started = time.time()
        self._actions: collections.deque[dict[str, Any]] = collections.deque(maxlen=ACTIONS)
        self._counted: collections.Counter[tuple[str, str]] = collections.Counter()
        self._wakes: collections.Counter[str] = collections.Counter()
        self._shown: object = None
        self._written = float("-inf")
        self._unsaved = unsaved or Unsaved()

    def woken(self, wakes: Iterable[Wake]) -> None:
        """Count what woke the service."""
        self._wakes.update(str(wake) for wake in wakes)

    def stale(self) -> None:
        """What is shown is out of date: write after the next scan."""
        self._shown = None

    def publish(self, results: Results) -> None:
        """Show what one scan led to, if it is anything new or the files are old."""
        self._count(results.outcomes)
        self._unsaved.look()
        shown = self._what_is_shown(results)
        if shown == self._shown and time.monotonic() - self._written < min(OFTEN, results.config.resync):
            return
        report = self.report(results)
        self._write(report, results)
        self._write_metrics(results.config, report)
        self._shown, self._written = shown, time.monotonic()
        self._notifier.status(status.line(report, results.pause, results.kept, self._unsaved.text))

    def _count(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self._counted[str(outcome.action), outcome.code] += 1
            self._actions.append(status.action(outcome, time.time()))

    def _what_is_shown(self, results: Results) -> object:
        """All that is worth writing the files anew when it changes."""
        scan, last = results.scan, self._actions[-1] if self._actions else None
        roots = [(one.root, one.home, one.mount, one.bases, one.stacks, one.status) for one in scan.picture.roots]
        found = (results.findings, roots, scan.gaps)
        service = (self._triggers.has_inotify, self._triggers.has_unit_signals, self._unsaved.text)
        return found, results.config, results.pause, results.kept, last, service

    @property
    def counts(self) -> metrics.Counts:
        """What was counted since the start."""
        return metrics.Counts(self._counted, self._wakes)

    def facts(self, results: Results) -> build.ReportFacts:
        """What there is to report of one scan, with the remedies of its findings."""
        return assemble.facts(
            results.scan,
            results.findings,
            results.config,
            circumstances=reported_circumstances(self._run, results.ledger, results.config),
            agent=(os.getpid(), results.config.resync),
        )

    def report(self, results: Results) -> ReportJson:
        """The report of one scan."""
        return build.build(self.facts(results))

    def status(self, report: ReportJson, results: Results) -> dict[str, Any]:
        """The service's status after it."""
        service = status.ServiceState(
            started=self._started,
            pid=os.getpid(),
            actions=tuple(self._actions),
            inotify=self._triggers.has_inotify,
            unit_signals=self._triggers.has_unit_signals,
            unsaved=self._unsaved.text,
        )
        return status.build(report, results, service)

    def _write(self, report: ReportJson, results: Results) -> None:
        """Write both documents, as far as they can be."""
        left_out = 0

        def write_report() -> None:
            nonlocal left_out
            left_out = report_file.write(report, str(self._run.report))

        if self._unsaved.write(self._run.report, write_report):
            self._unsaved.left_out(self._run.report, left_out)
        document = report_file.compact(self.status(report, results))
        self._unsaved.write(self._run.status, lambda: run_directory.write(self._run.status, document))

    def _write_metrics(self, config: Config, report: ReportJson) -> None:
        if config.metrics is None:
            return
        path = Path(os.fsdecode(config.metrics))
        text = metrics.render(report, self.counts)

        def write() -> None:
            check_directory(path.parent if path.parent.exists() else path.parent.parent)
            run_directory.write(path, text.encode(), EVERYBODY)

        self._unsaved.write(path, write)
