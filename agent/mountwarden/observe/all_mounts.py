"""Every mount of every namespace, and the user namespaces that own them: what a prediction is made from."""

import errno
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..errors import NoAnswer
from ..kernel import abi, syscalls
from ..model import Door, Gap, Mount, Namespace
from ..mounts.table import Table
from . import entries, namespaces, processes, processless, read_ahead
from .enter import own_namespace
from .mount_lines import USUAL

_NO_INTERFACE = (errno.ENOSYS, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.EACCES)
_GONE = (errno.ENOENT, errno.ESRCH)
_IDS = struct.Struct("=40xQ8xI")  # struct statmount: mnt_id at 40, mnt_id_old at 56
_BUFFER = 512
_PAGE = 1024
"""Ids that one call of listmount(2) is asked for."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The mounts of all namespaces that could be read."""

    tables: Mapping[int, Table]
    """By the namespace's inode. With several owners, mounts have their unique ids where the kernel gives them."""
    owners: Mapping[int, int]
    """Inode of the user namespace that owns each."""
    pids: Mapping[int, tuple[int, ...]]
    """Processes in each."""
    gaps: tuple[Gap, ...] = ()
    doors: Mapping[int, Door] = field(default_factory=dict)
    """The way into each namespace that has no process."""


def survey(pids: Iterable[int], *, thorough: bool = True) -> Survey:
    """Read the namespaces of these processes; `thorough`: of their threads too, and those that have no process.

    A namespace that can't be read is a gap. Raises: OSError where an interface of the kernel fails for a reason other
    than a process that has ended, a missing permission, or a kernel without it.
    """
    pids = list(pids)
    members = namespaces.members(pids, threads=thorough)
    found = _Collected(list(members.gaps))
    with read_ahead.texts((inode, who, USUAL) for inode, who in members.by_inode.items()):
        for inode, who in members.by_inode.items():
            found.read(inode, who)
    doors: Mapping[int, Door] = {}
    if thorough:
        home = {inode: table for inode, table in found.tables.items() if inode == own_namespace()}
        more = processless.unlisted(members.by_inode, home, pids)
        members.by_inode.update(more.members)
        doors, found.gaps = more.doors, [*found.gaps, *more.gaps]
        for inode in (*more.members, *doors):
            found.read(inode, more.members.get(inode, ()), doors.get(inode))
    tables: Mapping[int, Table] = found.tables
    if len(set(found.owners.values())) > 1:
        tables = {inode: _with_unique_ids(table, found.ids.get(inode)) for inode, table in tables.items()}
    return Survey(tables, found.owners, members.by_inode, tuple(found.gaps), doors)


class _Collected:
    def __init__(self, gaps: list[Gap]) -> None:
        self.gaps = gaps
        self.tables: dict[int, Table] = {}
        self.owners: dict[int, int] = {}
        self.ids: dict[int, int] = {}
        """The 64-bit id of each namespace (Linux 6.11)."""

    def read(self, inode: int, pids: tuple[int, ...], door: Door | None = None) -> None:
        """Read one namespace, by its processes or by its door. An error is a gap."""
        try:
            table = namespaces.read(inode, pids, lambda lines: Table.from_blocks(lines.blocks()), door)
            owner, identity = _of_processes(inode, pids) if door is None else _of_door(inode, door)
        except (OSError, NoAnswer) as error:
            self.gaps.append(Gap("the mounts of a namespace", str(error), inode))
            return
        if table is None:
            return
        self.tables[inode] = table
        self.gaps += [Gap("lines of mountinfo", why, inode, many) for why, many in table.unreadable.items()]
        if owner is not None:
            self.owners[inode] = owner
        if identity is not None:
            self.ids[inode] = identity


_OwnerAndId = tuple[int | None, int | None]
"""Owner and 64-bit id of a namespace."""


def _of_processes(inode: int, pids: Iterable[int]) -> _OwnerAndId:
    """By its nsfs file, closed at once because it keeps the namespace alive; the owner by a process if need be."""
    for pid in pids:
        try:
            fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (*_GONE, *_NO_INTERFACE):
                continue
            raise
        try:
            if os.fstat(fd).st_ino == inode:
                owner = _or_none(lambda fd=fd: syscalls.owner_of_namespace(fd))  # type: ignore[misc]
                return owner or _user_of_any(pids), _or_none(lambda fd=fd: syscalls.mnt_ns_id(fd))  # type: ignore[misc]
        finally:
            os.close(fd)
    return None, None


def _of_door(inode: int, door: Door) -> _OwnerAndId:
    with entries.opened_namespace(door, inode) as fd:
        return _or_none(lambda: syscalls.owner_of_namespace(fd)), _or_none(lambda: syscalls.mnt_ns_id(fd))


def _or_none(function: Callable[[], int]) -> int | None:
    """What the kernel answers; None where it does not have the interface or forbids it. Raises: other OSErrors."""
    try:
        return function()
    except OSError as error:
        if error.errno not in _NO_INTERFACE:
            raise
        return None


def _user_of_any(pids: Iterable[int]) -> int | None:
    for pid in pids:
        try:
            return processes.link_inode(pid, "user")
        except OSError as error:
            if error.errno not in (*_GONE, *_NO_INTERFACE):
                raise
    return None


def _with_unique_ids(table: Table, namespace: int | None) -> Table:
    """The table with the unique ids of its mounts (Linux 6.11); the same table where they can't be had."""
    if namespace is None:
        return table
    try:
        unique = unique_ids(namespace)
    except OSError as error:
        if error.errno not in (*_NO_INTERFACE, *_GONE):
            raise
        return table
    return Table((_with_unique(mount, unique) for mount in table.mounts), table.unreadable)


def _with_unique(mount: Mount, unique: Mapping[int, int]) -> Mount:
    return replace(mount, unique=unique[mount.id]) if mount.id in unique else mount


def by_unique_id(unique: int, spaces: Iterable[Namespace]) -> tuple[int, int] | None:
    """The namespace (inode) and small id of the mount with a unique id; None where none of `spaces` has it.

    Before Linux 6.11 it is None. Raises: OSError as statmount(2) does, but where the mount or namespace is gone, or may
    not be asked for.
    """
    answer = syscalls.id_buffer(_BUFFER // 8)
    for space in spaces:
        try:
            _owner, named = _of_door(space.inode, space.door) if space.door else _of_processes(space.inode, space.pids)
            if named is None:
                continue
            syscalls.statmount(unique, abi.StatmountMask.MNT_BASIC, named, answer)
        except NoAnswer:
            continue
        except OSError as error:
            if error.errno in (*_NO_INTERFACE, *_GONE):
                continue
            raise
        return space.inode, int(_IDS.unpack_from(answer)[1])
    return None


def unique_ids(namespace: int) -> dict[int, int]:
    """Unique id by small id of each mount of the namespace with that 64-bit id.

    Raises: OSError as listmount(2) and statmount(2) do, such as ENOSYS, or EINVAL before Linux 6.11.
    """
    found: dict[int, int] = {}
    page, answer = syscalls.id_buffer(_PAGE), syscalls.id_buffer(_BUFFER // 8)
    last = 0
    while many := syscalls.listmount(abi.LSMT_ROOT, last, namespace, page):
        ids = struct.unpack_from(f"={many}Q", page)
        last = ids[-1]
        for identity in ids:
            try:
                syscalls.statmount(identity, abi.StatmountMask.MNT_BASIC, namespace, answer)
            except OSError as error:
                if error.errno in _GONE:
                    continue
                raise
            unique, small = _IDS.unpack_from(answer)
            found[small] = unique
    return found
