"""Whose a mount namespace is: the user who made it, or the container that it is of."""

import os
from collections.abc import Iterable, Mapping

from ..errors import NoAnswer
from ..kernel import syscalls
from ..model import HOST, UNKNOWN, Door, Owner
from ..systemd import cgroups
from . import entries, processes


class Owners:
    """Asks for owners, and keeps them from one call to the next."""

    def __init__(self) -> None:
        self._known: dict[int, Owner] = {}

    def of(
        self, members: Mapping[int, tuple[int, ...]], doors: Mapping[int, Door], new: Iterable[int]
    ) -> Mapping[int, Owner]:
        """The owner of each mount namespace, by its inode. `new` ones are other namespaces than had these inodes."""
        renewed = frozenset(new)
        known = {inode: owner for inode, owner in self._known.items() if inode in members and inode not in renewed}
        known |= {inode: _owner(inode, members[inode], doors.get(inode)) for inode in members if inode not in known}
        self._known = known
        return known


def _owner(inode: int, pids: Iterable[int], door: Door | None) -> Owner:
    for pid in pids:
        try:
            fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.fstat(fd).st_ino == inode:
                return _of_open(fd, pid)
        finally:
            os.close(fd)
    try:
        if door is not None:
            with entries.opened_namespace(door, inode) as fd:
                return _of_open(fd, door.pid)
    except (OSError, NoAnswer):
        pass
    return UNKNOWN


def _of_open(fd: int, pid: int) -> Owner:
    """By a descriptor of the namespace, and a process that is in it or has it open."""
    try:
        uid = _uid(syscalls.user_namespace_of(fd))
    except OSError:
        return UNKNOWN
    if not uid:
        container = cgroups.place(processes.read_or_empty(f"/proc/{pid}/cgroup")).container if pid else None
        return Owner(0, container) if container else HOST
    return Owner(uid)


def _uid(user: int) -> int | None:
    """Who made the outermost of the user namespaces that a descriptor's is in, as we see it; None where that is ours.

    Whoever may use the uids of others, as of /etc/subuid, can make user namespaces of them within that. The descriptor
    is closed. Raises: OSError as ioctl_nsfs(2) does.
    """
    own = os.stat("/proc/self/ns/user").st_ino
    try:
        if os.fstat(user).st_ino == own:
            return None
        while True:
            above = syscalls.parent_user_namespace(user)
            if os.fstat(above).st_ino == own:
                os.close(above)
                return syscalls.owner_uid(user)
            os.close(user)
            user = above
    finally:
        os.close(user)
