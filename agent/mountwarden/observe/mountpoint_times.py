"""When the directory *below* a mount was made or changed last: the mount hides it, and it is never opened.

open_tree(2) with OPEN_TREE_CLONE, and without AT_RECURSIVE, gives a detached copy of the mount that has the parent
directory, and nothing that is mounted below it: there the mountpoint is a directory like any other. The copy is gone
when its descriptor is closed. It attaches nothing, so that no mount namespace sees it, and an umount of what is mounted
on that directory does not wait for it. For a child with a deadline: the file system may hang.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..kernel import abi, syscalls

_MASK = abi.STATX_BTIME | abi.STATX_CTIME | abi.STATX_MTIME
_FLAGS = abi.AT_SYMLINK_NOFOLLOW | abi.AT_NO_AUTOMOUNT | abi.AT_STATX_DONT_SYNC


def last_changes(paths: Iterable[bytes]) -> list[float | None]:
    """For each path the latest of its own birth, change and modification, in seconds since the Epoch.

    None where there is no such name, or where it can't be asked (Linux before 5.2, an unbindable mount).
    """
    indexes: dict[bytes, list[tuple[int, bytes]]] = {}
    paths = list(paths)
    for index, path in enumerate(paths):
        directory, name = os.path.split(path)
        indexes.setdefault(directory, []).append((index, name))
    found: list[float | None] = [None] * len(paths)
    for directory, names in indexes.items():
        try:
            with _without_mounts(directory) as fd:
                for index, name in names:
                    found[index] = _last_change(fd, name)
        except OSError:
            continue
    return found


@contextmanager
def _without_mounts(directory: bytes) -> Iterator[int]:
    """A descriptor of the directory in a detached copy of its mount. Raises: OSError as open_tree(2) does."""
    fd = syscalls.open_tree(abi.AT_FDCWD, directory, abi.OPEN_TREE_CLONE)
    try:
        yield fd
    finally:
        os.close(fd)


def _last_change(fd: int, name: bytes) -> float | None:
    try:
        answer = syscalls.statx(fd, name, _MASK, _FLAGS)
    except OSError:
        return None
    fields = (
        (abi.STATX_BTIME, answer.stx_btime),
        (abi.STATX_CTIME, answer.stx_ctime),
        (abi.STATX_MTIME, answer.stx_mtime),
    )
    times = [float(time.tv_sec) + time.tv_nsec / 1e9 for bit, time in fields if answer.stx_mask & bit]
    return max(times) if answer.stx_mask & abi.STATX_CTIME else None
