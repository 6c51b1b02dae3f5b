"""Look now, and look again where a finding has not yet held for its confirm time."""

import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from .. import look
from ..config import Config, Mode
from ..errors import MountwardenError
from ..ledger import silenced
from ..model import Evidence, Finding, Kind, Severity
from ..tell import report, shape, stored


@dataclass(frozen=True, slots=True)
class Scan:
    """One answer of the command line: findings with confirmed, since and silenced filled in."""

    looker: look.Looker
    seen: look.Look
    findings: tuple[Finding, ...]


def scan(
    looker: look.Looker,
    *,
    wait: float,
    everything: bool = False,
    known: Mapping[str, float] | None = None,
    waiting: Callable[[float], None] = lambda _seconds: None,
) -> Scan:
    """Look, and once more after the confirm time when there are candidates that `known` does not cover.

    `wait` is the longest time (seconds) that is waited for; a finding that must hold for longer stays unconfirmed, as
    all do with 0. `everything` waits for info too. `known` has ids with the time since which the agent sees them.
    `waiting` is told for how long before the wait.
    """
    known = known or {}
    first = looker.look()
    seen_at = time.monotonic()
    need = _need(first, looker.config, known, wait, everything=everything)
    if not need:
        return Scan(looker, first, _confirmed(first, first, 0.0, looker.config, known))
    waiting(need)
    time.sleep(max(0.0, seen_at + need - time.monotonic()))
    held = time.monotonic() - seen_at
    second = looker.look()
    return Scan(looker, second, _confirmed(first, second, held, looker.config, known))


def _need(first: look.Look, config: Config, known: Mapping[str, float], wait: float, *, everything: bool) -> float:
    """How long to wait: as long as the slowest candidate that `wait` allows for."""
    times = [
        config.confirm.needed(finding)
        for finding in first.findings
        if (everything or finding.severity is not Severity.INFO) and finding.id not in known
    ]
    return max((needed for needed in times if needed <= wait), default=0.0)


def _confirmed(
    first: look.Look, last: look.Look, held: float, config: Config, known: Mapping[str, float]
) -> tuple[Finding, ...]:
    before = {(finding.id, *_identity(finding)) for finding in first.findings}
    findings = []
    for finding in last.findings:
        needed = config.confirm.needed(finding)
        same = (finding.id, *_identity(finding)) in before
        since = known.get(finding.id, first.started if same else last.started)
        confirmed = finding.id in known or (same and held > 0 and held >= needed)
        quiet = silenced(finding, config.silences, last.started)
        findings.append(replace(finding, confirmed=confirmed, since=since, silenced=quiet))
    return tuple(findings)


def _identity(finding: Finding) -> tuple[str, int | None]:
    return finding.device, finding.unique_id or finding.mount_id


def agents_since(config: Config, boot_id: str, path: str = stored.PATH) -> dict[str, float]:
    """What the running agent has confirmed, by id, with the time since which it sees it; nothing without an agent."""
    told = _agents_report(boot_id, path)
    return (
        {}
        if told is None
        else {f["id"]: report.seconds(f["since"]) for f in told["findings"] if f["confirmed"] and f["since"]}
    )


def agents_mode(boot_id: str, path: str = stored.PATH) -> Mode | None:
    """Whether the running agent acts or only observes; None without an agent."""
    told = _agents_report(boot_id, path)
    return None if told is None else Mode(told["mode"])


def as_the_agent_knows(findings: Iterable[Finding], boot_id: str, path: str = stored.PATH) -> tuple[Finding, ...]:
    """The findings with the evidence of the running agent, which may have seen home's mount before it went."""
    told = _agents_report(boot_id, path)
    known = (
        {(f["id"], f["mount_id"] and f["mount_id"]["small"]): f["evidence"] for f in told["findings"]} if told else {}
    )
    return tuple(
        replace(finding, evidence=Evidence(evidence)) if evidence else finding
        for finding in findings
        for evidence in (known.get((finding.id, finding.mount_id)),)
    )


def only_the_agent_knows(boot_id: str, path: str = stored.PATH) -> list[shape.FindingJson]:
    """The running agent's confirmed findings that no single look can make, while one of their holders lives.

    What is pinned or orphaned shows only to who saw the mount go.
    """
    told = _agents_report(boot_id, path)
    return [
        finding
        for finding in (told["findings"] if told else ())
        if finding["kind"] in (Kind.PINNED, Kind.ORPHANED) and finding["confirmed"]
        if any(stored.alive(holder["pid"]) for holder in finding["holders"])
    ]


def _agents_report(boot_id: str, path: str) -> shape.ReportJson | None:
    try:
        told = stored.read(path)
    except (OSError, MountwardenError):
        return None
    return None if told["host"]["boot_id"] != boot_id or stale(told, time.time()) else told


def stale(told: shape.ReportJson, now: float) -> str | None:
    """Why a stored report can't be trusted any more; None when it can."""
    from ..tell.text import age

    if stored.agent_is_gone(told):
        return "the agent that wrote it has ended"
    old = now - report.seconds(told["taken"])
    resync = told["agent"]["resync"] if told["agent"] else 0.0
    return f"it is {age(old)} old" if old > 3 * resync else None


def host() -> tuple[str, str]:
    """The host's name and its kernel's release."""
    return os.uname().nodename, platform.release()
