"""Scan now, and scan again where a finding has not yet held for its confirm time."""

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ..config.schema import Config
from ..ledger.update import silenced
from ..model import Finding, Kind, Severity
from .result import Scan
from .scanner import Scanner


@dataclass(frozen=True, slots=True)
class KnownBefore:
    """What the service remembers of a finding."""

    since: float
    """Seconds since the Epoch at which it was first seen."""
    confirmed: bool
    """Whether it has held for its confirm time by now, as far as the same mounts are still there."""


Known = Callable[[Finding], KnownBefore | None]
_Same = tuple[str, str, tuple[int | None, int | None]]

ASK_EVERY = 30.0
"""Seconds after which an engine is asked again, of what it must prove for all of the confirm time."""
AT_LEAST = 1.0
"""Seconds that must be left for that: the last scan asks, too."""


def nothing(_finding: Finding) -> None:
    """Nothing is remembered."""


@dataclass(frozen=True, slots=True)
class ConfirmedScan:
    """What a command shows: findings with confirmed, since, due and silenced filled in."""

    scanner: Scanner
    seen: Scan
    findings: tuple[Finding, ...]


def confirmed_scan(
    scanner: Scanner,
    *,
    wait: float,
    everything: bool = False,
    known: Known = nothing,
    waiting: Callable[[float], None] = lambda _seconds: None,
) -> ConfirmedScan:
    """Scan, and once more after the confirm time when there are findings that are not confirmed by what is `known`.

    `wait` is the longest wait in seconds; a finding that must hold for longer stays unconfirmed, as all do with 0.
    `everything` waits for info too. `waiting` is called before the wait, with its seconds.
    """
    first = scanner.scan()
    seen_at = time.monotonic()
    need = _need(first, scanner.config, known, wait, everything=everything)
    if not need:
        return ConfirmedScan(scanner, first, _confirmed(first, first, 0.0, scanner.config, known))
    waiting(need)
    steady = _steady(scanner, first, seen_at + need)
    held = time.monotonic() - seen_at
    second = scanner.scan()
    return ConfirmedScan(scanner, second, _confirmed(first, second, held, scanner.config, known, steady))


def _steady(scanner: Scanner, first: Scan, until: float) -> frozenset[_Same]:
    """Wait, until that time of the monotonic clock. What the first scan found and was proved all the while."""
    same = frozenset(one for finding in first.findings for one in _sames(finding))
    proved = frozenset(one for finding in first.findings if finding.kind is Kind.ABANDONED for one in _sames(finding))
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, ASK_EVERY) if proved else left)
        if proved and until - time.monotonic() > AT_LEAST:
            now = frozenset(one for finding in scanner.scan().findings for one in _sames(finding))
            same, proved = same - (proved - now), proved & now
    return same


def _sames(finding: Finding) -> Iterator[_Same]:
    """What tells it from a finding of another mount on the same spot."""
    return ((finding.id, finding.device, mount) for mount in finding.mounts)


def _need(first: Scan, config: Config, known: Known, wait: float, *, everything: bool) -> float:
    """Seconds to wait: the longest confirm time that is not longer than `wait`."""
    times = [
        config.confirm.needed(finding)
        for finding in first.findings
        # Whether a stack grows is seen by a second scan only.
        if (everything or finding.severity is not Severity.INFO or finding.kind is Kind.STACKED)
        and not _holds(known(finding))
    ]
    return max((needed for needed in times if needed <= wait), default=0.0)


def _holds(known: KnownBefore | None) -> bool:
    return known is not None and known.confirmed


def _confirmed(
    first: Scan, last: Scan, held: float, config: Config, known: Known, steady: frozenset[_Same] | None = None
) -> tuple[Finding, ...]:
    before = frozenset(one for finding in first.findings for one in _sames(finding)) if steady is None else steady
    findings = []
    for finding in last.findings:
        needed = config.confirm.needed(finding)
        same = any(one in before for one in _sames(finding))
        before_that = known(finding)
        since = before_that.since if before_that else first.started if same else last.started
        confirmed = _holds(before_that) or (same and held > 0 and held >= needed)
        is_silenced = silenced(finding, config.silences, last.started)
        due = None if confirmed else since + needed
        findings.append(replace(finding, confirmed=confirmed, since=since, due=due, silenced=is_silenced))
    return tuple(findings)


def host() -> tuple[str, str]:
    """The host's name and its kernel's release."""
    return os.uname().nodename, platform.release()
