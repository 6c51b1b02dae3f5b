"""What a path leads to, asked in a forked child. Where a file system on the way does not answer, the text is taken."""

import contextlib
import os
import stat
from dataclasses import dataclass

from ..errors import NoAnswer
from ..kernel import child, syscalls

DEADLINE = 1.0
"""Seconds for the child that walks the path."""


@dataclass(frozen=True, slots=True)
class ResolvedPath:
    """Where a path leads in our own namespace."""

    path: bytes
    """Symbolic links resolved, where the file systems on the way answer."""
    rdev: str | None = None
    """major:minor, where it is a block device."""
    mount: int | None = None
    """Small id of the mount that it is on."""
    answered: bool = True
    """False where the child hung: `path` is then the text, made absolute."""


def place(path: bytes) -> ResolvedPath:
    """Walk a path. Raises: OSError as stat(2) does, such as ENOENT."""
    try:
        return child.ask(lambda: _walk(path), deadline=DEADLINE, what="the walk of the path")
    except NoAnswer:
        return ResolvedPath(os.path.normpath(os.path.abspath(path)), answered=False)


def _walk(path: bytes) -> ResolvedPath:
    real = os.path.realpath(path, strict=True)
    found = os.stat(real)
    rdev = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if stat.S_ISBLK(found.st_mode) else None
    mount = None
    with contextlib.suppress(OSError):
        fd = os.open(b"/", os.O_PATH | os.O_CLOEXEC)
        mount = syscalls.mount_id(fd, real)
    return ResolvedPath(real, rdev, mount)
