"""The lock in /run/mountwarden: one service, one act of a command at a time, and never both.

Two bytes of one file, each a POSIX record lock (fcntl(2), F_SETLK). The first is the service's for as long as it runs,
the second belongs to whoever acts. The kernel drops a lock when its process ends, however it ends, and a forked child
has none of its parent's: one that hangs keeps nothing. F_GETLK names the process that has a lock.

A process loses its locks when it closes any descriptor of the file: here alone it is opened, once at a time.

Where the file can't be made, since /run has no inode left or is read-only, the directory itself is locked, by flock(2).
Any user may do that too, so only what a process of root has counts; and who has the file locked asks for it as well.
"""

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from . import run_directory
from .run_directory import RunDirectory

_SERVICE, _ACT = 0, 1
_FLOCK = struct.Struct("@hhqqi")
"""struct flock of fcntl.h: l_type, l_whence, l_start, l_len, l_pid."""
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_AGAIN = 0.05
"""Seconds between two attempts."""


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who has the lock."""

    pid: int | None
    """None: it is in a pid namespace that is not ours to see."""
    is_service: bool

    def __str__(self) -> str:
        return f"process {self.pid}" if self.pid else "a process of another pid namespace"


class Lock:
    """The lock, held by this process until `close` or its end. A context manager."""

    def __init__(self, path: str, fd: int, *, acting: bool, is_first: bool = False) -> None:
        """`is_first`: no service had it in this boot."""
        self.path, self.fd, self.is_first = path, fd, is_first
        self._acting = acting

    def may_act(self) -> bool:
        """Whether no command acts: from the first True on none can, as long as this process runs."""
        self._acting = self._acting or _locked(self.fd, _ACT)
        return self._acting

    def close(self) -> None:
        """Give the lock up."""
        _held.pop(self.path, None)
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_held: dict[str, Lock] = {}
"""The locks of this process, by their paths."""
os.register_at_fork(after_in_child=_held.clear)


def serve(run: RunDirectory) -> Lock | LockHolder:
    """The service's lock, or which service has it. What a command does meanwhile ends first: see `Lock.may_act`.

    Raises: OSError.
    """
    run_directory.require_uncovered(run)
    while True:
        try:
            fd = _open(run)
        except OSError as error:
            return _directory(run, error)
        other = _directory_holder(run)
        if not other and _locked(fd, _SERVICE) and _is_there(fd, run):
            is_first = os.fstat(fd).st_size == 0  # a command may have made it
            os.ftruncate(fd, 1)  # a hole, for which there is room in a /run that is full
            return _kept(run, fd, acting=False, is_first=is_first)
        holder = other or _holder(fd, _SERVICE)
        os.close(fd)
        if holder:
            return holder


def take(run: RunDirectory, *, wait: float = 0.0) -> Lock | LockHolder:
    """The lock for an act of this command, or who has it: the service at once, another command after `wait` seconds.

    Raises: OSError.
    """
    run_directory.require_uncovered(run)
    until = time.monotonic() + wait
    while True:
        try:
            fd = _open(run)
        except OSError as error:
            return _directory(run, error)
        acting = _locked(fd, _ACT)
        holder = _directory_holder(run) or _holder(fd, _SERVICE) or (None if acting else _holder(fd, _ACT))
        if acting and not holder and _is_there(fd, run):
            return _kept(run, fd, acting=True)
        os.close(fd)
        if holder and (holder.is_service or time.monotonic() >= until):
            return holder
        time.sleep(_AGAIN if holder else 0)


def service(run: RunDirectory) -> LockHolder | None:
    """The service that runs; None where none does, and where this process is it.

    Raises: PermissionError without root; OSError.
    """
    if str(run.lock) in _held:
        return None
    with _opened(run) as fd:
        holder = None if fd is None else _holder(fd, _SERVICE)
    return holder or _directory_holder(run)


@contextlib.contextmanager
def _opened(run: RunDirectory) -> Iterator[int | None]:
    """A descriptor to ask by; None where there is no file."""
    if held := _held.get(str(run.lock)):
        yield held.fd
        return
    try:
        fd = os.open(run.lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _directory(run: RunDirectory, error: OSError) -> Lock | LockHolder:
    """The lock where the file can't be opened for writing. Raises: OSError, `error` where it is for another reason."""
    if error.errno not in _UNWRITABLE:
        raise error
    with contextlib.suppress(FileNotFoundError), open(run.lock, "rb", buffering=0) as file:
        if holder := _holder(file.fileno(), _SERVICE) or _holder(file.fileno(), _ACT):
            return holder
    fd = os.open(run.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        if holder := _directory_holder(run):
            return holder
        raise error from None
    except BaseException:
        os.close(fd)
        raise
    return _kept(run, fd, acting=True)


def _directory_holder(run: RunDirectory) -> LockHolder | None:
    """Which other process of root has the directory locked (proc_locks(5))."""
    try:
        fd = os.open(run.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with open("/proc/locks", encoding="ascii") as file:
        rows = [line.split() for line in file]
    pids = (int(row[4]) for row in rows if row[1] == "FLOCK" and row[3] == "WRITE" and row[5] == place)
    return next((LockHolder(pid, True) for pid in pids if pid > 0 and _is_roots(pid)), None)


def _is_roots(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == 0
    except FileNotFoundError:
        return False


def _open(run: RunDirectory) -> int:
    """The file, made where it is not there."""
    if str(run.lock) in _held:
        raise AssertionError("this process has the lock already, and would lose it")
    run_directory.make_directory(run.path)
    return os.open(run.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, run_directory.OWN)


def _kept(run: RunDirectory, fd: int, *, acting: bool, is_first: bool = False) -> Lock:
    return _held.setdefault(str(run.lock), Lock(str(run.lock), fd, acting=acting, is_first=is_first))


def _is_there(fd: int, run: RunDirectory) -> bool:
    """Whether the file is still the one of that path: it may have been removed before it was locked."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(run.lock, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _locked(fd: int, byte: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def _holder(fd: int, byte: int) -> LockHolder | None:
    """Which other process has a byte."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    kind, _whence, _start, _length, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked)[: _FLOCK.size])
    return None if kind == fcntl.F_UNLCK else LockHolder(pid if pid > 0 else None, byte == _SERVICE)
