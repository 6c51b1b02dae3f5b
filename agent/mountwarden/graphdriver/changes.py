"""What differs between two trees, by comparing them.

Two files are the same if type, mode, owner, device, size, time of the last change and extended attributes are;
content is not read. A time whose nanoseconds are zero on one side is compared by the second, because a layer tar may
have cut it.
"""

import os
import stat
from collections.abc import Iterator
from typing import Protocol

from . import xattrs
from .beneath import RootDirectory, by_fd, exists
from .driver import Change, ChangeKind

_NANO = 10**9
_Entries = dict[bytes, os.stat_result]


class Candidates(Protocol):
    """What is known about two trees before they are compared."""

    def names(self, path: bytes) -> set[bytes] | None:
        """The names that can differ in a directory of both trees; None: any name, also in the directories below it."""


def compare(new: RootDirectory, old: RootDirectory | None, candidates: Candidates | None = None) -> list[Change]:
    """The changes that lead from `old` (None: an empty tree) to `new`, sorted by path.

    A directory with a change somewhere below it counts as modified too, so that its owner and mode travel with it.
    Names that are no `candidates` are not read.
    """
    found: dict[bytes, ChangeKind] = {}
    visit = [(b"", old is not None, candidates)]
    for path, both, known in visit:
        names = known.names(path.lstrip(b"/")) if known and both else None
        for name, kind, in_both in _compare_directory(new, old if both else None, path, names):
            child = path + b"/" + name
            if kind is not None:
                found[child] = kind
                _touch(found, path)
            if in_both is not None:
                visit.append((child, in_both, None if names is None else known))
    return [Change(path, found[path]) for path in sorted(found)]


def _touch(found: dict[bytes, ChangeKind], path: bytes) -> None:
    while path and path not in found:
        found[path] = ChangeKind.MODIFY
        path = path.rpartition(b"/")[0]


def _compare_directory(
    new: RootDirectory, old: RootDirectory | None, path: bytes, names: set[bytes] | None
) -> Iterator[tuple[bytes, ChangeKind | None, bool | None]]:
    """Per entry: its name, how it changed (None: not), and for a directory to visit whether both trees have it."""
    new_fd = new.open_directory(path.lstrip(b"/"))
    try:
        old_fd = old.open_directory(path.lstrip(b"/")) if old else None
        try:
            before = _entries(old_fd, names) if old_fd is not None else {}
            for name, now in _entries(new_fd, names).items():
                was = before.pop(name, None)
                is_directory = stat.S_ISDIR(now.st_mode)
                if was is None or old_fd is None:
                    yield name, ChangeKind.ADD, False if is_directory else None
                    continue
                kind = ChangeKind.MODIFY if _differ(now, was, new_fd, old_fd, name) else None
                yield name, kind, stat.S_ISDIR(was.st_mode) if is_directory else None
            for name in before:
                yield name, ChangeKind.DELETE, None
        finally:
            if old_fd is not None:
                os.close(old_fd)
    finally:
        os.close(new_fd)


def _entries(fd: int, names: set[bytes] | None) -> _Entries:
    """The names in a directory, or those of `names` that are there, with lstat(2) of each."""
    wanted = map(os.fsencode, os.listdir(fd)) if names is None else names
    return {name: found for name in wanted if (found := exists(fd, name))}


def _differ(now: os.stat_result, was: os.stat_result, new_fd: int, old_fd: int, name: bytes) -> bool:
    if (now.st_mode, now.st_uid, now.st_gid, now.st_rdev) != (was.st_mode, was.st_uid, was.st_gid, was.st_rdev):
        return True
    if not stat.S_ISDIR(now.st_mode) and (
        now.st_size != was.st_size or not _same_time(now.st_mtime_ns, was.st_mtime_ns)
    ):
        return True
    if (now.st_ino, now.st_ctime_ns) == (was.st_ino, was.st_ctime_ns):  # one inode: shared by both layers
        return False
    return _attributes(new_fd, name) != _attributes(old_fd, name)


def _same_time(one: int, other: int) -> bool:
    if one == other:
        return True
    return one // _NANO == other // _NANO and (one % _NANO == 0 or other % _NANO == 0)


def _attributes(fd: int, name: bytes) -> dict[str, bytes]:
    path = by_fd(fd, name)
    return xattrs.read(path, filter(xattrs.travels, xattrs.names(path)))


def size(new: RootDirectory, changes: list[Change]) -> int:
    """The bytes of the files that were added or modified; a file with several names counts once."""
    total = 0
    seen = set()
    for change in changes:
        if change.kind is ChangeKind.DELETE:
            continue
        parent, _, name = change.path.lstrip(b"/").rpartition(b"/")
        fd = new.open_directory(parent)
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)
        identity = (found.st_dev, found.st_ino)
        if stat.S_ISDIR(found.st_mode) or (found.st_nlink > 1 and identity in seen):
            continue
        seen.add(identity)
        total += found.st_size
    return total
