"""How umounts propagate on a host: each mount of a home that holds roots, and the namespaces that have these. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..escape import printable, sentence
from ..explain.members import Members
from ..explain.naming import name_of
from ..model import Base, Copy, Finding, Kind, Mount, Picture, RootState, Severity
from ..mounts.exposure import Exposure, Relation
from ..mounts.mountinfo import propagation
from .map_types import BaseJson, MapRootJson, MapSummaryJson, RowJson

ELSEWHERE = "elsewhere"
HOME = "home"
"""The kind of a row for a second mount of a root in home itself."""

_WORST = [Relation.PEER, Relation.SLAVE, Relation.CUT_OFF]


@dataclass(frozen=True, slots=True)
class MapFacts:
    """All that a map is made of."""

    picture: Picture
    findings: tuple[Finding, ...]
    exposures: tuple[Exposure, ...]
    members: Mapping[int, Members]
    """By inode, of each namespace with an exposure or a leaked copy."""


def bases(seen: MapFacts) -> list[BaseJson]:
    """One for each mount of home that holds a root, those with most leaked copies first."""
    held: dict[tuple[int, int], list[tuple[RootState, Base]]] = {}
    for state in seen.picture.roots:
        if all(layout.needs_history for layout in state.root.layout):
            continue  # the whole host
        for base in state.bases:
            held.setdefault((state.home or 0, base.mount.id), []).append((state, base))
    found = [_base(home, some, seen) for (home, _mount), some in held.items()]
    return sorted(found, key=lambda base: [-total for total in _counts(base)])


def _counts(base: BaseJson) -> tuple[int, int, int]:
    rows = base["namespaces"]
    cut = sum(row["relation"] == Relation.CUT_OFF for row in rows)
    return sum(row["leaked"] for row in rows), sum(row["leaks"] for row in rows), cut


def _base(home: int, some: list[tuple[RootState, Base]], seen: MapFacts) -> BaseJson:
    mount = some[0][1].mount
    return {
        "home": home,
        "mount_id": mount.id,
        "at": printable(mount.point),
        "device": mount.device,
        "fstype": printable(mount.fstype),
        "propagation": propagation(mount),
        "peer_group": mount.shared or None,
        "roots": [_root(state, base) for state, base in some],
        "namespaces": _rows(mount, some, seen),
    }


def _root(state: RootState, base: Base | None = None) -> MapRootJson:
    parents = (state.parents.get(mount.id) for mounts in state.live.values() for mount in mounts)
    return {
        "path": printable(state.root.path),
        "engine": state.root.engine,
        "kind": str(state.root.kind),
        "live": sum(parent is not None and base is not None and parent.id == base.mount.id for parent in parents),
        "wants_private": state.root.wants_private,
        "status": sentence(state.status),
    }


def unjudged(picture: Picture) -> list[MapRootJson]:
    """Roots for which no mount of home was found."""
    return [_root(state) for state in picture.roots if not state.bases]


def _rows(mount: Mount, some: list[tuple[RootState, Base]], seen: MapFacts) -> list[RowJson]:
    roots = {state.root for state, _base in some}
    exposures: dict[tuple[int, int], list[Exposure]] = {}
    for exposure in seen.exposures:
        if exposure.base.mount.id == mount.id and exposure.root in roots:
            view = exposure.mount.id if exposure.at_home else 0
            exposures.setdefault((exposure.namespace, view), []).append(exposure)
    leaked: dict[tuple[int, int], list[Finding]] = {}
    for finding in seen.findings:
        if counts(finding) and _holds(mount, finding):
            for inode in dict.fromkeys(copy.namespace for copy in _leaked(finding)):
                leaked.setdefault((inode, 0), []).append(finding)
    rows = [
        _row(key[0], exposures.get(key, []), leaked.get(key, []), seen) for key in dict.fromkeys((*exposures, *leaked))
    ]
    return sorted(rows, key=_order)


def counts(finding: Finding) -> bool:
    """Whether a finding is a leaked copy that the map shows: a suspected one is not."""
    return finding.kind is Kind.LEAKED and finding.severity is not Severity.INFO and not finding.silenced


def _holds(mount: Mount, finding: Finding) -> bool:
    return finding.target is not None and finding.target.match.base.mount.id == mount.id


def _leaked(finding: Finding) -> tuple[Copy, ...]:
    return finding.target.leaked if finding.target else ()


def _count(inode: int, leaked: Iterable[Finding], *, confirmed: bool) -> int:
    """Leaked copies in one namespace."""
    found = (copy for finding in leaked if finding.confirmed is confirmed for copy in _leaked(finding))
    return sum(copy.namespace == inode for copy in found)


def _row(inode: int, exposures: list[Exposure], leaked: list[Finding], seen: MapFacts) -> RowJson:
    at_home = next((exposure.mount.point for exposure in exposures if exposure.at_home), None)
    worst = max(exposures, key=lambda exposure: _WORST.index(exposure.relation), default=None)
    return {
        "namespace": inode,
        "kind": HOME if at_home else str(seen.members[inode].kind),
        "who": f"{printable(at_home)} on the host itself" if at_home else _who(inode, seen),
        "relation": str(worst.relation) if worst else ELSEWHERE,
        "at": printable(worst.at) if worst else None,
        "peer_group": worst.mount.shared or None if worst else None,
        "master": worst.mount.master or None if worst else None,
        "copies": sum(exposure.copies for exposure in exposures),
        "leaks": sum(exposure.leaks for exposure in exposures),
        "on_purpose": sum(exposure.kept - exposure.leaks for exposure in exposures),
        "leaked": _count(inode, leaked, confirmed=True),
        "unconfirmed": _count(inode, leaked, confirmed=False),
        "findings": [finding.id for finding in leaked],
    }


def _who(inode: int, seen: MapFacts) -> str:
    members = seen.members[inode]
    return name_of(members.holders, inode, members.more)


def _order(row: RowJson) -> tuple[object, ...]:
    cut = row["relation"] in (Relation.CUT_OFF, ELSEWHERE)
    return -row["leaked"], -row["unconfirmed"], -row["leaks"], not cut, row["kind"], row["who"], row["namespace"]


def summary(seen: MapFacts, drawn: Iterable[BaseJson]) -> MapSummaryJson:
    """The figures of the headline."""
    rows = [row for base in drawn for row in base["namespaces"]]
    shows = {row["namespace"] for row in rows} | {state.home for state in seen.picture.roots}
    return {
        "roots": len(seen.picture.roots),
        "namespaces": len(seen.picture.namespaces),
        "mounts": seen.picture.mounts,
        "without": len(seen.picture.namespaces.keys() - shows),
        "cut_off": len(
            {row["namespace"] for row in rows if row["relation"] == Relation.CUT_OFF and row["kind"] != HOME}
        ),
        "leaks": sum(row["leaks"] for row in rows),
        "leaked": sum(row["leaked"] for row in rows),
        "unconfirmed": sum(row["unconfirmed"] for row in rows),
    }
