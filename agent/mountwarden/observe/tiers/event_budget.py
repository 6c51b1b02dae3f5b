"""Which mount namespaces cause more mount events than the budget allows."""

from collections import Counter

from .. import processes
from .fanotify import Events

A_SECOND = 1000
"""Mount events that the processes of one mount namespace may cause in a second."""


def over(events: Events, seconds: float) -> list[int]:
    """Inodes of the mount namespaces whose processes caused too many of these events, which came within `seconds`.

    An event does not name its namespace, only the process that mounted; a process that has ended is passed over.
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
