"""Which mount namespaces there are, and who is in each.

A namespace is known by the inode of its nsfs file, which `readlink /proc/PID/ns/mnt` shows without opening anything:
an open descriptor would pin the namespace, and make the watcher the leaker.
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
    """Group processes by mount namespace; with `threads`, also those threads that left their process's namespace.

    A process that ends meanwhile costs only itself. One that may not be looked at is counted in a gap.
    """
    found: dict[int, list[int]] = {}
    denied = 0
    for pid in pids:
        try:
            inode = processes.link_inode(pid, "mnt")
            found.setdefault(inode, []).append(pid)
            if threads:
                for tid, other in _stray_threads(pid, inode):
                    found.setdefault(other, []).append(tid)
        except OSError as error:
            if error.errno in _VANISHED:
                continue
            if error.errno not in (errno.EACCES, errno.EPERM):
                raise
            denied += 1
    gaps = (Gap("processes whose mount namespace may not be read", "EACCES", count=denied),) if denied else ()
    return Inhabitants({inode: tuple(pids) for inode, pids in found.items()}, gaps)


def _stray_threads(pid: int, inode: int) -> Iterable[tuple[int, int]]:
    """(tid, inode) of each thread in another mount namespace than its process (unshare(2) works for one thread)."""
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
"""Seconds in which a new mount namespace is set up by who made it."""


class New:
    """Namespaces that are to be read once more, because they were new when they were read.

    Who makes one sets the propagation of its mounts afterwards, which nothing tells of: a reading amid that sees what
    is about to change.
    """

    def __init__(self) -> None:
        self._due: dict[int, float] = {}

    def due(self) -> bool:
        """Whether the time of any has come."""
        return any(due <= time.monotonic() for due in self._due.values())

    def again(self, new: Iterable[int], living: Container[int]) -> frozenset[int]:
        """Inodes of those whose time has come, which are new no more; that of the `new` ones begins now."""
        now = time.monotonic()
        done = frozenset(inode for inode, due in self._due.items() if due <= now)
        self._due = {inode: due for inode, due in self._due.items() if due > now and inode in living}
        self._due |= dict.fromkeys(new, now + SETUP)
        return done


BUDGET = 32 << 20
"""Bytes of one namespace's mountinfo that are read: a namespace with more is a gap, and does not starve the others."""


def read_mountinfo(inode: int, pids: Iterable[int], door: Door | None = None) -> bytes | None:
    """The mountinfo text of a namespace, whole: by a process whose root is "/", else by a child that enters it.

    None when all of `pids` have ended or left. A process in a chroot is no reader: it is shown only its jail. A
    namespace without a process is entered by its `door`; None too when that leads elsewhere by now.

    Raises: OSError where it may not be read (EFBIG: it is beyond `BUDGET`); NoAnswer where the child hung.
    """
    jailed: list[int] = []
    for pid in pids:
        try:
            if os.readlink(f"/proc/{pid}/root") != "/":
                jailed.append(pid)
                continue
            text = _whole(os.open(f"/proc/{pid}/mountinfo", os.O_RDONLY | os.O_CLOEXEC))
            # Asked after the reading: a process that moved on meanwhile has shown another namespace.
            if processes.link_inode(pid, "mnt") != inode:
                continue
            # A root whose mount was detached reads as "/" too, and shows no mount; or it went to jail meanwhile.
            if text and os.readlink(f"/proc/{pid}/root") == "/":
                return text
            jailed.append(pid)
        except OSError as error:
            # EINVAL: the process is a zombie and has no namespace any more.
            if error.errno not in (*_VANISHED, errno.EINVAL):
                raise
    for pid in jailed:
        try:
            return _read_from_inside(inode, pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    try:
        return None if door is None else _read_from_inside(inode, door)
    except (FileNotFoundError, ProcessLookupError):
        return None


def _read_from_inside(inode: int, way: int | Door) -> bytes:
    """By a child that enters the namespace by a process of it, or by a door."""
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if isinstance(way, Door):
            return processless.through(way, inode, lambda: read_self(proc))
        return in_namespace(way, lambda: read_self(proc), inode=inode, deadline=DEADLINE)
    finally:
        os.close(proc)


def read_self(proc: int) -> bytes:
    """The caller's mountinfo through our own /proc, since the entered namespace may have none, or a hostile one."""
    return _whole(os.open("self/mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc))


def _whole(fd: int) -> bytes:
    """All of an open mountinfo, up to the budget. The kernel gives it in pieces of a page."""
    text = bytearray()
    with os.fdopen(fd, "rb", buffering=0) as file:
        while part := file.read(1 << 14):
            text += part
            if len(text) > BUDGET:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return bytes(text)


def of_pid1() -> int | None:
    """Inode of PID 1's mount namespace; our own where PID 1 can't be read but shows the same mounts; else None."""
    try:
        return processes.link_inode(1, "mnt")
    except PermissionError:
        pass
    try:
        first, own = processes.read("/proc/1/mountinfo"), processes.read("/proc/self/mountinfo")
    except OSError:
        return None
    return own_namespace() if _ids(first) == _ids(own) else None


def _ids(text: bytes) -> list[bytes]:
    return [line.split(b" ", 1)[0] for line in text.splitlines()]
