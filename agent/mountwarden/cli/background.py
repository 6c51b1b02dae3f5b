"""What explain asks for beyond the finding: the unit, its files, times, the journal."""

from .. import advice, attribute, chain, look, timeline
from ..model import Finding, Kind
from ..observe import enter, times
from ..settings import settings
from ..tell.shape import BackgroundJson, ChainJson, FixJson
from . import entries


def background(finding: Finding, seen: look.Look, *, agent: bool) -> BackgroundJson:
    """The story around a finding whose cause is known as far as it will be. `agent`: the service knows it too."""
    around, _gaps = attribute.surroundings(finding, seen.picture)
    about_unit = settings(around)
    known = timeline.Known(
        born=times.born(finding.mountpoint) if _has_a_birth(finding) else None,
        process=times.process_started(finding.holders[0].pid) if finding.holders else None,
        entries=entries.of_finding(finding.id),
        agent=agent,
    )
    fix = advice.lasting_fix(finding.cause, finding, around) if finding.cause else None
    return {
        "timeline": timeline.moments(finding, around, about_unit, known),
        "chain": _chain(finding, seen) if finding.kind is Kind.PRIVATE_ROOT else chain.chain(finding, around),
        "settings": about_unit,
        "fix": _json(fix) if fix else None,
    }


def over(finding_id: str) -> BackgroundJson | None:
    """The story of a finding that is there no more, from the journal alone; None where that has none."""
    told = entries.of_finding(finding_id)
    if not told:
        return None
    return {"timeline": timeline.journal(told), "chain": None, "settings": [], "fix": None}


def _has_a_birth(finding: Finding) -> bool:
    """Only of what is a bare directory at home now, in our own view of it: else it is another file system's root."""
    return finding.kind is Kind.LEAKED and finding.home == enter.own_namespace()


def _chain(finding: Finding, seen: look.Look) -> ChainJson | None:
    state = next((state for state in seen.picture.roots if state.root.path == finding.root.path), None)
    return chain.private_root(finding, state.mount if state else None)


def _json(fix: advice.Fix) -> FixJson:
    return {"text": fix.text, "file": fix.file, "content": fix.content, "commands": list(fix.commands)}
