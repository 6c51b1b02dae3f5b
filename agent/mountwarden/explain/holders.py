"""Who keeps a mount namespace alive: its processes, with their unit and container, and what kind of namespace that is.

Names come from cgroup paths, never from the bus: that costs three small reads a process and cannot block.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..model import Gap, Holder, Namespace, NamespaceKind
from ..systemd.cgroups import CgroupNames, place
from .members import Members, service_of

MOST = 64
"""How many processes of one namespace are read."""

_VANISHED = (errno.ENOENT, errno.ESRCH)
_DENIED = (errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True)
class _Process:
    holder: Holder
    foreign: frozenset[str]
    """Which of its "pid" and "user" namespaces are not the agent's own."""


def members(namespace: Namespace) -> Members:
    """Read who is in a namespace. A process that ended or left meanwhile costs only itself.

    In one without processes that is entered by a descriptor, it is the process that has the descriptor open.
    Raises: OSError.
    """
    found: list[_Process] = []
    denied = 0
    if namespace.door is not None and not namespace.pids:
        keeper = holder(namespace.door.pid) if namespace.door.via == "fd" else None
        return Members(NamespaceKind.BARE, (keeper,) if keeper else ())
    for pid in sorted(namespace.pids)[:MOST]:
        try:
            if process := _read(pid, namespace):
                found.append(process)
        except OSError as error:
            if error.errno not in (*_VANISHED, *_DENIED, errno.EINVAL):  # EINVAL: a zombie's namespaces
                raise
            denied += error.errno in _DENIED
    gaps = (Gap("processes that may not be read", "EACCES", namespace.inode, denied),) if denied else ()
    return Members(_kind(namespace, found), tuple(p.holder for p in found), max(0, len(namespace.pids) - MOST), gaps)


def holder(pid: int) -> Holder | None:
    """One process, whatever namespace it is in; None when it has ended. Raises: OSError where it may not be read."""
    try:
        with _directory(pid) as fd:
            return _holder(pid, fd, place(_file(fd, "cgroup")))
    except OSError as error:
        if error.errno not in _VANISHED:
            raise
        return None


def _kind(namespace: Namespace, processes: list[_Process]) -> NamespaceKind:
    """A container by its cgroup or, for a runtime that we do not know, by its pid or user namespace."""
    if not processes:
        return NamespaceKind.PROCESS if namespace.pids else NamespaceKind.BARE
    if any(process.holder.container for process in processes):
        return NamespaceKind.CONTAINER
    if any("pid" in process.foreign for process in processes):
        return NamespaceKind.CONTAINER
    # PrivateUsers= gives a service its own user namespace, so that alone makes no container.
    if service_of(processes[0].holder):
        return NamespaceKind.SERVICE
    return NamespaceKind.CONTAINER if processes[0].foreign else NamespaceKind.PROCESS


def _read(pid: int, namespace: Namespace) -> _Process | None:
    """A process by one descriptor of its /proc directory: it pins nothing, and a reused pid gives ESRCH."""
    with _directory(pid) as fd:
        where = place(_file(fd, "cgroup"))
        process = _Process(_holder(pid, fd, where), _foreign(fd))
        # Read last: a process that has left meanwhile is no holder. The link's text is "mnt:[4026531841]".
        if os.readlink("ns/mnt", dir_fd=fd) != f"mnt:[{namespace.inode}]":
            return None
        return process


@contextmanager
def _directory(pid: int) -> Iterator[int]:
    fd = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _holder(pid: int, fd: int, where: CgroupNames) -> Holder:
    return Holder(
        pid=pid,
        comm=os.fsdecode(_file(fd, "comm").removesuffix(b"\n")),
        unit=where.unit,
        container=where.container,
        user=_real_uid(_file(fd, "status")),
        user_unit=where.user_unit,
    )


def _real_uid(status: bytes) -> int | None:
    """The first number of `Uid:` in proc_pid_status(5). The name in its first line has its newlines escaped."""
    line = next((line for line in status.split(b"\n") if line.startswith(b"Uid:")), b"")
    fields = line.split()
    return int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else None


def _foreign(fd: int) -> frozenset[str]:
    kinds = ("pid", "user")
    return frozenset(
        kind for kind in kinds if os.readlink(f"ns/{kind}", dir_fd=fd) != os.readlink(f"/proc/self/ns/{kind}")
    )


def _file(directory: int, name: str) -> bytes:
    with open(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory), "rb", buffering=0) as file:
        return file.read()
