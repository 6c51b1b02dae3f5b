"""What the service reports of itself: status.json for `mountwarden status`, and the line in systemctl status. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..escape import printable, sentence, timestamp
from ..ledger.breaker import left_alone
from ..model import Outcome, Severity
from ..output.columns import count
from ..report.types import ReportJson
from ..state.pause import Pause

if TYPE_CHECKING:
    from .results import Results

SCHEMA = "mountwarden.status/1"


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What the service knows of itself."""

    started: float
    """Seconds since the Epoch at which the service started."""
    pid: int
    actions: tuple[Mapping[str, Any], ...]
    """The last ones, as `action` has them."""
    inotify: bool
    unit_signals: bool
    """Whether systemd signals services' jobs; without, as without inotify, the tick sees what happens."""
    unsaved: str | None = None
    """Which files can't be written, and why; None where all can be."""


def build(report: ReportJson, results: "Results", service: ServiceState) -> dict[str, Any]:
    """The document."""
    return {
        "schema": SCHEMA,
        "version": __version__,
        "pid": service.pid,
        "started": timestamp(service.started),
        "mode": report["mode"],
        "paused": paused(results.pause),
        "config_kept": results.kept,
        "unsaved": service.unsaved,
        "tier": report["tier"],
        "tier_reason": results.scan.tier_reason,
        "superblock_test": str(results.scan.superblock_test[0]),
        "superblock_test_reason": results.scan.superblock_test[1],
        "inotify": service.inotify,
        "unit_signals": service.unit_signals,
        "look": {
            "taken": report["taken"],
            "took_seconds": report["took_seconds"],
            "cpu_seconds": round(results.cost, 6),
            "complete": report["complete"],
        },
        "summary": report["summary"],
        "confirmed": counted(report),
        "gaps": report["gaps"],
        "roots": report["roots"],
        "left_alone": [printable(path) for path in left_alone(results.ledger)],
        "acts": list(service.actions),
    }


def action(outcome: Outcome, at: float) -> dict[str, Any]:
    """One action for the list of the last ones. `at` is in seconds since the Epoch."""
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


def line(report: ReportJson, pause: Pause | None, kept: str | None, unsaved: str | None = None) -> str:
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
    if unsaved:
        parts.append(unsaved)
    return "; ".join(parts)


def counted(report: ReportJson) -> int:
    """How many findings count: confirmed, not silenced, warning at least."""
    return sum(
        finding["confirmed"] and not finding["silenced"] and finding["severity"] != Severity.INFO
        for finding in report["findings"]
    )
