"""Makes a new directory or file look like an old one: owner, mode, ACLs, labels, other xattrs, project, flags, times.

What can't be kept is a reason to decline, found before anything is changed.
"""

import errno
import functools
import os
import stat
from collections.abc import Callable

from ..errors import Declined
from ..kernel import abi, syscalls

_RAISED_AS_IT_IS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_NOT_KEPT = abi.FS_INDEX_FL | abi.FS_EXTENT_FL | abi.FS_INLINE_DATA_FL
"""Flags by which a file system notes how it stores one inode; they say nothing of what it is."""


def copy(old: int, new: int, status: os.stat_result) -> None:
    """Copy everything from `old` (whose stat is `status`) to `new`, and check that it is there.

    Raises: Declined where something can't be kept; OSError where the file system is full or a quota used up.
    """
    os.fchown(new, status.st_uid, status.st_gid)
    os.fchmod(new, stat.S_IMODE(status.st_mode))  # after chown, which clears set-id bits
    _copy_xattrs(old, new)
    _copy_project(old, new)
    _copy_flags(old, new)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    made = os.fstat(new)
    if (made.st_mode, made.st_uid, made.st_gid) != (status.st_mode, status.st_uid, status.st_gid):
        raise Declined("attributes", "its owner or mode can't be kept")


def _copy_xattrs(old: int, new: int) -> None:
    """Try each; what counts is that they are the same in the end.

    xfs shows an ACL a second time as trusted.SGI_ACL_FILE, which it lets nobody set; and a label that the kernel has
    set already needs no right.
    """
    try:
        wanted, have = _xattrs(old), _xattrs(new)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            return
        raise
    for name in have.keys() - wanted.keys():  # a default ACL of the parent, say
        _tried(functools.partial(os.removexattr, new, name))
    for name, value in wanted.items():
        if have.get(name) != value:
            _tried(functools.partial(os.setxattr, new, name, value))
    differing = sorted(name for name, _value in wanted.items() ^ _xattrs(new).items())
    if differing:
        raise Declined("attributes", f"its extended attribute {differing[0]} can't be kept")


def _xattrs(fd: int) -> dict[str, bytes]:
    return {name: os.getxattr(fd, name) for name in os.listxattr(fd)}


def _tried(change: Callable[[], None]) -> None:
    try:
        change()
    except OSError as error:
        if error.errno in _RAISED_AS_IT_IS:
            raise


def _copy_project(old: int, new: int) -> None:
    wanted, have = _project(old), _project(new)
    if wanted is None or wanted == have:
        return
    xflags, extsize, projid, cowextsize = wanted
    try:
        syscalls.set_fsxattr(new, (xflags, extsize, 0, projid, cowextsize))
    except OSError as error:
        if error.errno in _RAISED_AS_IT_IS:
            raise
        raise Declined("attributes", "its project id or inode flags can't be kept") from error
    if _project(new) != wanted:
        raise Declined("attributes", "its project id or inode flags can't be kept")


def _project(fd: int) -> tuple[int, int, int, int] | None:
    """What can be set of FS_IOC_FSGETXATTR: not the number of extents, nor that there is room for xattrs."""
    found = syscalls.fsxattr(fd)
    if found is None:
        return None
    xflags, extsize, _nextents, projid, cowextsize = found
    return xflags & ~abi.FS_XFLAG_HASATTR, extsize, projid, cowextsize


def _copy_flags(old: int, new: int) -> None:
    """Flags that FS_IOC_FSGETXATTR has no bit for, such as btrfs's no-copy-on-write."""
    wanted, have = _flags(old), _flags(new)
    if wanted is None or wanted == have:
        return
    try:
        syscalls.set_inode_flags(new, wanted)
    except OSError as error:
        raise Declined("attributes", "its inode flags can't be kept") from error
    if _flags(new) != wanted:
        raise Declined("attributes", "its inode flags can't be kept")


def _flags(fd: int) -> int | None:
    flags = syscalls.inode_flags(fd)
    return None if flags is None else flags & ~_NOT_KEPT
