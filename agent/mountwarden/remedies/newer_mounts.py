"""Whether any mount was made on the host since: each gets the next unique id (Linux 6.8), a clone of ours too.

What was read of all namespaces is as good as new while none was. A mount that is moved keeps its id.
"""

import contextlib
import os
from collections.abc import Iterator

from ..errors import MountwardenError
from ..kernel import abi, syscalls


class MountMade(MountwardenError):
    """A mount was made since the namespaces were read: they are to be read again."""


def newest() -> int | None:
    """The unique id that the newest mount of the host has; None where the kernel does not say."""
    with _clone() as unique:
        return unique


EVERY = 8
"""It is asked before the first of what follows, and then before each so-manieth: the kernel waits for all processors
when a clone goes.
"""


class Since:
    """The mounts that are made after the one with the unique id `newest`; None: nothing is known of any."""

    def __init__(self, newest: int | None) -> None:
        self._newest = newest
        self._times = 0

    @contextlib.contextmanager
    def none(self) -> Iterator[None]:
        """For what must follow at once. Raises: MountMade, where one was made."""
        self._times += 1
        if self._newest is None or self._times % EVERY != 1:
            yield
            return
        with _clone() as unique:
            if unique != self._newest + 1:
                raise MountMade("a mount was made meanwhile")
            self._newest = unique
            yield


@contextlib.contextmanager
def _clone() -> Iterator[int | None]:
    """The unique id of a new mount that is attached nowhere, and goes with the context."""
    try:
        fd = syscalls.open_tree(abi.AT_FDCWD, b"/", abi.OPEN_TREE_CLONE)
    except OSError:
        yield None  # "/" is unbindable, or the kernel is older than 5.2
        return
    try:
        yield syscalls.mount_id(fd, unique=True)
    finally:
        os.close(fd)
