"""Which mount namespaces there are, and which processes are in each.

A namespace is known by the inode of its nsfs file, which readlink(2) of /proc/PID/ns/mnt gives without opening it: an
open descriptor would keep the namespace alive, so that the watcher would itself leak mounts.
"""

import errno
import os
import time
from collections.abc import Container, Iterable
from dataclasses import dataclass

from ..model import Door, Gap
from . import processes, processless
from .enter import DEADLINE, in_namespace, own_namespace

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
                for tid, other in _threads_elsewhere(pid, inode):
                    found.setdefault(other, []).append(tid)
        except OSError as error:
            if error.errno in _VANISHED:
                continue
            if error.errno not in (errno.EACCES, errno.EPERM):
                raise
            denied += 1
    gaps = (Gap("processes whose mount namespace may not be read", "EACCES", count=denied),) if denied else ()
    return Inhabitants({inode: tuple(pids) for inode, pids in found.items()}, gaps)


def _threads_elsewhere(pid: int, inode: int) -> Iterable[tuple[int, int]]:
    """(tid, inode) of each thread in another mount namespace than its process: unshare(2) is for one thread."""
    if os.stat(f"/proc/{pid}/task").st_nlink <= 3:  # ".", "..", and the only thread
        return
    for name in os.listdir(f"/proc/{pid}/task"):
        if (tid := int(name)) == pid:
            continue
        try:
            other = processes.link_inode(tid, "mnt")  # /proc/TID exists for each thread, though /proc does not list it
        except OSError as error:
            if error.errno in _VANISHED:
                continue
            raise
        if other != inode:
            yield tid, other


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

    def again(self, new: Iterable[int], living: Container[int]) -> frozenset[int]:
        """Inodes of those to be read once more now, and then new no longer. The `new` ones follow after `SETUP`."""
        now = time.monotonic()
        done = frozenset(inode for inode, due in self._due.items() if due <= now)
        self._due = {inode: due for inode, due in self._due.items() if due > now and inode in living}
        self._due |= dict.fromkeys(new, now + SETUP)
        return done


BUDGET = 32 << 20
"""Most bytes of one namespace's mountinfo: one with more is a gap, so that it does not hold up the others."""

SECONDS = 2.0
"""Most CPU time for it, most of which is the kernel's: a line of a mount in a stack takes a step for each below it."""


def read_mountinfo(inode: int, pids: Iterable[int], door: Door | None = None) -> bytes | None:
    """The mountinfo text of a namespace, whole: by a process whose root is "/", else by a child that enters it.

    None when all of `pids` have ended or left. The mountinfo of a process in a chroot shows only what is below its
    root. A namespace without a process is entered by its `door`; None also when that leads elsewhere by now.

    Raises: OSError where it may not be read (EFBIG: it is longer than `BUDGET`, ETIME: it takes longer than `SECONDS`);
    NoAnswer where the child hung.
    """
    chrooted: list[int] = []
    for pid in pids:
        try:
            if os.readlink(f"/proc/{pid}/root") != "/":
                chrooted.append(pid)
                continue
            text = _whole(os.open(f"/proc/{pid}/mountinfo", os.O_RDONLY | os.O_CLOEXEC))
            # Asked after the reading: a process that left meanwhile has shown another namespace.
            if processes.link_inode(pid, "mnt") != inode:
                continue
            # A root whose mount was detached reads as "/" too, without mounts; or it called chroot(2) meanwhile.
            if text and os.readlink(f"/proc/{pid}/root") == "/":
                return text
            chrooted.append(pid)
        except OSError as error:
            # EINVAL: the process is a zombie and has no namespace any more.
            if error.errno not in (*_VANISHED, errno.EINVAL):
                raise
    for pid in chrooted:
        try:
            return _read_from_inside(inode, pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    try:
        return None if door is None else _read_from_inside(inode, door)
    except (FileNotFoundError, ProcessLookupError):
        return None


def _read_from_inside(inode: int, way: int | Door) -> bytes:
    """By a child that enters the namespace by one of its processes or by its door. Raises: as `read_mountinfo`."""
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if isinstance(way, Door):
            return processless.through(way, inode, lambda: read_self(proc))
        return in_namespace(way, lambda: read_self(proc), inode=inode, deadline=DEADLINE)
    finally:
        os.close(proc)


def read_self(proc: int) -> bytes:
    """The caller's mountinfo by a descriptor of our own /proc: the entered namespace may have none, or a hostile one.

    Raises: OSError as open(2) and read(2) do; EFBIG and ETIME where it is beyond `BUDGET` or `SECONDS`.
    """
    return _whole(os.open("self/mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc))


def _whole(fd: int) -> bytes:
    """All of an open mountinfo, which the kernel gives in pieces of a page. Raises: OSError; as `read_self`."""
    text, until = bytearray(), time.thread_time() + SECONDS
    with os.fdopen(fd, "rb", buffering=0) as file:
        while part := file.read(1 << 14):
            text += part
            if len(text) > BUDGET:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            if time.thread_time() > until:
                raise OSError(errno.ETIME, os.strerror(errno.ETIME))
    return bytes(text)


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
