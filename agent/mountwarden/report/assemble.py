"""From a scan to the facts of a report: remedies and policies. The agent makes its report.json in the same way."""

import os
import platform
from collections.abc import Iterable
from dataclasses import replace

from ..config.schema import Config, Mode
from ..model import Action, Evidence, Finding, FoundCopy, Gap, Kind, Policy, Reach, Root, Severity
from ..remedies.plan import Circumstances, plan
from ..scan.result import Scan
from .build import ReportFacts


def facts(
    seen: Scan,
    findings: Iterable[Finding],
    config: Config,
    *,
    gaps: Iterable[Gap] = (),
    circumstances: Circumstances | None = None,
    agent: tuple[int, float] | None = None,
) -> ReportFacts:
    """What a report says of one scan. The findings are confirmed, silenced and explained as far as they will be.

    `gaps` are those beyond the scan's own. `agent` is the pid and resync interval (seconds) of the agent that asks.
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
        gaps=(*seen.gaps, *gaps),
    )


def policies(root: Root, config: Config) -> dict[Action, Policy]:
    """Who decides on share and detach below a root, as the plan says for a finding with the best evidence."""
    active = replace(config, mode=Mode.ACT)
    cases = ((Action.SHARE, Kind.PRIVATE_ROOT, None), (Action.DETACH, Kind.LEAKED, Evidence.HISTORY))
    return {action: _policy(action, plan(_example(root, kind, evidence), active)) for action, kind, evidence in cases}


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
        evidence=evidence,
        copies=(FoundCopy(root.home, root.path, reach=Reach.RMDIR),),
    )
