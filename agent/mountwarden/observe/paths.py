"""What a path leads to, asked in a forked child. Where a file system on the way does not answer, the text is taken."""

import contextlib
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass

from ..errors import NoAnswer
from ..kernel import child, syscalls
from ..model import Namespace
from . import processless
from .enter import in_namespace

DEADLINE = 1.0
"""Seconds for the child that walks the path."""
MANY = 5.0
"""Seconds for one that walks many."""


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


def places(
    paths: Collection[bytes], namespace: Namespace | None = None, *, deadline: float = MANY
) -> dict[bytes, ResolvedPath]:
    """Where paths lead in our own mount namespace, or in another one; what is not there is left out.

    All are walked in one child, which ends after `deadline` seconds. Raises: NoAnswer where it had not done by then, or
    no process of the namespace is left; OSError where it can't be entered.
    """

    def walked() -> dict[bytes, ResolvedPath]:
        found = {}
        for path in paths:
            with contextlib.suppress(OSError):
                found[path] = _walk(path)
        return found

    if namespace is None:
        return child.ask(walked, deadline=deadline, what="the walk of paths")
    if namespace.door is not None:
        return processless.through(namespace.door, namespace.inode, walked, deadline=deadline)
    for pid in namespace.pids:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            return in_namespace(pid, walked, inode=namespace.inode, deadline=deadline)
    raise NoAnswer(f"no process of mount namespace {namespace.inode} is left")


def _walk(path: bytes) -> ResolvedPath:
    real = os.path.realpath(path, strict=True)
    found = os.stat(real)
    rdev = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if stat.S_ISBLK(found.st_mode) else None
    mount = None
    with contextlib.suppress(OSError):
        fd = os.open(b"/", os.O_PATH | os.O_CLOEXEC)
        mount = syscalls.mount_id(fd, real)
    return ResolvedPath(real, rdev, mount)
