"""The 64-bit ids of mount namespaces, which are never reused as their inodes are (Linux 6.11)."""

import functools
import os
from collections.abc import Iterable, Mapping

from ..errors import NoAnswer
from ..kernel import abi, syscalls
from ..model import Door, Namespace
from . import entries
from .enter import own_namespace
from .tiers import listing


class NamespaceIds:
    """Asks for ids, and keeps them from one call to the next: each namespace is opened once."""

    def __init__(self) -> None:
        self._known: Mapping[int, int] = {}

    def of(self, spaces: Iterable[Namespace]) -> Mapping[int, int]:
        """Ids by inode, without the namespaces that are gone or may not be opened; empty before Linux 6.11.

        Nothing stays open: a descriptor would keep the namespace alive.
        """
        found = ((space.inode, self._id(space)) for space in spaces)
        self._known = {inode: identity for inode, identity in found if identity is not None}
        return self._known

    def _id(self, space: Namespace) -> int | None:
        known = self._known.get(space.inode)
        if known is not None and exists(known):
            return known
        if space.pids or space.door is None:
            return next((found for pid in space.pids if (found := _of_process(pid, space.inode)) is not None), None)
        return _of_door(space.door, space.inode) if _has_ids() else None


def of_processes(inode: int, pids: Iterable[int]) -> int | None:
    """The id of a namespace by one of its processes; None where none of them is left, and before Linux 6.11."""
    found = (_of_process(pid, inode) for pid in pids) if _has_ids() else iter(())
    return next((identity for identity in found if identity is not None), None)


def exists(identity: int) -> bool:
    """Whether a namespace with that id exists; while it does, no other one has its inode."""
    try:
        syscalls.listmount(abi.LSMT_ROOT, 0, identity, syscalls.id_buffer(1))
    except OSError:
        return False
    return True


def _of_process(pid: int, inode: int) -> int | None:
    try:
        found = listing.identify(pid, inode)
    except OSError:
        return None
    return None if found is None else found.id


def _of_door(door: Door, inode: int) -> int | None:
    try:
        with entries.opened_namespace(door, inode) as fd:
            return syscalls.mnt_ns_id(fd)
    except (OSError, NoAnswer):
        return None


@functools.cache
def _has_ids() -> bool:
    return _of_process(os.getpid(), own_namespace()) is not None
