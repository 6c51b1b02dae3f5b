"""A forked child inside another mount namespace, for what must be seen or done there."""

import contextlib
import os
from collections.abc import Callable
from typing import TypeVar

from ..kernel import abi, child, syscalls

T = TypeVar("T")

DEADLINE = 3.0
"""Seconds for a child, where the caller gives no other deadline."""


def own_namespace() -> int:
    """Inode of the caller's mount namespace."""
    return os.stat("/proc/self/ns/mnt").st_ino


def in_namespace(
    pid: int,
    function: Callable[[], T],
    *,
    inode: int | None = None,
    deadline: float = DEADLINE,
    kind: str | None = None,
) -> T:
    """Run `function` in a forked child that has entered the mount namespace of process `pid`; return what it returns.

    `inode` is that namespace's, where the caller knows it; `deadline` is in seconds. With a `kind` it is not
    asked while a child of that kind hangs since before. The child's root and working directory are the namespace's
    root: setns(2) sets both. Nothing stays open after it.

    Raises: ProcessLookupError where the process is not in `inode` (any more); OSError as open(2) and setns(2) do;
    NoAnswer where the child missed the deadline; what `function` raises.
    """

    def entered() -> T:
        fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        if inode is not None and os.fstat(fd).st_ino != inode:
            raise ProcessLookupError(f"process {pid} is no longer in mount namespace {inode}")
        syscalls.setns(fd, abi.CLONE_NEWNS)
        os.close(fd)
        return function()

    with child.one_at_a_time(kind) if kind else contextlib.nullcontext():
        return child.ask(entered, deadline=deadline, what=f"the child in the mount namespace of process {pid}")
