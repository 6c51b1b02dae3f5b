"""io.systemd.Metrics: what the metrics file says, for systemd's own reports."""

from collections.abc import Iterator

from ...output import metrics
from ...output.metrics import Counts
from ...report.types import ReportJson
from .interfaces import OWN


def families() -> Iterator[dict[str, object]]:
    """Each metric, described."""
    for metric in metrics.METRICS:
        yield {"name": _name(metric.name), "description": metric.help, "type": str(metric.type)}


def values(report: ReportJson, counts: Counts) -> Iterator[dict[str, object]]:
    """Each value, with what tells it from others of its family."""
    known = metrics.samples(report, counts)
    for metric in metrics.METRICS:
        for labels, value in known[metric.name].items():
            fields = dict(zip(metric.labels, labels, strict=True))
            number = int(value) if value == int(value) else value
            yield {"name": _name(metric.name), "value": number} | ({"fields": fields} if fields else {})


def _name(name: str) -> str:
    """systemd writes names of families as io.systemd.Manager.UnitsByTypeTotal."""
    return f"{OWN}." + "".join(word.capitalize() for word in name.split("_")[1:])
