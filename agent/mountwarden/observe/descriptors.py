"""Open descriptors of mount namespaces, by the links of /proc/PID/fd.

A user may have a hundred thousand descriptors in one process, and a hundred such processes. So a search has little time
for each process and for all, and the next one goes on where it stopped.
"""

import errno
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

from ..model import Door, Gap

_VANISHED = (errno.ENOENT, errno.ESRCH)
_DENIED = (errno.EACCES, errno.EPERM)
_STEP = 256
"""Links after which the clock is asked."""
_FIRST = 2
"""Where descriptor 0 is in its directory: behind "." and ".."."""

SECONDS = 0.5
"""Most time of one search."""
EACH = 0.1
"""Most time for one process."""


class Descriptors:
    """Searches for them, and remembers where the last search stopped and what it had found by then."""

    def __init__(self) -> None:
        self._doors: dict[int, Door] = {}
        self._stopped: dict[int, int] = {}
        """Processes that were not searched to their end, and the position of the descriptor that comes next."""
        self._last = 0
        """The process that the last search ended with, where it did not come to all."""

    def search(
        self, known: Mapping[int, tuple[int, ...]], pids: Sequence[int], wanted: Collection[int] | None
    ) -> tuple[dict[int, Door], tuple[Gap, ...]]:
        """A door for each mount namespace but the `known` (processes by inode), and what could not be searched.

        `wanted` are those that there can be; None where that is not known. Raises: OSError other than for a process
        that has ended or may not be read.
        """
        readable = frozenset().union(*known.values())  # the others are already a gap
        until, denied, unsearched = time.monotonic() + SECONDS, 0, 0
        found = {inode: door for inode, door in self._doors.items() if inode not in known and inode_at(door) == inode}
        for count, pid in enumerate(self._in_turn(pids)):
            if wanted is not None and found.keys() >= set(wanted):
                break
            if count and time.monotonic() > until:
                unsearched = len(pids) - count + unsearched
                break
            try:
                unsearched += not self._search(pid, known, found)
            except OSError as error:
                if error.errno not in (*_VANISHED, *_DENIED):
                    raise
                denied += error.errno in _DENIED and pid in readable
            self._last = pid
        self._doors = found
        self._stopped = {pid: position for pid, position in self._stopped.items() if pid in set(pids)}
        return dict(found), _gaps(denied, unsearched if wanted is None else 0)

    def _in_turn(self, pids: Sequence[int]) -> list[int]:
        return [*(pid for pid in pids if pid > self._last), *(pid for pid in pids if pid <= self._last)]

    def _search(self, pid: int, known: Mapping[int, tuple[int, ...]], found: dict[int, Door]) -> bool:
        """Whether the search of this process has come to its last descriptor. Raises: OSError as open(2) does."""
        directory = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if start := self._stopped.pop(pid, 0):
                os.lseek(directory, start, os.SEEK_SET)
            until = time.monotonic() + EACH
            for count, (name, inode) in enumerate(_links(directory), 1):
                if inode is not None and inode not in known:
                    found.setdefault(inode, Door("fd", pid, os.fsencode(f"/proc/{pid}/fd/{name}")))
                if count % _STEP == 0 and time.monotonic() > until:
                    self._stopped[pid] = int(name) + 1 + _FIRST
                    return False
            return not start  # else the first ones are searched in the next search
        finally:
            os.close(directory)


def _links(directory: int) -> Iterator[tuple[str, int | None]]:
    """Each descriptor from the directory's position on, and the inode of the mount namespace that it is of, if any."""
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                yield entry.name, inode_in(os.readlink(os.fsencode(entry.name), dir_fd=directory))
            except FileNotFoundError:
                continue


def inode_at(door: Door) -> int | None:
    """The inode of the mount namespace whose descriptor is at a door now; None where there is none."""
    try:
        return inode_in(os.readlink(door.path))
    except OSError:
        return None


def inode_in(root: bytes) -> int | None:
    """The inode in `mnt:[4026531841]`, which is the root of an nsfs mount and the link of a descriptor."""
    if not root.startswith(b"mnt:[") or not root.endswith(b"]"):
        return None
    digits = root[5:-1]
    return int(digits) if digits.isdigit() else None


def _gaps(denied: int, unsearched: int) -> tuple[Gap, ...]:
    gaps = []
    if denied:
        gaps.append(Gap("processes whose descriptors may not be read", "EACCES", count=denied))
    if unsearched:
        why = "there are too many for one search; the next ones go on"
        gaps.append(Gap("processes whose descriptors were not all searched", why, count=unsearched))
    return tuple(gaps)
