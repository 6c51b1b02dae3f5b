"""From a scan to a snapshot of it."""

from collections.abc import Iterable
from dataclasses import replace

from .. import __version__
from ..config.schema import Config
from ..explain import attribute, cause, shared_causes
from ..explain.context import Context
from ..model import Finding, Gap, Kind, Picture
from ..scan.result import Scan
from .contents import SavedHistory, SavedMembers, SavedMounts, Snapshot
from .redact import clean


def take(
    seen: Scan,
    findings: Iterable[Finding],
    config: Config,
    *,
    hostname: str,
    kernel: str,
    paused: bool,
    survey: SavedMounts | Gap | None = None,
) -> Snapshot:
    """What this scan saw, without what is not known to be harmless. `findings` are confirmed and silenced already.

    `survey` is what all_mounts.take() gives.
    """
    findings = tuple(findings)
    around, gaps = surroundings(findings, seen.picture)
    gaps += (survey,) if isinstance(survey, Gap) else ()
    held = (copy for found in findings if found.kind is not Kind.PINNED for copy in found.copies)
    named = {one.namespace: SavedMembers(one.namespace_kind, one.holders) for one in held if one.namespace_kind}
    whole = Snapshot(
        version=__version__,
        anonymous=False,
        hostname=hostname,
        kernel=kernel,
        taken=seen.started,
        seconds=seen.seconds,
        mode=config.mode,
        paused=paused,
        policies=config.policies,
        entries=config.roots,
        picture=replace(seen.picture, gaps=()),
        answers=seen.answers,
        gaps=(*seen.gaps, *gaps),
        members={inode: members for inode, members in named.items() if inode is not None},
        users={holder.pid: holder for f in findings if f.kind is Kind.PINNED for holder in f.holders},
        told={f.id: SavedHistory(f.confirmed, f.silenced, f.since, f.due) for f in findings},
        circumstances=around,
        survey=None if isinstance(survey, Gap) else survey,
    )
    return clean(whole)


def surroundings(findings: Iterable[Finding], picture: Picture) -> tuple[dict[str, Context], tuple[Gap, ...]]:
    """What the cause of each finding is found from, by the id of the first of those that share it, and the gaps.

    Asks PID 1, and reads what `attribute.surroundings` reads.
    """
    found: dict[str, Context] = {}

    def ask(finding: Finding, picture: Picture) -> tuple[Finding, tuple[Gap, ...]]:
        around, gaps = Context(), tuple[Gap, ...]()
        if finding.kind in (Kind.LEAKED, Kind.SEVERED):
            around, gaps = attribute.surroundings(finding, picture)
            found[finding.id] = around
        return replace(finding, cause=cause.explain(finding, around)), gaps

    _findings, gaps = shared_causes.with_causes(findings, picture, ask)
    return found, gaps
