"""The running service's report, for commands that scan by themselves or may not scan."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..config.schema import Mode
from ..errors import MountwardenError
from ..escape import seconds
from ..model import Cause, Evidence, Finding, Severity
from ..output import report_file
from ..output.columns import age
from ..report import types
from ..state import run_directory


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """The last report of the service; None where it does not run, or its report can't be relied on."""

    report: types.ReportJson | None

    @property
    def mode(self) -> Mode | None:
        """Whether it takes actions or only observes."""
        return None if self.report is None else Mode(self.report["mode"])

    def since(self) -> dict[str, float]:
        """The ids of what it has confirmed, with the time (seconds since the Epoch) since which it sees it."""
        return {f["id"]: seconds(f["since"]) for f in self.findings if f["confirmed"] and f["since"]}

    def as_known(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """The findings with its evidence: it may have seen the mount in home before that was unmounted."""
        known = {f["id"]: f for f in self.findings}
        return tuple(_as_seen(finding, known.get(finding.id)) for finding in findings)

    @property
    def findings(self) -> list[types.FindingJson]:
        """Its findings, confirmed or not."""
        return self.report["findings"] if self.report else []


def _as_seen(finding: Finding, document: types.FindingJson | None) -> Finding:
    """With the evidence of the report; what the scan could only suspect gets the severity of the report too."""
    if document is None or not document["evidence"]:
        return finding
    theirs = {(copy["namespace"]["inode"], copy["mount_id"]["small"]) for copy in document["copies"]}
    if theirs.isdisjoint((copy.namespace, copy.mount_id) for copy in finding.copies):
        return finding
    seen = replace(finding, evidence=Evidence(document["evidence"]))
    if document["cause"] and (cause := Cause(**document["cause"])).is_known:
        seen = replace(seen, cause=cause)  # of the time when the copies were left: a rejoin hides it from a scan
    if finding.evidence is not Evidence.CLAIMED:
        return seen
    return replace(seen, severity=Severity(document["severity"]), detail=document["detail"] or "")


def read(boot_id: str, path: str = report_file.PATH) -> ServiceReport:
    """The report as it is now. A command that scans reads it before the scan, and again after it."""
    try:
        document = report_file.read(path)
    except (OSError, MountwardenError):
        return ServiceReport(None)
    return ServiceReport(None if document["host"]["boot_id"] != boot_id or stale(document, time.time()) else document)


def stale(document: types.ReportJson, now: float) -> str | None:
    """Why a stored report can't be relied on any more; None when it can."""
    if report_file.agent_is_gone(document):
        return "the service that wrote it has ended"
    old = now - seconds(document["taken"])
    resync = document["agent"]["resync"] if document["agent"] else 0.0
    return f"it is {age(old)} old" if old > 3 * resync else None


def last(path: str = report_file.PATH, now: float | None = None) -> types.ReportJson:
    """The service's last report, for users who may not scan.

    Raises: MountwardenError where there is none that can be relied on, with how to get one.
    """
    try:
        document = report_file.read(path)
    except FileNotFoundError:
        hint = "run it as root, or start the service: systemctl start mountwarden"
        raise MountwardenError("a scan needs root, and there is no report of the service", hint=hint) from None
    except PermissionError:
        hint = f"run it as root, or become a member of the group {run_directory.READERS}"
        raise MountwardenError("a scan needs root, and the service's report may not be read", hint=hint) from None
    if why := stale(document, time.time() if now is None else now):
        hint = "run it as root, or restart the service: systemctl restart mountwarden"
        raise MountwardenError(f"a scan needs root, and the service's last report is stale: {why}", hint=hint)
    return document
