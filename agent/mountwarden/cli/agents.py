"""What the running agent tells in its report, for commands that look by themselves."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..config import Mode
from ..errors import MountwardenError
from ..model import Evidence, Finding
from ..tell import report, shape, stored


@dataclass(frozen=True, slots=True)
class Agents:
    """The report that the agent has last written; None without an agent, or where it can't be relied on."""

    told: shape.ReportJson | None

    @property
    def mode(self) -> Mode | None:
        """Whether it acts or only observes."""
        return None if self.told is None else Mode(self.told["mode"])

    def since(self) -> dict[str, float]:
        """What it has confirmed, by id, with the time since which it sees it."""
        return {f["id"]: report.seconds(f["since"]) for f in self.findings if f["confirmed"] and f["since"]}

    def as_known(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """The findings with its evidence: it may have seen home's mount before that went."""
        known = {(f["id"], f["mount_id"] and f["mount_id"]["small"]): f["evidence"] for f in self.findings}
        return tuple(
            replace(finding, evidence=Evidence(evidence)) if evidence else finding
            for finding in findings
            for evidence in (known.get((finding.id, finding.mount_id)),)
        )

    @property
    def findings(self) -> list[shape.FindingJson]:
        """What it tells, confirmed or not."""
        return self.told["findings"] if self.told else []


def read(boot_id: str, path: str = stored.PATH) -> Agents:
    """What it tells by now. A command that waits reads once before its look, and once after."""
    try:
        told = stored.read(path)
    except (OSError, MountwardenError):
        return Agents(None)
    return Agents(None if told["host"]["boot_id"] != boot_id or stale(told, time.time()) else told)


def stale(told: shape.ReportJson, now: float) -> str | None:
    """Why a stored report can't be relied on any more; None when it can."""
    from ..tell.text import age

    if stored.agent_is_gone(told):
        return "the agent that wrote it has ended"
    old = now - report.seconds(told["taken"])
    resync = told["agent"]["resync"] if told["agent"] else 0.0
    return f"it is {age(old)} old" if old > 3 * resync else None
