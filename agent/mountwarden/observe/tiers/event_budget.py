"""Which namespaces cause more mount events than they may."""

from collections import Counter

from .. import processes
from .fanotify import Events

A_SECOND = 1000
"""Events that the processes of one mount namespace may cause in a second."""


def over(events: Events, seconds: float) -> list[int]:
    """Inodes of the mount namespaces whose processes caused too many of the events of so many seconds.

    An event does not name its namespace, only the process that mounted; one that ended meanwhile can't be told.
    """
    most = A_SECOND * max(1.0, seconds)
    if events.causes.total() <= most:
        return []
    by_inode = Counter[int]()
    for pid, count in events.causes.most_common(100):
        try:
            by_inode[processes.link_inode(pid, "mnt")] += count
        except OSError:
            continue
    return [inode for inode, count in by_inode.items() if count > most]
