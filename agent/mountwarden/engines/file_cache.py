"""A cache of engines' files: a scan runs each second, and these files hardly ever change."""

import functools
import os
import stat
import time
import tomllib
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from ..files import read_regular

T = TypeVar("T")

LIMIT = 64 << 20
"""Bytes of the largest file that is read; an engine's index of layers has a few MB on a host with thousands."""

_SETTLED_SECONDS = 1.0
_ENTRIES = 8192

_Stamp = tuple[int, int, int, int, int]


@functools.lru_cache(64)
def toml(data: bytes) -> Mapping[str, object]:
    """The table of a TOML file, of which most are the same at each scan. Raises: ValueError, RecursionError."""
    return tomllib.loads(data.decode())


class FileCache:
    """Files and directories by path, read again only when their stat(2) says that they changed.

    The stamp is (mtime, ctime, size, inode, device). What changed within the last second is not kept: timestamps
    of a file system have a granularity of milliseconds, and two changes within it have the same stamp.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[bytes, object], tuple[_Stamp, object]] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()

    def load(self, path: bytes, parse: Callable[[bytes], T]) -> T | None:
        """What `parse` makes of the file's content, which the caller must not change; None where there is no file.

        Raises: NotRegular; TooLarge; OSError as stat(2) and open(2) do; what `parse` raises.
        """
        return self._get(path, parse, lambda: parse(read(path)))

    def names(self, path: bytes) -> tuple[bytes, ...] | None:
        """The names in a directory, sorted; None where there is none. Raises: OSError."""
        return self._get(path, os.listdir, lambda: tuple(sorted(os.listdir(path))))

    def _get(self, path: bytes, kind: object, make: Callable[[], T]) -> T | None:
        try:
            stamp = _stamp(os.stat(path))
            kept = self._kept.get((path, kind))
            if kept is not None and kept[0] == stamp:
                return cast("T", kept[1])
            value = make()
        except (FileNotFoundError, NotADirectoryError):
            self._kept.pop((path, kind), None)
            return None
        if time.time_ns() - max(stamp[0], stamp[1]) > _SETTLED_SECONDS * 1e9:
            self._keep((path, kind), stamp, value)
        return value

    def _keep(self, key: tuple[bytes, object], stamp: _Stamp, value: object) -> None:
        if len(self._kept) >= _ENTRIES:
            self._kept.clear()
        self._kept[key] = stamp, value


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


def read(path: bytes) -> bytes:
    """A regular file of an engine, whole. Raises: NotRegular; TooLarge; OSError as open(2) does."""
    return read_regular(path, LIMIT).data


def real_directory(path: bytes) -> bytes | None:
    """The directory's path with all symlinks resolved; None where there is no such directory. Raises OSError."""
    try:
        os.stat(path)  # most often it is absent, which is one system call
        found = os.path.realpath(path, strict=True)
        return found if stat.S_ISDIR(os.stat(found).st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        return None
