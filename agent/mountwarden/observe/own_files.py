"""Which processes of root have files of a directory open, or work in it: by the texts of /proc's links alone.

No link is followed, so nothing is asked of a file system that may hang.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping

from ..mounts.table import below

MOST = 50_000
"""Links that are read, of all processes together; what is beyond is not known."""

_DELETED = b" (deleted)"


def users(pids: Iterable[int], directories: Mapping[bytes, Collection[bytes]]) -> dict[bytes, list[int]]:
    """By directory: the processes that work in it or have a file below it open, beside what is mounted there.

    `pids` are processes of one mount namespace, the directories those of its view, each with the mountpoints below it:
    whoever is in one of those need not be whose directory it is. Processes of others than root, with another root
    directory, and process 1 are passed over.
    """
    found: dict[bytes, list[int]] = {}
    within = {directory: tuple(point + b"/" for point in points) for directory, points in directories.items()}
    left = MOST
    for pid in pids:
        if pid in (1, os.getpid()) or not _is_roots(pid):
            continue
        seen = set[bytes]()
        for path in _links(pid):
            left -= 1
            if left < 0:
                return found
            for directory, mounted in within.items():
                is_below = directory not in seen and below(directory, path) is not None
                if is_below and not (path + b"/").startswith(mounted):
                    seen.add(directory)
                    found.setdefault(directory, []).append(pid)
    return found


def _is_roots(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == 0 and os.readlink(f"/proc/{pid}/root") == "/"
    except OSError:
        return False  # it has ended, or is a process that nobody may read


def _links(pid: int) -> Iterator[bytes]:
    directory = b"/proc/%d/fd" % pid
    try:
        names = [b"/proc/%d/cwd" % pid, *(directory + b"/" + name for name in os.listdir(directory))]
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(name).removesuffix(_DELETED)
        except OSError:
            continue  # closed meanwhile
