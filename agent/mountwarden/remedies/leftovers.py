"""What a detach that was killed leaves behind at worst: one empty sibling, under a name that nobody else uses.

A sibling is ours when its name is `PREFIX` and 16 hex digits, it stands beside a mountpoint of a guarded layout, on the
mount that holds the root in home, is empty, and is no mountpoint there. Nothing else is ever removed.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..errors import Declined, NoAnswer
from ..kernel import abi, syscalls
from ..model import Base, Layout, Root, RootKind
from . import replace
from .children import at_home

if TYPE_CHECKING:
    from ..scan.result import Scan

_NAME = re.compile(re.escape(replace.PREFIX) + rb"[0-9a-f]{16}")
_KINDS = (RootKind.GRAPH, RootKind.CUSTOM)
"""Roots below which the service takes actions by itself. What lies below others may hang."""
_WALK = abi.RESOLVE_BENEATH | abi.RESOLVE_NO_SYMLINKS | abi.RESOLVE_NO_MAGICLINKS | abi.RESOLVE_NO_XDEV


def remove(scan: "Scan") -> list[bytes]:
    """Remove the leftovers beside the mountpoints of all roots of `_KINDS`; returns their paths in home.

    A root that can't be searched is left as it is.
    """
    found: list[bytes] = []
    for state in scan.picture.roots:
        if state.mount is None or state.root.kind not in _KINDS:
            continue
        for base in state.bases:
            for layout in state.root.layout:
                try:
                    found += at_home(state.home, scan, _Sweep(state.root, base, layout))
                except (Declined, NoAnswer, OSError):
                    continue
    return found


def remove_beside(points: Iterable[replace.Mountpoint]) -> list[bytes]:
    """Remove the leftovers beside some mountpoints. Runs in the root's home."""
    found: list[bytes] = []
    for point in points:
        found += _swept(point.base, point.base_mount, [os.path.dirname(point.rel) or b"."], is_file=point.is_file)
    return found


class _Sweep:
    """All directories that hold mountpoints of one layout below one base."""

    def __init__(self, root: Root, base: Base, layout: Layout) -> None:
        self._path = root.path if not base.rel else base.mount.point
        self._base, self._layout = base, layout

    def __call__(self) -> list[bytes]:
        parts = self._layout.pattern.split(b"/")
        above = self._base.rel.split(b"/") if self._base.rel else []
        if b"**" in parts or len(above) >= len(parts):
            return []
        parents = _expand(self._path, parts[len(above) : -1])
        return _swept(self._path, self._base.mount.id, parents, is_file=self._layout.is_file)


def _expand(base: bytes, parts: list[bytes]) -> Iterator[bytes]:
    """The directories below `base` that a pattern names, by names alone: each is opened by `_swept`, with care."""
    if not parts:
        yield b"."
        return
    first, rest = parts[0], parts[1:]
    for name in _directories(base) if first == b"*" else [first]:
        for deeper in _expand(os.path.join(base, name), rest):
            yield name if deeper == b"." else name + b"/" + deeper


def _directories(path: bytes) -> list[bytes]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _swept(base_path: bytes, mount: int, parents: "Iterator[bytes] | list[bytes]", *, is_file: bool) -> list[bytes]:
    base = os.open(base_path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if syscalls.mount_id(base) != mount:
            return []
        return [
            os.path.normpath(base_path + b"/" + parent + b"/" + name)
            for parent in parents
            for name in _swept_in(base, parent, is_file=is_file)
        ]
    finally:
        os.close(base)


def _swept_in(base: int, parent: bytes, *, is_file: bool) -> list[bytes]:
    try:
        fd = syscalls.openat2(base, parent, os.O_RDONLY | os.O_DIRECTORY, resolve=_WALK)
    except OSError:
        return []  # a symbolic link, another mount, or gone
    try:
        names = [os.fsencode(name) for name in os.listdir(fd)]
        return [name for name in names if _NAME.fullmatch(name) and _removed(fd, name, is_file=is_file)]
    finally:
        os.close(fd)


def _removed(parent: int, name: bytes, *, is_file: bool) -> bool:
    """rmdir(2) itself refuses what is not empty or is a mountpoint here."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if is_file and stat.S_ISREG(status.st_mode) and status.st_size == 0 and status.st_nlink == 1:
            os.unlink(name, dir_fd=parent)
            return True
        if not is_file and stat.S_ISDIR(status.st_mode):
            os.rmdir(name, dir_fd=parent)
            return True
    except OSError:
        return False
    return False
