"""Which mount namespaces there are, and which processes are in each.

A namespace is known by the inode of its nsfs file, which readlink(2) of /proc/PID/ns/mnt gives without opening it: an
open descriptor would keep the namespace alive, so that the watcher would itself leak mounts.
"""

import errno
import os
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import TypeVar

from ..model import Door, Gap
from . import entries, processes, read_ahead
from .enter import own_namespace
from .mount_lines import USUAL, OpenMountinfo, ReadingLimits

T = TypeVar("T")

_VANISHED = (errno.ENOENT, errno.ESRCH)


@dataclass(frozen=True, slots=True)
class Inhabitants:
    """The processes of each mount namespace, by its inode; thread ids where only a thread is in it."""

    by_inode: dict[int, tuple[int, ...]]
    gaps: tuple[Gap, ...] = ()


def members(pids: Iterable[int], *, threads: bool) -> Inhabitants:
    """Group processes by mount namespace; with `threads`, also threads in a namespace of their own.

    A process that ends meanwhile is passed over. One that may not be read is counted in a gap. Raises: other OSErrors
    of readlink(2) and of reading /proc/PID/task.
    """
    found: dict[int, list[int]] = {}
    denied = 0
    for pid in pids:
        try:
            inode = processes.link_inode(pid, "mnt")
            found.setdefault(inode, []).append(pid)
            if threads:
                for tid, other in _threads_elsewhere(pid, inode).items():
                    found.setdefault(other, []).append(tid)
        except OSError as error:
            if error.errno in _VANISHED:
                continue
            if error.errno not in (errno.EACCES, errno.EPERM):
                raise
            denied += 1
    gaps = (Gap("processes whose mount namespace may not be read", "EACCES", count=denied),) if denied else ()
    return Inhabitants({inode: tuple(pids) for inode, pids in found.items()}, gaps)


def _threads_elsewhere(pid: int, inode: int) -> dict[int, int]:
    """Inode by id of each thread in another mount namespace than its process: unshare(2) is for one thread."""
    found: dict[int, int] = {}
    if os.stat(f"/proc/{pid}/task").st_nlink <= 3:  # ".", "..", and the only thread
        return found
    for _ in range(_LISTINGS):  # a listing ends early where the thread that it has come to ends
        tids = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
        seen = {tid: other for tid in tids if (other := _of_thread(tid)) is not None}
        found |= {tid: other for tid, other in seen.items() if other != inode and tid != pid}
        if len(seen) == len(tids) or len(tids) > _MANY:
            break
    return found


def _of_thread(tid: int) -> int | None:
    """Inode of the mount namespace of a thread; None where it has ended. Raises: other OSErrors of readlink(2)."""
    try:
        return processes.link_inode(tid, "mnt")  # /proc/TID exists for each thread, though /proc does not list it
    except OSError as error:
        if error.errno not in _VANISHED:
            raise
        return None


_LISTINGS = 5
"""Most listings of a process's threads, where some end meanwhile."""
_MANY = 1000
"""Threads of a process that are listed once only."""

_WAYS = 4
"""Processes in a chroot by which entering the namespace is tried."""

SETUP = 1.0
"""Seconds within which the process that made a mount namespace has set it up."""


class NewNamespaces:
    """Namespaces that are to be read once more, because they were new when they were read.

    The process that makes one sets the propagation of its mounts afterwards, for which there is no event: a reading
    before that sees what is about to change.
    """

    def __init__(self) -> None:
        self._due: dict[int, float] = {}

    def due(self) -> bool:
        """Whether any is to be read once more now."""
        return any(due <= time.monotonic() for due in self._due.values())

    def waiting(self) -> frozenset[int]:
        """Inodes of those to be read later."""
        return frozenset(self._due)

    def next(self) -> float | None:
        """When the next one is to be read, in seconds of the monotonic clock."""
        return min(self._due.values(), default=None)

    def again(self, new: Iterable[int], living: Container[int]) -> frozenset[int]:
        """Inodes of those to be read once more now, and then new no longer. The `new` ones follow after `SETUP`."""
        now = time.monotonic()
        done = frozenset(inode for inode, due in self._due.items() if due <= now)
        self._due = {inode: due for inode, due in self._due.items() if due > now and inode in living}
        self._due = dict.fromkeys(new, now + SETUP) | self._due  # one that is new at each scan is read all the same
        return done


def read(
    inode: int,
    pids: Iterable[int],
    function: Callable[[OpenMountinfo], T],
    door: Door | None = None,
    limits: ReadingLimits = USUAL,
) -> T | None:
    """What `function` makes of a namespace's mountinfo: by a process whose root is "/", else as seen from its own root.

    None when all of `pids` have ended or left. The mountinfo of a process in a chroot shows only what is below its
    root. A namespace without a process is entered by its `door`; None also when that leads elsewhere by now. `function`
    is called again where what it was given was another namespace's.

    Raises: OSError where it may not be read (EFBIG, ETIME: beyond the `limits`); NoAnswer where what entered it hung.
    """
    if (lines := read_ahead.taken(inode, limits)) is not None:
        return function(lines)
    chrooted: list[int] = []
    for pid in pids:
        try:
            if os.readlink(f"/proc/{pid}/root") != "/":
                chrooted.append(pid)
                continue
            fd = os.open(f"/proc/{pid}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
            try:
                result, size = _of(fd, function, limits)
            finally:
                os.close(fd)
            # Asked after the reading: a process that left meanwhile has shown another namespace.
            if processes.link_inode(pid, "mnt") != inode:
                continue
            # A root whose mount was detached reads as "/" too, without mounts; or it called chroot(2) meanwhile.
            if size and os.readlink(f"/proc/{pid}/root") == "/":
                return result
            chrooted.append(pid)
        except OSError as error:
            # EINVAL: the process is a zombie and has no namespace any more.
            if error.errno not in (*_VANISHED, errno.EINVAL):
                raise
    ways: tuple[int | Door, ...] = (*chrooted[:_WAYS], *(() if door is None else (door,)))
    for way in ways:
        try:
            with entries.opened_mountinfo(way, inode) as fd:
                return _of(fd, function, limits)[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


def _of(fd: int, function: Callable[[OpenMountinfo], T], limits: ReadingLimits) -> tuple[T, int]:
    """What `function` makes of an open mountinfo, and the size of that."""

    def rewound() -> int:
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    lines = OpenMountinfo(rewound, limits)
    return function(lines), lines.size


def of_pid1() -> int | None:
    """Inode of PID 1's mount namespace; our own where that may not be read but has the same mounts; else None.

    Raises: OSError other than EPERM and EACCES as readlink(2) does.
    """
    try:
        return processes.link_inode(1, "mnt")
    except PermissionError:
        pass
    try:
        first, own = processes.read("/proc/1/mountinfo"), processes.read("/proc/self/mountinfo")
    except OSError:
        return None
    # Each mount has an id of its own: the tables of two namespaces have none in common, and this one may just change.
    return own_namespace() if not _ids(first).isdisjoint(_ids(own)) else None


def _ids(text: bytes) -> set[bytes]:
    return {line.split(b" ", 1)[0] for line in text.splitlines()}
