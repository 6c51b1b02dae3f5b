"""What the running agent tells in its report, for commands that look by themselves."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..config.schema import Mode
from ..errors import MountwardenError
from ..escape import seconds
from ..model import Evidence, Finding, Severity
from ..output import report_file
from ..report import types


@dataclass(frozen=True, slots=True)
class Agents:
    """The report that the agent has last written; None without an agent, or where it can't be relied on."""

    told: types.ReportJson | None

    @property
    def mode(self) -> Mode | None:
        """Whether it acts or only observes."""
        return None if self.told is None else Mode(self.told["mode"])

    def since(self) -> dict[str, float]:
        """What it has confirmed, by id, with the time since which it sees it."""
        return {f["id"]: seconds(f["since"]) for f in self.findings if f["confirmed"] and f["since"]}

    def as_known(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """The findings with its evidence: it may have seen home's mount before that went."""
        known = {(f["id"], f["mount_id"]["small"]): f for f in self.findings}
        return tuple(_as_seen(finding, known.get((finding.id, finding.mount_id))) for finding in findings)

    @property
    def findings(self) -> list[types.FindingJson]:
        """What it tells, confirmed or not."""
        return self.told["findings"] if self.told else []


def _as_seen(finding: Finding, told: types.FindingJson | None) -> Finding:
    """With the evidence that was told of it; what the look itself could only suspect is then as bad as was told."""
    if told is None or not told["evidence"]:
        return finding
    seen = replace(finding, evidence=Evidence(told["evidence"]))
    if finding.evidence is not Evidence.CLAIMED:
        return seen
    return replace(seen, severity=Severity(told["severity"]), detail=told["detail"] or "")


def read(boot_id: str, path: str = report_file.PATH) -> Agents:
    """What it tells by now. A command that waits reads once before its look, and once after."""
    try:
        told = report_file.read(path)
    except (OSError, MountwardenError):
        return Agents(None)
    return Agents(None if told["host"]["boot_id"] != boot_id or stale(told, time.time()) else told)


def stale(told: types.ReportJson, now: float) -> str | None:
    """Why a stored report can't be relied on any more; None when it can."""
    from ..output.columns import age

    if report_file.agent_is_gone(told):
        return "the agent that wrote it has ended"
    old = now - seconds(told["taken"])
    resync = told["agent"]["resync"] if told["agent"] else 0.0
    return f"it is {age(old)} old" if old > 3 * resync else None
