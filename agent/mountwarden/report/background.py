"""The explanation of a finding: its timeline, the chain of mounts, its unit's settings and the lasting fix."""

from ..errors import NoAnswer
from ..explain import attribute
from ..explain.context import Context
from ..explain.lasting_fix import Fix, lasting_fix
from ..model import Finding, Kind, Namespace
from ..observe import enter, start_times
from ..observe.namespaces import read
from ..scan.result import Scan
from ..systemd import journal_reader
from . import chain, timeline
from .types import BackgroundJson, ChainJson, FixJson
from .unit_settings import settings

MOST_NAMESPACES = 500
"""Of more it is not counted how many are in home's sharing group: that would take too long."""


def background(finding: Finding, seen: Scan, *, agent: bool) -> BackgroundJson:
    """The explanation of a finding whose cause is derived already. `agent`: the service has the finding too."""
    around, _gaps = attribute.surroundings(finding, seen.picture)
    about_unit = settings(around)
    known = timeline.TimelineFacts(
        born=start_times.born(finding.mountpoint) if _has_a_birth(finding) else None,
        process=start_times.process_started(finding.first.holders[0].pid) if finding.first.holders else None,
        entries=journal_reader.of_finding(finding.id),
        agent=agent,
    )
    fix = lasting_fix(finding.cause, finding, around) if finding.cause else None
    return {
        "timeline": timeline.moments(finding, around, about_unit, known),
        "chain": _drawn(finding, around, seen),
        "settings": about_unit,
        "fix": _json(fix) if fix else None,
    }


def _drawn(finding: Finding, around: Context, seen: Scan) -> ChainJson | None:
    """The chain, and who else is in home's sharing group where few enough namespaces are to be read for that."""
    if finding.kind is Kind.PRIVATE_ROOT:
        return _chain(finding, seen)
    drawn = chain.chain(finding, around) if finding.kind is not Kind.ABANDONED else None
    group = around.home.shared if around.home else 0
    if drawn is None or not group or len(seen.picture.namespaces) > MOST_NAMESPACES:
        return drawn
    others = (space for space in seen.picture.namespaces.values() if space.inode != finding.home)
    return {**drawn, "group": chain.sharing(group, (_membership(group, space) for space in others))}


def _membership(group: int, space: Namespace) -> str | None:
    try:
        return read(space.inode, space.pids, lambda lines: chain.membership(group, lines.blocks()), space.door)
    except (OSError, NoAnswer):
        return None


def over(finding_id: str) -> BackgroundJson | None:
    """The explanation of a finding that is gone, from the journal alone; None where that has nothing of it."""
    entries = journal_reader.of_finding(finding_id)
    if not entries:
        return None
    return {"timeline": timeline.journal(entries), "chain": None, "settings": [], "fix": None}


def _has_a_birth(finding: Finding) -> bool:
    """Only of what is a plain directory in home now, and home is our own namespace: a mount would hide it."""
    return finding.kind is Kind.LEAKED and finding.home == enter.own_namespace()


def _chain(finding: Finding, seen: Scan) -> ChainJson | None:
    state = next((state for state in seen.picture.roots if state.root.path == finding.root.path), None)
    return chain.private_root(finding, state.mount if state else None)


def _json(fix: Fix) -> FixJson:
    return {"text": fix.text, "file": fix.file, "content": fix.content, "commands": list(fix.commands)}
