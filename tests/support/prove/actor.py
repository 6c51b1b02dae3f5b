"""A process of a topology: it has a mount namespace of its own, and does there what the worker tells it.

It is told which processes there are, and a step or a function to call. It answers a step with its errno, or 0, and the
id of a process that it started. Everything is done by the process itself, since a program started for each step would
take a thousand times as long.
"""

import contextlib
import errno
import os
import pickle
import signal
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from mountwarden.kernel import abi, syscalls

from tests.support.prove.steps import BASE, DIRECTORIES, PATHS, Kind, Step

LOWER = (b"/mnt/lower1", b"/mnt/lower2")
"""Lower directories of the overlays, in every namespace."""

_FLAGS = {
    Kind.SHARED: abi.MS_SHARED,
    Kind.SLAVE: abi.MS_SLAVE,
    Kind.PRIVATE: abi.MS_PRIVATE,
    Kind.UNBINDABLE: abi.MS_UNBINDABLE,
}
_ON_COPY = (0, 0, abi.MS_REC | abi.MS_PRIVATE, abi.MS_REC | abi.MS_SLAVE, abi.MS_REC | abi.MS_SHARED)
"""What a new namespace's mounts are made, as unshare(1) does; 0 leaves what the kernel gave."""

Answer = tuple[int, int]
"""errno, and a process id or 0."""
Sockets = list[tuple[socket.socket, socket.socket]]
"""The worker's end and the process's own, for each process that a topology may have."""


def tell(sock: socket.socket, message: object) -> None:
    """Send one message."""
    sock.send(pickle.dumps(message))


def hear(sock: socket.socket) -> Any:
    """Receive one message."""
    return pickle.loads(sock.recv(1 << 16))


def start_home(sockets: Sockets) -> int:
    """Start the first process, home's, in a copy of the caller's namespace; returns its id."""
    return _fork(lambda: _Actor(0, sockets).live(_make_home))


def _fork(child: Callable[[], NoReturn]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(1)
    return pid


def _make_home() -> None:
    syscalls.unshare(abi.CLONE_NEWNS)
    syscalls.mount(b"home", BASE, b"tmpfs", 0, b"size=1m,mode=755")
    populate(BASE)


def populate(path: bytes) -> None:
    """Make the directories that each file system has."""
    for name in DIRECTORIES:
        os.mkdir(path + b"/" + name)


class _Actor:
    def __init__(self, number: int, sockets: Sockets) -> None:
        self._number = number
        self._sockets = sockets
        self._held: list[int] = []
        self._pids: list[int] = []
        self._mounts = 0

    def live(self, begin: Callable[[], None]) -> NoReturn:
        """Make the namespace, say so, then do steps until the worker ends it."""
        sock = self._sockets[self._number][1]
        begun = self._try(begin)
        tell(sock, begun)
        if begun[0]:
            os._exit(0)
        while True:
            self._pids, message = hear(sock)
            tell(sock, self._answer(message) if isinstance(message, Step) else message())

    def _try(self, function: Callable[[], object]) -> Answer:
        try:
            result = function()
        except OSError as error:
            return error.errno or -1, 0
        return 0, result if isinstance(result, int) else 0

    def _answer(self, step: Step) -> Answer:
        answer = self._try(lambda: self._do(step))
        if step.kind is Kind.ALONE and answer[0] == 0:
            tell(self._sockets[self._number][1], answer)
            os._exit(0)
        return answer

    def _do(self, step: Step) -> int | None:
        path, other = PATHS[step.a], PATHS[step.b]
        match step.kind:
            case Kind.SHARED | Kind.SLAVE | Kind.PRIVATE | Kind.UNBINDABLE:
                syscalls.mount(None, path, None, _FLAGS[step.kind] | (abi.MS_REC if step.how % 3 == 0 else 0))
            case Kind.UNSHARE | Kind.UNSHARE_USER:
                return self._unshare(step)
            case Kind.ENTER:
                self._enter(step.b, lambda: self._mount(step, path, PATHS[step.how % len(PATHS)]))
            case Kind.OPEN:
                self._held.append(os.open(path, os.O_RDONLY | (os.O_PATH if step.how % 2 else 0)))
            case Kind.CWD:
                os.chdir(path)
            case Kind.JAIL | Kind.ALONE:
                return _jail(path)
            case Kind.RMDIR:
                os.rmdir(path)
                os.mkdir(path)
            case Kind.UMOUNT | Kind.LAZY:
                syscalls.umount(path, abi.MNT_DETACH if step.kind is Kind.LAZY else 0)
            case _:
                self._mount(step, path, other)
        return None

    def _mount(self, step: Step, path: bytes, other: bytes) -> None:
        match step.kind:
            case Kind.BIND | Kind.RBIND:
                syscalls.mount(other, path, None, abi.MS_BIND | (abi.MS_REC if step.kind is Kind.RBIND else 0))
            case Kind.MOVE:
                syscalls.mount(other, path, None, abi.MS_MOVE)
            case Kind.BENEATH:
                self._beneath(path, other)
            case Kind.OVERLAY:
                syscalls.mount(b"overlay", path, b"overlay", 0, b"lowerdir=" + b":".join(LOWER))
            case Kind.ENTER if step.how % 2:
                syscalls.mount(other, path, None, abi.MS_BIND | (abi.MS_REC if step.how % 4 == 3 else 0))
            case _:
                self._mounts += 1
                name = b"%d-%d" % (self._number, self._mounts)
                syscalls.mount(name, path, b"tmpfs", 0, b"size=1m,mode=755")
                populate(path)

    def _beneath(self, path: bytes, other: bytes) -> None:
        """Mount a copy of `other` between the top of the stack on `path` and what is below it (Linux 6.5)."""
        flags = abi.MOVE_MOUNT_F_EMPTY_PATH | abi.MOVE_MOUNT_BENEATH
        tree = syscalls.open_tree(abi.AT_FDCWD, other, abi.OPEN_TREE_CLONE)
        try:
            syscalls.move_mount(tree, b"", abi.AT_FDCWD, path, flags)
        finally:
            os.close(tree)

    def _enter(self, number: int, function: Callable[[], object]) -> None:
        """Do something in another process's namespace, and come back. It costs the working directory."""
        own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._join(number)
            try:
                function()
            finally:
                syscalls.setns(own, abi.CLONE_NEWNS)
        finally:
            os.close(own)

    def _join(self, number: int, *, same_owner: bool = False) -> None:
        fd = os.open(f"/proc/{self._pids[number % len(self._pids)]}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # A copy that the host's root makes of a container's namespace is locked, too. Nothing tells it from a copy
            # of home's own that was made a slave (see locked.py), and nobody does so.
            if same_owner and syscalls.owner_of_namespace(fd) != _own_user():
                raise PermissionError(errno.EPERM, "the namespace has another owner")
            syscalls.setns(fd, abi.CLONE_NEWNS)
        finally:
            os.close(fd)

    def _unshare(self, step: Step) -> int:
        """Start a process with a copy of our namespace, or of another's; `b` is the new one's number (see worker)."""
        user, via = step.kind is Kind.UNSHARE_USER, step.a if step.how % 3 == 0 else None

        def begin() -> None:
            if via is not None:
                with contextlib.suppress(OSError):  # else it is our own that is copied
                    self._join(via, same_owner=not user)
            syscalls.unshare(abi.CLONE_NEWNS | (abi.CLONE_NEWUSER if user else 0))
            if user:
                _map_ourselves()
            if flags := _ON_COPY[step.how % len(_ON_COPY)]:
                syscalls.mount(None, b"/", None, flags)

        return _fork(lambda: _Actor(step.b, self._sockets).live(begin))


def _own_user() -> int:
    return os.stat("/proc/self/ns/user").st_ino


def _map_ourselves() -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _jail(path: bytes) -> int:
    """Start a process that sleeps with `path` as its root."""
    told, tells = os.pipe()

    def jailed() -> NoReturn:
        try:
            os.chroot(path)
        except OSError as error:
            os.write(tells, bytes((error.errno or 255,)))
            raise
        os.write(tells, b"\0")
        while True:
            signal.pause()

    pid = _fork(jailed)
    failed = os.read(told, 1)[0]
    os.close(told)
    os.close(tells)
    if failed:
        os.waitpid(pid, 0)  # on its way out it would still be seen as a user of our directory
        raise OSError(failed, os.strerror(failed))
    return pid


def unmount(path: bytes, flags: int) -> int:
    """umount2(2); returns errno or 0."""
    return _errno(lambda: syscalls.umount(path, flags))


def remove(path: bytes) -> int:
    """rmdir(2)."""
    return _errno(lambda: os.rmdir(path))


def replace(path: bytes) -> int:
    """rename(2) of an empty directory over another."""
    new = path + b"~"
    os.mkdir(new)
    if result := _errno(lambda: os.rename(new, path)):
        os.rmdir(new)
    return result


def locked_among(mounts: list[tuple[int, bytes]]) -> set[int]:
    """Which of these mounts (id, path) are locked, asked of the kernel without a chance to unmount any.

    MNT_EXPIRE fails with EINVAL for a locked mount, and for another one with EBUSY since we have it open.
    """
    found = set()
    for identity, path in mounts:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            answer = _errno(lambda fd=fd: syscalls.umount(b"/proc/self/fd/%d" % fd, abi.MNT_EXPIRE))  # type: ignore[misc]
        finally:
            os.close(fd)
        if answer == errno.EINVAL:
            found.add(identity)
        elif answer != errno.EBUSY:
            raise OSError(answer, "an umount that can only fail", path)
    return found


def _errno(function: Callable[[], object]) -> int:
    try:
        function()
    except OSError as error:
        return error.errno or -1
    return 0
