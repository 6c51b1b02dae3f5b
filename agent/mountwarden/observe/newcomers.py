"""Processes and threads that were made since a moment, each asked for its mount namespace as soon as it is there.

A process that forks and exits each millisecond has ended when a listing of /proc comes to it, and so has its child. But
the kernel says which id it gave last, and ids are given in ascending order.
"""

import errno
import time
from collections.abc import Iterable, Iterator

from . import processes

UNBORN = 0.002
"""Seconds for which an id that was given may have no process yet: fork(2) gives it before it is done."""
_FIRST = 300
"""The first id after the highest one was given: RESERVED_PIDS of kernel/pid.c."""
_MOST = 4096
"""Most ids that are asked in one round."""
_NOBODY = (errno.ENOENT, errno.ESRCH)
_DENIED = (errno.EACCES, errno.EPERM)


class Newcomers:
    """Those with an id that was given since this was made, but for those that were listed otherwise."""

    def __init__(self) -> None:
        self._last = last_id()
        self._listed: frozenset[int] = frozenset()
        self._nobody: dict[int, float] = {}
        """Ids at which nobody was found, and until when they are asked again."""
        self._skipped = False

    def are_known(self, ids: Iterable[int]) -> None:
        """The namespaces of these are known: a listing that began after this was made has seen them."""
        self._listed = frozenset(ids)

    def ask(self) -> dict[int, int]:
        """One round: the inode of the mount namespace of each newcomer, by its id."""
        found = {}
        for number in [*self._nobody, *self._given()]:
            try:
                found[number] = processes.link_inode(number, "mnt")
                self._nobody.pop(number, None)
            except OSError as error:
                if error.errno in _DENIED:
                    self._nobody.pop(number, None)
                elif error.errno not in _NOBODY:
                    raise
                elif self._nobody.setdefault(number, (now := time.monotonic()) + UNBORN) < now:
                    del self._nobody[number]  # in a later round than the first: what it may have forked is asked too
        return found

    def _given(self) -> Iterator[int]:
        before, self._last = self._last, last_id()
        ids = list(_between(before, self._last))
        self._skipped |= len(ids) > _MOST
        return (number for number in ids[-_MOST:] if number not in self._listed)

    @property
    def all_asked(self) -> bool:
        """Whether the last round saw each of them: none has ended unasked, or is still to come.

        Then no process is in a namespace but those that a listing or a round has shown in it: a child has a higher id
        than its parent, and is asked later.
        """
        return not self._nobody and not self._skipped


def last_id() -> int:
    """The id of a process or thread that was given last in our pid namespace. Raises: OSError."""
    given = processes.read_or_empty("/proc/sys/kernel/ns_last_pid")  # CONFIG_CHECKPOINT_RESTORE
    return int(given or processes.read("/proc/loadavg").split()[-1])


def _between(before: int, last: int) -> Iterable[int]:
    if last >= before:
        return range(before + 1, last + 1)
    highest = int(processes.read("/proc/sys/kernel/pid_max"))
    return (*range(before + 1, highest), *range(_FIRST, last + 1))
