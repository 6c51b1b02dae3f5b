"""The text file for node_exporter's textfile collector, in Prometheus' exposition format. Pure.

Each metric is declared once, with its type, unit and labels; what is emitted goes through its declaration.
"""

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ..escape import seconds
from ..model import Kind, Severity, Tier
from ..report.types import FindingJson, ReportJson


class Type(enum.StrEnum):
    """What a metric's value means."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Metric:
    """A declaration. The unit is the last part of the name, as Prometheus requires; a counter ends in _total."""

    name: str
    type: Type
    unit: str
    help: str
    labels: tuple[str, ...] = ()


FINDINGS = Metric(
    "mountwarden_findings",
    Type.GAUGE,
    "",
    "Confirmed findings that are not silenced: one for a mountpoint, however many namespaces have copies of it.",
    ("kind", "engine", "severity"),
)
HELD = Metric(
    "mountwarden_held_mounts",
    Type.GAUGE,
    "",
    "Mounts that those findings are about, in all namespaces; of what is pinned there is none left.",
    ("kind", "engine", "severity"),
)
OLDEST = Metric(
    "mountwarden_oldest_finding_timestamp_seconds",
    Type.GAUGE,
    "seconds",
    "When the oldest finding that counts (warning or worse) was first seen; 0 for none.",
)
EVENTS = Metric(
    "mountwarden_events_total",
    Type.COUNTER,
    "",
    "Times since the service's start that it was woken: by mounts on the host, a unit's job, or a watched directory.",
    ("source",),
)
OVERFLOWS = Metric(
    "mountwarden_overflows_total",
    Type.COUNTER,
    "",
    "Times since the service's start that the kernel lost count of events; each is answered by a full scan.",
)
ACTS = Metric(
    "mountwarden_acts_total",
    Type.COUNTER,
    "",
    "Actions of the service since its start, by action and result (done, or why not).",
    ("action", "result"),
)
TAKEN = Metric(
    "mountwarden_look_timestamp_seconds", Type.GAUGE, "seconds", "When the scan was taken that this file describes."
)
LOOK = Metric("mountwarden_look_duration_seconds", Type.GAUGE, "seconds", "How long that scan took.")
ROOTS = Metric("mountwarden_roots", Type.GAUGE, "", "Guarded roots.")
NAMESPACES = Metric("mountwarden_namespaces", Type.GAUGE, "", "Mount namespaces seen.")
MOUNTS = Metric("mountwarden_mounts", Type.GAUGE, "", "Mounts seen, in all namespaces.")
GAPS = Metric("mountwarden_gaps", Type.GAUGE, "", "Things that could not be read.")
TIER = Metric("mountwarden_tier", Type.GAUGE, "", "1 for the kernel interface in use.", ("tier",))
PAUSED = Metric("mountwarden_paused", Type.GAUGE, "", "1 while actions are paused.")
OBSERVING = Metric("mountwarden_observing", Type.GAUGE, "", "1 where the mode is observe.")

METRICS = (
    FINDINGS,
    HELD,
    OLDEST,
    ACTS,
    EVENTS,
    OVERFLOWS,
    TAKEN,
    LOOK,
    ROOTS,
    NAMESPACES,
    MOUNTS,
    GAPS,
    TIER,
    PAUSED,
    OBSERVING,
)
"""All there are, in the order of the file."""

Samples = Mapping[tuple[str, ...], float]
"""Values of labels, in the order of the declaration, to the value."""


SOURCES = ("mounts", "units", "roots", "engines", "config")
"""What of the host wakes the service: home's mounts, services' jobs, and the directories of roots, engines and our
configuration.
"""
OVERFLOW = "overflow"


@dataclass(frozen=True, slots=True)
class Counts:
    """What the service counted since its start."""

    acts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By action and result."""
    wakes: Mapping[str, int] = field(default_factory=dict)
    """By source, overflows among them."""


def render(report: ReportJson, counts: Counts) -> str:
    """The whole file."""
    known = samples(report, counts)
    return "".join(line for metric in METRICS for line in _lines(metric, known[metric.name]))


def samples(report: ReportJson, counts: Counts) -> dict[str, Samples]:
    """The values of each metric, by its name and by the values of its labels."""
    summary = report["summary"]
    return {
        FINDINGS.name: _findings(report, lambda _finding: 1),
        HELD.name: _findings(report, lambda one: 0 if one["kind"] == Kind.PINNED else one["count"]),
        OLDEST.name: {(): _oldest(report)},
        ACTS.name: {key: float(value) for key, value in sorted(counts.acts.items())},
        EVENTS.name: {(source,): float(counts.wakes.get(source, 0)) for source in SOURCES},
        OVERFLOWS.name: {(): float(counts.wakes.get(OVERFLOW, 0))},
        TAKEN.name: {(): seconds(report["taken"])},
        LOOK.name: {(): report["took_seconds"]},
        ROOTS.name: {(): summary["roots"]},
        NAMESPACES.name: {(): summary["namespaces"]},
        MOUNTS.name: {(): summary["mounts"]},
        GAPS.name: {(): sum(gap["count"] for gap in report["gaps"])},
        TIER.name: {(str(tier),): float(report["tier"] == tier) for tier in Tier},
        PAUSED.name: {(): float(report["paused"])},
        OBSERVING.name: {(): float(report["mode"] == "observe")},
    }


def _findings(report: ReportJson, number: Callable[[FindingJson], int]) -> Samples:
    """The sum of what `number` says of each that counts.

    One series for each kind, engine of a root and severity that there can be: one that ends goes to 0, not away.
    """
    engines = sorted({root["engine"] for root in report["roots"]})
    counts: dict[tuple[str, ...], float] = {
        (kind, engine, str(severity)): 0.0
        for kind in report["summary"]["by_kind"]
        for engine in engines
        for severity in Severity
    }
    for finding in report["findings"]:
        if finding["confirmed"] and not finding["silenced"]:
            key = (finding["kind"], finding["engine"], finding["severity"])
            counts[key] = counts.get(key, 0.0) + number(finding)
    return counts


def _oldest(report: ReportJson) -> float:
    times = (
        seconds(finding["since"])
        for finding in report["findings"]
        if finding["since"] and finding["confirmed"] and not finding["silenced"]
        if finding["severity"] != Severity.INFO
    )
    return min(times, default=0.0)


def _lines(metric: Metric, samples: Samples) -> Iterable[str]:
    yield f"# HELP {metric.name} {metric.help}\n"
    yield f"# TYPE {metric.name} {metric.type}\n"
    for values, value in samples.items():
        labels = ",".join(f'{name}="{_escaped(text)}"' for name, text in zip(metric.labels, values, strict=True))
        yield f"{metric.name}{'{' + labels + '}' if labels else ''} {_number(value)}\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
