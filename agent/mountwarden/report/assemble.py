"""From a scan to the facts of a report: causes, remedies, policies. The agent makes its report.json by the same way."""

import os
import platform
from collections.abc import Iterable
from dataclasses import replace

from ..config.schema import Config, Mode
from ..explain import shared_causes
from ..model import Action, Evidence, Finding, Kind, Policy, Reach, Root, Severity
from ..remedies.plan import Circumstances, plan
from ..scan import scanner
from .build import ReportFacts


def facts(
    seen: scanner.Scan,
    findings: Iterable[Finding],
    config: Config,
    *,
    circumstances: Circumstances | None = None,
    agent: tuple[int, float] | None = None,
) -> ReportFacts:
    """What a report tells of one look. The findings are confirmed, silenced and explained as far as they will be.

    `agent` is the pid and resync interval of the agent that is asking.
    """
    circumstances = circumstances or Circumstances()
    return ReportFacts(
        picture=seen.picture,
        findings=tuple(plan(finding, config, circumstances) for finding in findings),
        taken=seen.started,
        seconds=seen.seconds,
        mode=str(config.mode),
        paused=circumstances.paused,
        hostname=os.uname().nodename,
        kernel=platform.release(),
        policies={state.root.path: policies(state.root, config) for state in seen.picture.roots},
        agent=agent,
        gaps=seen.gaps,
    )


def explained(
    findings: Iterable[Finding], seen: scanner.Scan, *, everything: bool = False
) -> tuple[tuple[Finding, ...], scanner.Scan]:
    """The findings with their causes (of info only with `everything`), and the look with the gaps that this made."""
    findings = tuple(findings)
    asked = [f for f in findings if f.cause is None and (everything or f.severity is not Severity.INFO)]
    told, gaps = shared_causes.with_causes(asked, seen.picture)
    by_id = {finding.id: finding for finding in told}
    return tuple(by_id.get(finding.id, finding) for finding in findings), replace(seen, gaps=(*seen.gaps, *gaps))


def policies(root: Root, config: Config) -> dict[Action, Policy]:
    """Who decides on share and detach under a root, as the plan of its best-proved finding would say."""
    acting = replace(config, mode=Mode.ACT)
    cases = ((Action.SHARE, Kind.PRIVATE_ROOT, None), (Action.DETACH, Kind.LEAKED, Evidence.HISTORY))
    return {action: _policy(action, plan(_example(root, kind, evidence), acting)) for action, kind, evidence in cases}


def _policy(action: Action, finding: Finding) -> Policy:
    remedy = next(remedy for remedy in finding.remedies if remedy.action is action)
    if remedy.automatic:
        return Policy.AUTO
    return Policy.ASK if remedy.command else Policy.OFF


def _example(root: Root, kind: Kind, evidence: Evidence | None) -> Finding:
    return Finding(
        id="",
        kind=kind,
        severity=Severity.WARNING,
        root=root,
        mountpoint=root.path,
        home=root.home,
        seen_at=root.path,
        evidence=evidence,
        reach=Reach.RMDIR,
    )
