"""A Looker that sees this test run alone: what others do on the machine meanwhile would be seen too."""

import errno
import os
from collections.abc import Callable

from mountwarden.observe import descriptors, entries, newcomers, processes
from mountwarden.observe.enter import DEADLINE

_RUN = os.getpid()


def only_ours(bare: frozenset[int] | None = None) -> None:
    """From here on, for the rest of a forked child: no process but this run's own is there to be looked at.

    The walk over all mount namespaces shows those without a process that are `bare`; None: it is refused.
    """
    every: Callable[[], list[int]] = processes.pids
    processes.pids = lambda: [pid for pid in every() if _is_ours(pid)]
    newcomers.Newcomers._given = lambda _: iter(())  # type: ignore[method-assign]
    walk = entries.walk

    def walked(*, deadline: float = DEADLINE) -> tuple[int, ...]:
        if bare is None:
            raise PermissionError(errno.EPERM, "others' namespaces would now seem to have no process")
        return tuple(inode for inode in walk(deadline=deadline) if inode in bare)

    entries.walk = walked


def only_namespaces(*inodes: int) -> None:
    """From here on, for the rest of a forked child: there are no mount namespaces but these and the test run's."""
    link, walk, described = processes.link_inode, entries.walk, descriptors.inode_in
    ours = {*inodes, link(_RUN, "mnt")}

    def link_inode(pid: int, namespace: str) -> int:
        found = link(pid, namespace)
        if namespace == "mnt" and found not in ours:
            raise PermissionError(errno.EACCES, "it is none of ours")
        return found

    def inode_in(link: bytes) -> int | None:
        inode = described(link)
        return inode if inode in ours else None

    processes.link_inode, descriptors.inode_in = link_inode, inode_in
    entries.walk = lambda *, deadline=DEADLINE: tuple(inode for inode in walk(deadline=deadline) if inode in inodes)


def _is_ours(pid: int) -> bool:
    while pid not in (0, _RUN):
        try:
            pid = int(processes.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return False
    return pid == _RUN
