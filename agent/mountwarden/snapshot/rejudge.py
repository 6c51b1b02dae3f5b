"""The findings of a snapshot: the same rules over the same facts. Pure."""

from dataclasses import replace

from ..config.schema import Config
from ..explain import cause, shared_causes
from ..explain.context import Context
from ..judge import judge
from ..model import Cause, Finding, FoundCopy, Gap, Kind, Picture, Severity
from .contents import SavedHistory, Snapshot


def findings(snapshot: Snapshot, *, everything: bool = False) -> tuple[Finding, ...]:
    """The findings with what a report says of them except remedies; causes of info only with `everything`."""
    judged = (_attributed(found, snapshot) for found in judge(snapshot.picture, snapshot.answers).findings)
    known = [_with_history(found, snapshot.told.get(found.id)) for found in judged]

    def ask(found: Finding, _picture: Picture) -> tuple[Finding, tuple[Gap, ...]]:
        return replace(found, cause=_cause(found, snapshot)), ()

    asked = [found for found in known if everything or found.severity is not Severity.INFO]
    by_id = {found.id: found for found in shared_causes.with_causes(asked, snapshot.picture, ask)[0]}
    return tuple(by_id.get(found.id, found) for found in known)


def config(snapshot: Snapshot) -> Config:
    """Of the host's configuration, what decides on actions."""
    return Config(mode=snapshot.mode, policies=snapshot.policies, roots=snapshot.entries)


def _attributed(finding: Finding, snapshot: Snapshot) -> Finding:
    copies, beside = (
        tuple(_held(copy, finding.kind, snapshot) for copy in some) for some in (finding.copies, finding.beside)
    )
    return replace(finding, copies=copies, beside=beside)


def _held(copy: FoundCopy, kind: Kind, snapshot: Snapshot) -> FoundCopy:
    if kind is Kind.PINNED:
        return replace(copy, holders=tuple(snapshot.users.get(h.pid, h) for h in copy.holders))
    if namespace := snapshot.picture.namespaces.get(copy.namespace or 0):
        copy = replace(copy, namespace_id=namespace.id)
    members = snapshot.members.get(copy.namespace) if copy.namespace is not None else None
    if members is None or kind in (Kind.PRIVATE_ROOT, Kind.ABANDONED):
        return copy
    return replace(copy, holders=copy.holders or members.holders, namespace_kind=members.kind)


def _with_history(finding: Finding, saved: SavedHistory | None) -> Finding:
    if saved is None:
        return finding
    return replace(finding, confirmed=saved.confirmed, silenced=saved.silenced, since=saved.since, due=saved.due)


def _cause(finding: Finding, snapshot: Snapshot) -> Cause | None:
    return cause.explain(finding, snapshot.circumstances.get(finding.id, Context()))
