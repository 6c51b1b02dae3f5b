"""A forked child inside another mount namespace, for what must be seen or done there."""

import os
from collections.abc import Callable
from typing import TypeVar

from ..kernel import abi, child, syscalls

T = TypeVar("T")

DEADLINE = 3.0
"""Seconds that a child gets when nothing else is said."""


def own_namespace() -> int:
    """Inode of the caller's mount namespace."""
    return os.stat("/proc/self/ns/mnt").st_ino


def in_namespace(pid: int, function: Callable[[], T], *, inode: int | None = None, deadline: float = DEADLINE) -> T:
    """Run `function` in a forked child that has entered the mount namespace of process `pid`; return its answer.

    `inode` is the namespace that is meant: a `pid` that was reused, or that has moved on, raises ProcessLookupError.
    The child's root and working directory are the namespace's root (setns(2) sets both). Nothing stays open after it.

    Raises: OSError as open(2) and setns(2) do; NoAnswer past the deadline (seconds); what `function` raises.
    """

    def entered() -> T:
        fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        if inode is not None and os.fstat(fd).st_ino != inode:
            raise ProcessLookupError(f"process {pid} is no longer in mount namespace {inode}")
        syscalls.setns(fd, abi.CLONE_NEWNS)
        os.close(fd)
        return function()

    return child.ask(entered, deadline=deadline, what=f"the child in the mount namespace of process {pid}")
