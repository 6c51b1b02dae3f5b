"""Every mount of every namespace, and who owns the namespaces: what a prediction stands on."""

import errno
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..errors import NoAnswer
from ..kernel import abi, calls
from ..model import Gap, Mount
from . import namespaces, procs
from .mountinfo import Table

_NO_INTERFACE = (errno.ENOSYS, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.EACCES)
_GONE = (errno.ENOENT, errno.ESRCH)
_IDS = struct.Struct("=40xQ8xI")  # struct statmount: mnt_id at 40, mnt_id_old at 56
_BUFFER = 512
_PAGE = 1024
"""Ids asked of listmount(2) at once."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The mounts of all namespaces that could be read."""

    tables: Mapping[int, Table]
    """By the namespace's inode. With several owners, mounts have their unique ids where the kernel tells them."""
    owners: Mapping[int, int]
    """Inode of the user namespace that owns each."""
    pids: Mapping[int, tuple[int, ...]]
    gaps: tuple[Gap, ...] = ()


def survey(pids: Iterable[int], *, threads: bool = True) -> Survey:
    """Read the namespaces of these processes. What can't be read is a gap."""
    members = namespaces.members(pids, threads=threads)
    gaps = list(members.gaps)
    tables: dict[int, Table] = {}
    owners: dict[int, int] = {}
    for inode, who in members.by_inode.items():
        try:
            text = namespaces.read_mountinfo(inode, who)
        except (OSError, NoAnswer) as error:
            gaps.append(Gap("the mounts of a namespace", str(error), inode))
            continue
        if text is None:
            continue
        tables[inode] = Table.from_text(text)
        gaps += [Gap("lines of mountinfo", why, inode, many) for why, many in tables[inode].unreadable.items()]
        if (owner := _owner(inode, who)) is not None:
            owners[inode] = owner
    if len(set(owners.values())) > 1:
        tables = {inode: _with_unique_ids(table, inode, members.by_inode[inode]) for inode, table in tables.items()}
    return Survey(tables, owners, members.by_inode, tuple(gaps))


def _open(inode: int, pids: Iterable[int]) -> int | None:
    """The namespace's nsfs file, by a process that is in it. It pins the namespace: close it at once."""
    for pid in pids:
        try:
            fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (*_GONE, *_NO_INTERFACE):
                continue
            raise
        if os.fstat(fd).st_ino == inode:
            return fd
        os.close(fd)
    return None


def _owner(inode: int, pids: Iterable[int]) -> int | None:
    """Who owns the namespace; by its first process where the kernel does not say."""
    if (fd := _open(inode, pids)) is None:
        return None
    try:
        return calls.owner_of_namespace(fd)
    except OSError as error:
        if error.errno not in _NO_INTERFACE:
            raise
        return _user_of_any(pids)
    finally:
        os.close(fd)


def _user_of_any(pids: Iterable[int]) -> int | None:
    for pid in pids:
        try:
            return procs.link_inode(pid, "user")
        except OSError as error:
            if error.errno not in (*_GONE, *_NO_INTERFACE):
                raise
    return None


def _with_unique_ids(table: Table, inode: int, pids: Iterable[int]) -> Table:
    """The table with the ids that are never reused (Linux 6.8; of other namespaces 6.11); as it was on older kernels."""
    if (fd := _open(inode, pids)) is None:
        return table
    try:
        unique = unique_ids(calls.mnt_ns_id(fd))
    except OSError as error:
        if error.errno not in (*_NO_INTERFACE, *_GONE):
            raise
        return table
    finally:
        os.close(fd)
    return Table(map(lambda mount: _named(mount, unique), table.mounts), table.unreadable)


def _named(mount: Mount, unique: Mapping[int, int]) -> Mount:
    return replace(mount, unique=unique[mount.id]) if mount.id in unique else mount


def unique_ids(namespace: int) -> dict[int, int]:
    """Unique id by small id of each mount of the namespace with that 64-bit id.

    Raises: OSError where this kernel has no listmount(2) for other namespaces, or it may not be asked.
    """
    found: dict[int, int] = {}
    page, answer = calls.id_buffer(_PAGE), calls.id_buffer(_BUFFER // 8)
    last = 0
    while many := calls.listmount(abi.LSMT_ROOT, last, namespace, page):
        ids = struct.unpack_from(f"={many}Q", page)
        last = ids[-1]
        for identity in ids:
            try:
                calls.statmount(identity, abi.StatmountMask.MNT_BASIC, namespace, answer)
            except OSError as error:
                if error.errno in _GONE:
                    continue
                raise
            unique, small = _IDS.unpack_from(answer)
            found[small] = unique
    return found
