"""Writes what the service shows: report.json, status.json, and the line in systemctl status."""

import collections
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..config.schema import Config
from ..escape import printable as printable
from ..ledger.update import Ledger
from ..model import Finding, Outcome
from ..output import metrics, report_file
from ..report import assemble as report_facts
from ..report import build as reporting
from ..report.types import ReportJson
from ..scan.scanner import Scan
from ..state import run_directory
from ..state.pause import Pause
from ..state.run_directory import RunDirectory
from ..systemd.notify import Notifier
from . import status
from .actions import told_circumstances
from .triggers import Triggers, Wake

OFTEN = 10.0
"""Seconds after which the files are written again though nothing changed: their age is how readers trust them."""
ACTS = 10
"""Last acts that the status shows."""
EVERYBODY = 0o644
"""node_exporter runs as a user of its own; the metrics hold counts and no name of the host."""


class Publisher:
    """Writes when something changed, else now and then."""

    def __init__(self, run: RunDirectory, notifier: Notifier, triggers: Triggers) -> None:
        self._run, self._notifier, self._triggers = run, notifier, triggers
        self._started = time.time()
        self._acts: collections.deque[dict[str, Any]] = collections.deque(maxlen=ACTS)
        self._counted: collections.Counter[tuple[str, str]] = collections.Counter()
        self._wakes: collections.Counter[str] = collections.Counter()
        self._shown: object = None
        self._written = float("-inf")
        self._complained = set[Path]()

    def woken(self, wakes: Iterable[Wake]) -> None:
        """Count what woke the service."""
        self._wakes.update(str(wake) for wake in wakes)

    def stale(self) -> None:
        """What is shown is out of date: write with the next look."""
        self._shown = None

    def publish(
        self,
        scan: Scan,
        findings: Iterable[Finding],
        config: Config,
        ledger: Ledger,
        pause: Pause | None,
        kept: str | None,
        cost: float,
        outcomes: Iterable[Outcome],
    ) -> None:
        """Show what one look found and what was done about it. A file that can't be written is said once."""
        findings, outcomes = tuple(findings), tuple(outcomes)
        self._counted.update((str(outcome.action), outcome.code) for outcome in outcomes)
        self._acts.extend(status.act(outcome, time.time()) for outcome in outcomes)
        last = self._acts[-1] if self._acts else None
        told = self._triggers.has_unit_signals
        shown = (findings, scan.picture.roots, scan.gaps, config, pause, kept, last, told)
        if shown == self._shown and time.monotonic() - self._written < min(OFTEN, config.resync):
            return
        facts = report_facts.facts(
            scan,
            findings,
            config,
            circumstances=told_circumstances(self._run, ledger, config),
            agent=(os.getpid(), config.resync),
        )
        report = reporting.build(facts)
        document = status.build(
            status.StatusFacts(
                report,
                ledger,
                scan.tier_reason,
                cost,
                self._started,
                os.getpid(),
                pause,
                kept,
                tuple(self._acts),
                self._triggers.has_inotify,
                told,
            )
        )
        try:
            report_file.write(report, str(self._run.report))
            run_directory.write(self._run.status, json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n")
        except OSError as error:
            self._complain(self._run.path, error)
        self._write_metrics(config, report)
        self._shown, self._written = shown, time.monotonic()
        self._notifier.status(status.line(report, pause, kept))

    def _write_metrics(self, config: Config, report: ReportJson) -> None:
        if config.metrics is None:
            return
        path = Path(os.fsdecode(config.metrics))
        try:
            run_directory.write(
                path, metrics.render(report, metrics.Counts(self._counted, self._wakes)).encode(), EVERYBODY
            )
        except OSError as error:
            self._complain(path, error)

    def _complain(self, path: Path, error: OSError) -> None:
        if path not in self._complained:
            print(
                f"<4>{printable(bytes(path))} can't be written, ignoring: {error.strerror}", file=sys.stderr, flush=True
            )
        self._complained.add(path)
