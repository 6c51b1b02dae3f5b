"""What a prediction is made from: taken from this host, and given back from a snapshot."""

from dataclasses import replace

from ..errors import MountwardenError
from ..explain.members import Members
from ..model import Gap, Mount, Namespace, NamespaceKind
from ..mounts.table import Table
from ..observe.all_mounts import Survey
from ..predict import umount
from ..predict.occupants import Occupant
from .contents import SavedMembers, SavedMounts, Snapshot

MOST = 200_000
"""Mounts that are saved, at most."""


def take() -> SavedMounts | Gap:
    """All mounts of this host; a gap where there are too many."""
    seen = umount.here()
    tables, taken = dict[int, tuple[Mount, ...]](), set[int]()
    for inode, table in seen.survey.tables.items():
        # Namespaces are read one after the other, and ids may be reused meanwhile: the first counts.
        tables[inode] = tuple(mount for mount in table.mounts if mount.id not in taken)
        taken.update(mount.id for mount in table.mounts)
    if len(taken) > MOST:
        return Gap("what a prediction stands on", "it has too many mounts", None, len(taken))
    held, gaps = seen.occupants(frozenset(taken))
    spaces = {inode: _members(inode, seen) for inode in tables}
    return SavedMounts(
        own=seen.own,
        tables=tables,
        owners=seen.survey.owners,
        pids={inode: pids for inode, pids in seen.survey.pids.items() if inode in tables},
        doors=seen.survey.doors,
        behaviour=seen.behaviour(),
        occupants=tuple(replace(one, path=b"") if one.holder else one for one in held),
        spaces=spaces,
        gaps=seen.survey.gaps + gaps,
    )


def _members(inode: int, seen: umount.HostMounts) -> SavedMembers:
    known = seen.survey
    found = seen.members(Namespace(inode, known.pids.get(inode, ()), door=known.doors.get(inode)))
    return SavedMembers(found.kind, found.holders)


def seen(snapshot: Snapshot) -> umount.HostMounts:
    """The mounts of the snapshot's host. Raises: MountwardenError where they are not in it."""
    known = snapshot.survey
    if known is None:
        raise MountwardenError("the snapshot has no mounts to predict from: there were too many")
    tables = {inode: Table(mounts) for inode, mounts in known.tables.items()}

    def occupants(mounts: frozenset[int]) -> tuple[tuple[Occupant, ...], tuple[Gap, ...]]:
        return tuple(one for one in known.occupants if one.mount in mounts), ()

    def members(namespace: Namespace) -> Members:
        found = known.spaces.get(namespace.inode, SavedMembers(None))
        return Members(found.kind or NamespaceKind.PROCESS, found.holders)

    survey = Survey(tables, known.owners, known.pids, known.gaps, known.doors)
    return umount.HostMounts(survey, known.own, occupants, members, lambda: known.behaviour, with_causes=False)


def namespace_of(snapshot: Snapshot, pid: int) -> int:
    """Inode of the namespace of a process at that time. Raises: MountwardenError where none had that pid."""
    known = snapshot.survey
    found = [inode for inode, pids in known.pids.items() if pid in pids] if known else []
    if not found:
        raise MountwardenError(f"there was no process {pid}")
    return found[0]
