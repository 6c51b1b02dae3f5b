"""The report (mountwarden.report/2), built from facts, and what it says as an exit status. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .. import __version__
from ..escape import printable, sentence, timestamp, unit_name
from ..explain.naming import printable_holder
from ..model import NAMED, Action, Cause, Finding, FoundCopy, Gap, Holder, Kind, Picture, Policy, RootState, Severity
from ..mounts.mountinfo import propagation
from ..remedies.actions import describe
from . import types

HOST = "the host"
"""What a gap could not read where the command did not see the host at all."""


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """Everything that a report says; the caller has scanned, judged, attributed, confirmed and planned."""

    picture: Picture
    findings: Sequence[Finding]
    taken: float
    """Seconds since the Epoch at which the scan began."""
    seconds: float
    """How long the scan took."""
    mode: str
    paused: bool
    hostname: str
    kernel: str
    policies: Mapping[bytes, Mapping[Action, Policy]]
    """For each root's path, who decides on each action; a root that is not in it has null."""
    agent: tuple[int, float] | None = None
    """Pid and resync interval (seconds) of the agent that writes this; None from the command line."""
    gaps: Sequence[Gap] | None = None
    """None: the picture's own."""


def build(facts: ReportFacts) -> types.ReportJson:
    """The report, as json.dumps takes it."""
    picture = facts.picture
    gaps = all_gaps(picture.gaps if facts.gaps is None else facts.gaps)
    roots = [_root(state, facts.policies.get(state.root.path)) for state in picture.roots]
    findings = sorted(map(finding_json, facts.findings), key=order)
    return {
        "schema": types.SCHEMA,
        "version": __version__,
        "taken": timestamp(facts.taken),
        "took_seconds": round(facts.seconds, 6),
        "tier": str(picture.tier),
        "mode": facts.mode,
        "paused": facts.paused,
        "complete": not gaps and all(root["status"] == "ok" for root in roots),
        "host": {"hostname": printable(facts.hostname), "kernel": printable(facts.kernel), "boot_id": picture.boot_id},
        "agent": {"pid": facts.agent[0], "resync": facts.agent[1]} if facts.agent else None,
        "summary": _summary(findings, len(roots), len(picture.namespaces), picture.mounts),
        "gaps": gaps,
        "roots": roots,
        "findings": findings,
    }


def order(finding: types.FindingJson) -> tuple[int, bool, str, str, str]:
    """Sort key: the worst first, silenced and unconfirmed ones behind, then by kind, mountpoint and id."""
    unlisted = finding["silenced"] or not finding["confirmed"]
    return -Severity(finding["severity"]).rank, unlisted, finding["kind"], finding["mountpoint"], finding["id"]


def counts(finding: types.FindingJson, fail_on: Severity = Severity.WARNING) -> bool:
    """Whether a finding makes the exit status 1: silenced and unconfirmed ones never do, nor does info."""
    floor = max(fail_on.rank, Severity.WARNING.rank)
    return finding["confirmed"] and not finding["silenced"] and Severity(finding["severity"]).rank >= floor


def status(report: types.ReportJson, fail_on: Severity = Severity.WARNING, *, strict: bool = False) -> int:
    """The exit status: 1 something is wrong, 2 could not tell, 0 nothing is wrong.

    Could not tell: there are roots and none could be judged, the host was not seen, or, with `strict`, the report is
    not complete.
    """
    if any(counts(finding, fail_on) for finding in report["findings"]):
        return 1
    return 2 if blind(report) or (strict and not report["complete"]) else 0


def blind(report: types.ReportJson) -> bool:
    """There are roots, and none of them could be judged; or the host was not seen."""
    roots = report["roots"]
    unseen = any(gap["what"] == HOST for gap in report["gaps"])
    return unseen or (bool(roots) and all(root["status"] != "ok" for root in roots))


def select(report: types.ReportJson, choose: Callable[[types.FindingJson], bool]) -> types.ReportJson:
    """The same report with only the findings that `choose` accepts."""
    findings = [finding for finding in report["findings"] if choose(finding)]
    old = report["summary"]
    summary = _summary(findings, old["roots"], old["namespaces"], old["mounts"])
    return {**report, "summary": summary, "findings": findings}


def joined(report: types.ReportJson, more: Iterable[types.FindingJson]) -> types.ReportJson:
    """The same report with those findings too that it does not have."""
    has = {finding["id"] for finding in report["findings"]}
    findings = sorted([*report["findings"], *(one for one in more if one["id"] not in has)], key=order)
    old = report["summary"]
    summary = _summary(findings, old["roots"], old["namespaces"], old["mounts"])
    return {**report, "summary": summary, "findings": findings}


def _summary(findings: Sequence[types.FindingJson], roots: int, namespaces: int, mounts: int) -> types.SummaryJson:
    by_kind = Counter(finding["kind"] for finding in findings)
    by_severity = Counter(finding["severity"] for finding in findings)
    return {
        "findings": len(findings),
        "by_kind": {kind: by_kind[kind] for kind in Kind},
        "by_severity": {severity: by_severity[severity] for severity in Severity},
        "roots": roots,
        "namespaces": namespaces,
        "mounts": mounts,
    }


def all_gaps(found: Iterable[Gap]) -> list[types.GapJson]:
    """What could not be read, as JSON."""
    groups: dict[tuple[str, str, str | None], list[Gap]] = {}
    for gap in found:
        groups.setdefault((gap.what, gap.reason, gap.owner), []).append(gap)
    return [_gap(one) for some in groups.values() for one in (some if len(some) <= NAMED else [_together(some)])]


def _together(gaps: list[Gap]) -> Gap:
    """One for many namespaces of which the same is to be said."""
    return replace(gaps[0], namespace=None, count=sum(gap.count for gap in gaps))


def _gap(gap: Gap) -> types.GapJson:
    return {
        "what": sentence(gap.what),
        "namespace": gap.namespace,
        "reason": sentence(gap.reason),
        "count": gap.count,
        "owner": gap.owner and printable(gap.owner),
    }


def _root(state: RootState, policy: Mapping[Action, Policy] | None) -> types.RootJson:
    root, mount = state.root, state.mount
    return {
        "path": printable(root.path),
        "engine": root.engine,
        "kind": str(root.kind),
        "home": state.home,
        "home_known": root.home_known,
        "propagation": propagation(mount) if mount else None,
        "peer_group": mount.shared or None if mount else None,
        "device": mount.device if mount else None,
        "fstype": printable(mount.fstype) if mount else None,
        "status": sentence(state.status),
        "policy": {str(action): str(who) for action, who in policy.items()} if policy is not None else None,
    }


def finding_json(finding: Finding) -> types.FindingJson:
    """A finding, as JSON."""
    spot = finding.spot
    return {
        "id": finding.id,
        "kind": str(finding.kind),
        "severity": str(finding.severity),
        "confirmed": finding.confirmed,
        "root": printable(finding.root.path),
        "engine": finding.root.engine,
        "mount_class": str(finding.mount_class),
        "layer": _text(finding.layer),
        "mountpoint": printable(finding.mountpoint),
        "spot": {"device": spot.device, "path": printable(spot.path)} if spot else None,
        "fstype": printable(finding.fstype),
        "device": finding.device,
        "evidence": _word(finding.evidence),
        "cause": cause(finding.cause),
        "silenced": finding.silenced,
        "remedies": remedies(finding),
        "since": None if finding.since is None else timestamp(finding.since),
        "due": None if finding.due is None or finding.confirmed else timestamp(finding.due),
        "detail": sentence(finding.detail) or None,
        "left_behind": _word(finding.left),
        "frees": sentence(finding.frees) or None,
        "count": finding.count,
        "namespaces": finding.spaces,
        "copies": [_copy(copy) for copy in finding.copies],
    }


def _copy(copy: FoundCopy) -> types.CopyJson:
    return {
        "namespace": {"inode": copy.namespace, "id": copy.namespace_id, "kind": _word(copy.namespace_kind)},
        "seen_at": _text(copy.seen_at),
        "mount_id": {"unique": copy.unique_id, "small": copy.mount_id},
        "reach": _word(copy.reach),
        "given": f"{copy.given.by} as {printable(copy.given.point)}" if copy.given else None,
        "holders": holders(copy.holders),
    }


def cause(found: Cause | None) -> types.CauseJson | None:
    """A cause, as JSON."""
    if found is None:
        return None
    return {
        "code": found.code,
        "text": sentence(found.text),
        "unit": unit_name(found.unit) if found.unit else None,
        "directive": found.directive,
        "value": None if found.value is None else sentence(found.value),
        "file": found.file,
        "line": found.line,
    }


def holders(found: Iterable[Holder]) -> list[types.HolderJson]:
    """Who holds something, as JSON."""
    return [
        {
            "pid": one.pid,
            "comm": one.comm,
            "unit": one.unit,
            "container": one.container,
            "user": one.user,
            "user_unit": one.user_unit,
        }
        for one in map(printable_holder, found)
    ]


def remedies(finding: Finding) -> list[types.RemedyJson]:
    """The remedies of a finding, as JSON."""
    return [
        {
            "action": str(remedy.action),
            "automatic": remedy.automatic,
            "reason": sentence(remedy.reason),
            "command": remedy.command,
            "by_hand": remedy.by_hand,
            "declined": remedy.declined,
        }
        for remedy in finding.remedies
    ]


def steps(finding: Finding) -> dict[str, list[str]]:
    """What each remedy of a finding would do, step by step."""
    return {
        str(remedy.action): [sentence(step) for step in describe(finding, remedy.action)] for remedy in finding.remedies
    }


def _text(text: bytes | None) -> str | None:
    return None if text is None else printable(text)


def _word(word: str | None) -> str | None:
    return None if word is None else str(word)
