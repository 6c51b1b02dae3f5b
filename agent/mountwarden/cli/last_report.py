"""The service's last report as the source of answers, for users who may not scan, where the service does not answer."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from ..errors import MountwardenError
from ..escape import seconds
from ..model import Severity
from ..output.columns import age
from ..report import types
from ..report.answers import ExplainedJson, PlannedJson, explained
from ..report.outcomes import OutcomeJson
from . import finding_ids, service_report
from .source import Order


class LastReport:
    """What report.json says, while it can be relied on."""

    def __init__(self) -> None:
        """Raises: MountwardenError where there is none that can be relied on, with how to get one."""
        self._document = service_report.last()
        old = age(time.time() - seconds(self._document["taken"]))
        self.note: str | None = f"the service's report of {old} ago; a scan now needs root"

    def report(self, *, wait: float, everything: bool = False) -> types.ReportJson:
        """As AnswerSource.report, but of then."""
        return self._document

    def explain(self, finding_id: str, *, wait: float) -> ExplainedJson:
        """As AnswerSource.explain, with what the report has. Raises: MountwardenError where it has no such finding."""
        by_id = {finding["id"]: finding for finding in self._document["findings"]}
        (name,) = finding_ids.resolved([finding_id], by_id)
        if name not in by_id:
            raise finding_ids.unknown(name, by_id)
        return explained(by_id[name], {}, None)

    def plan(self, ids: Sequence[str], *, wait: float) -> list[PlannedJson]:
        """As AnswerSource.plan, without steps."""
        wanted = finding_ids.resolved(ids, [finding["id"] for finding in self._document["findings"]])
        chosen = [
            f for f in self._document["findings"] if (f["id"] in wanted if ids else f["severity"] != Severity.INFO)
        ]
        return [planned_as_told(finding) for finding in chosen]

    def act(self, order: Order, go_on: Callable[[], bool]) -> Iterable[OutcomeJson]:
        """Raises: MountwardenError, since it can't."""
        return _no_root(order)

    def close(self) -> None:
        """Nothing is open."""


def _no_root(order: Order) -> NoReturn:
    raise MountwardenError(f"mountwarden {order.action} needs root", hint="run it as root")


def planned_as_told(finding: types.FindingJson) -> PlannedJson:
    """The plan of a finding of a report, which has no steps."""
    return {
        "id": finding["id"],
        "kind": finding["kind"],
        "severity": finding["severity"],
        "mountpoint": finding["mountpoint"],
        "remedies": [{**remedy, "steps": []} for remedy in finding["remedies"]],
    }
