"""What the service says of itself: status.json for `mountwarden status`, and the line in systemctl status. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import __version__
from ..escape import printable, sentence, timestamp
from ..ledger.breaker import left_alone
from ..ledger.update import Ledger
from ..model import Outcome, Severity
from ..output.columns import count
from ..report.types import ReportJson
from ..state.pause import Pause

SCHEMA = "mountwarden.status/1"


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """What a status is made of."""

    report: ReportJson
    ledger: Ledger
    tier_reason: str
    cost: float
    """Processor seconds of the last look."""
    started: float
    """Seconds since the Epoch at which the service started."""
    pid: int
    pause: Pause | None
    kept: str | None
    """Why the old configuration is kept; None when it is not."""
    acts: tuple[Mapping[str, Any], ...]
    inotify: bool
    unit_signals: bool
    """Whether systemd tells of services' jobs; without, as without inotify, the tick sees what happens."""


def build(facts: StatusFacts) -> dict[str, Any]:
    """The document."""
    report = facts.report
    return {
        "schema": SCHEMA,
        "version": __version__,
        "pid": facts.pid,
        "started": timestamp(facts.started),
        "mode": report["mode"],
        "paused": paused(facts.pause),
        "config_kept": facts.kept,
        "tier": report["tier"],
        "tier_reason": facts.tier_reason,
        "inotify": facts.inotify,
        "unit_signals": facts.unit_signals,
        "look": {
            "taken": report["taken"],
            "took_seconds": report["took_seconds"],
            "cpu_seconds": round(facts.cost, 6),
            "complete": report["complete"],
        },
        "summary": report["summary"],
        "confirmed": counted(report),
        "gaps": report["gaps"],
        "roots": report["roots"],
        "left_alone": [printable(path) for path in left_alone(facts.ledger)],
        "acts": list(facts.acts),
    }


def act(outcome: Outcome, at: float) -> dict[str, Any]:
    """One act for the list of the last ones."""
    return {
        "at": timestamp(at),
        "action": str(outcome.action),
        "finding": outcome.finding.id,
        "mountpoint": printable(outcome.finding.mountpoint),
        "done": outcome.done,
        "code": outcome.code,
        "text": sentence(outcome.text),
    }


def paused(pause: Pause | None) -> dict[str, Any] | None:
    """A pause as JSON."""
    if pause is None:
        return None
    until = None if pause.until is None else timestamp(pause.until)
    return {"since": timestamp(pause.since), "until": until, "reason": printable(pause.reason)}


def line(report: ReportJson, pause: Pause | None, kept: str | None) -> str:
    """One line for systemctl status."""
    roots, found = report["summary"]["roots"], counted(report)
    parts = [f"{count(roots, 'root')}, {count(report['summary']['namespaces'], 'namespace')}"]
    parts.append(count(found, "finding") if found else "nothing found")
    if report["mode"] == "observe":
        parts.append("only observing")
    if pause is not None:
        parts.append("paused" if pause.until is None else f"paused until {timestamp(pause.until)}")
    if report["gaps"]:
        parts.append(count(sum(gap["count"] for gap in report["gaps"]), "gap"))
    if kept:
        parts.append(f"old configuration kept: {sentence(kept)}")
    return "; ".join(parts)


def counted(report: ReportJson) -> int:
    """How many findings count: confirmed, not silenced, warning at least."""
    return sum(
        finding["confirmed"] and not finding["silenced"] and finding["severity"] != Severity.INFO
        for finding in report["findings"]
    )
