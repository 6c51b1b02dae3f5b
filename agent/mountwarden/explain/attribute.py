"""Completes findings: with the processes of their namespaces, and with their causes."""

import time
from collections.abc import Container, Iterable
from dataclasses import replace
from functools import partial

from ..errors import NoAnswer
from ..model import Finding, FoundCopy, Gap, Kind, Match, Mount, Namespace, Picture
from ..observe.namespaces import read
from . import cause, gather, holders
from .context import Context
from .members import Members


def attribute(finding: Finding, picture: Picture) -> Finding:
    """The finding with the processes of its namespaces and those namespaces' kinds and ids."""
    return attribute_all((finding,), picture)[0]


class KnownMembers:
    """Who lives in namespaces, by what was read of their processes not long ago."""

    AGE = 30.0
    """Seconds for which it stands, while the processes are the same ones."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[tuple[int, ...], float, Members]] = {}

    def of(self, namespace: Namespace) -> Members:
        """Those of a namespace."""
        now = time.monotonic()
        known = self._known.get(namespace.inode)
        if known is None or known[0] != namespace.pids or now - known[1] >= self.AGE:
            known = self._known[namespace.inode] = namespace.pids, now, holders.members(namespace)
        return known[2]

    def keep(self, inodes: Container[int]) -> None:
        """Keep these namespaces only."""
        self._known = {inode: known for inode, known in self._known.items() if inode in inodes}


def attribute_all(
    findings: Iterable[Finding], picture: Picture, known: KnownMembers | None = None
) -> tuple[Finding, ...]:
    """The same for the findings of one scan; each namespace is read once, and not at all where it is `known`."""
    known = KnownMembers() if known is None else known
    known.keep(picture.namespaces)
    homes = frozenset(state.home for state in picture.roots if state.home is not None)
    return tuple(_attributed(finding, picture, homes, known) for finding in findings)


def _attributed(finding: Finding, picture: Picture, homes: frozenset[int], known: KnownMembers) -> Finding:
    copies, beside = (
        tuple(_held(copy, finding.kind, picture, homes, known) for copy in some)
        for some in (finding.copies, finding.beside)
    )
    # Of what is abandoned nothing has to be asked for, and thousands are told at once.
    known_cause = cause.explain(finding, Context()) if finding.kind is Kind.ABANDONED else finding.cause
    return replace(finding, copies=copies, beside=beside, cause=known_cause)


def _held(copy: FoundCopy, kind: Kind, picture: Picture, homes: frozenset[int], known: KnownMembers) -> FoundCopy:
    if kind is Kind.PINNED:
        found = (holders.holder(holder.pid) or holder for holder in copy.holders)
        spaces = [picture.namespaces[home] for home in homes if home in picture.namespaces]
        known_now = (replace(one, at_home=any(one.pid in space.pids for space in spaces)) for one in found)
        return replace(copy, holders=tuple(known_now))
    namespace = _namespace(copy, picture)
    if namespace is None:
        return copy
    # Their namespace is home itself, and everything on the host is in it.
    if kind in (Kind.PRIVATE_ROOT, Kind.ABANDONED):
        return replace(copy, namespace_id=namespace.id)
    members = known.of(namespace)
    held = copy.holders or members.holders
    if namespace.inode in homes:
        # In the host's own namespace the whole host lives: process 1 stands for it, and others come and go.
        held = tuple(replace(holder, at_home=True) for holder in (held[:1] if 1 in namespace.pids else held))
    return replace(copy, namespace_id=namespace.id, holders=held, namespace_kind=members.kind)


def explain(finding: Finding, picture: Picture) -> tuple[Finding, tuple[Gap, ...]]:
    """The attributed finding with its cause, and what could not be read or asked for it.

    This may ask PID 1, and reads unit files, an engine's own configuration, and the namespace's mountinfo.
    """
    if finding.kind not in (Kind.LEAKED, Kind.SEVERED):
        return replace(finding, cause=cause.explain(finding, Context())), ()
    around, gaps = surroundings(finding, picture)
    return replace(finding, cause=cause.explain(finding, around)), gaps


def surroundings(finding: Finding, picture: Picture) -> tuple[Context, tuple[Gap, ...]]:
    """The facts from which the cause of a finding and its lasting fix are derived, and what could not be read."""
    above, gaps = _above(finding, _namespace(finding.first, picture))
    match = _match(finding, picture)
    home = _home(match, picture) if match else None
    around, more = gather.gather(finding, above, home, match.mountpoint if match else None)
    return around, gaps + more


def _namespace(copy: FoundCopy, picture: Picture) -> Namespace | None:
    return picture.namespaces.get(copy.namespace) if copy.namespace is not None else None


def _above(finding: Finding, namespace: Namespace | None) -> tuple[tuple[Mount, ...] | None, tuple[Gap, ...]]:
    if namespace is None:
        return None, ()
    try:
        return read(namespace.inode, namespace.pids, partial(gather.above_copy, finding), namespace.door), ()
    except (OSError, NoAnswer) as error:
        return None, (Gap("the mounts of a namespace", str(error), namespace.inode),)


def _match(finding: Finding, picture: Picture) -> Match | None:
    """The match of the one copy that a finding names, which may stand for several."""
    if finding.target:
        return finding.target.match
    copies = filter(finding.is_first, picture.copies)
    return next((copy.match or copy.history for copy in copies), None)


def _home(match: Match, picture: Picture) -> Mount:
    """Home's mount that holds the mountpoint: the parent of the live mount, else the one that the judge took."""
    state = next((state for state in picture.roots if state.root == match.root), None)
    live = state.live.get(match.spot, ()) if state else ()
    parents = (state.parents.get(mount.id) for mount in live) if state else ()
    return next((parent for parent in parents if parent), match.base.mount)
