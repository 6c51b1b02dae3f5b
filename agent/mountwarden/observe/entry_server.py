"""The child that enters foreign mount namespaces: what it is asked for, and how it answers. See `entries`."""

import contextlib
import errno
import os
import struct
from collections.abc import Generator, Iterable, Sequence

from ..kernel import abi, syscalls
from ..kernel.worker import Reply, Serve
from ..model import Door

MOUNTINFO, NAMESPACE, WALK, HOLD, RELEASE, LET_GO = b"M", b"N", b"W", b"H", b"R", b"L"
"""What is asked for, the first byte of a request. Without an answer that matters: RELEASE, LET_GO."""
BATCH = 64
"""Most namespaces that one walk opens."""
PAGE = 8192
"""Most inodes in one answer to WALK."""
IDLE = 5.0
"""Seconds after the last request after which all is let go."""

_HEAD = struct.Struct("=cBiQ")  # what, way, pid, inode
_PROCESS, _BIND, _DESCRIPTOR, _WALKED = range(4)
_WAYS = {"bind": _BIND, "fd": _DESCRIPTOR, "walk": _WALKED}


def request(what: bytes, way: int | Door, inode: int, following: Sequence[int]) -> bytes:
    """A request for the namespace `inode`; `following` are to be found by the same walk."""
    if isinstance(way, int):
        return _HEAD.pack(what, _PROCESS, way, inode)
    rest = struct.pack(f"={len(following)}Q", *following) if way.via == "walk" else way.path
    return _HEAD.pack(what, _WAYS[way.via], way.pid, inode) + rest


def page(start: int) -> bytes:
    """A request for the inodes of the walk, from the one with the index `start` on."""
    return _HEAD.pack(WALK, 0, 0, start)


def start() -> Serve:
    """In the child: ready to answer."""
    global _here
    _here = _Here()
    return _answer


def let_go() -> None:
    """In the child: close all that it has of foreign namespaces."""
    _release()
    while _batch:
        os.close(_batch.popitem()[1])


class _Here:
    """Where the child is when it serves nothing."""

    def __init__(self) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self.proc = os.open("/proc", flags)
        """Our own: an entered namespace may have none, or a hostile one."""
        self._root, self._cwd = os.open("/", flags), os.open(".", flags)
        self._namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def back(self) -> None:
        """Leave the entered namespace. A child that can't must not go on: it would keep it alive."""
        try:
            syscalls.setns(self._namespace, abi.CLONE_NEWNS)
            os.fchdir(self._root)
            os.chroot(".")
            os.fchdir(self._cwd)
        except OSError:
            os._exit(1)


_here: _Here
_kept: list[int] = []
"""Duplicates of what was passed on last."""
_batch: dict[int, int] = {}
"""Descriptors by inode, of the last walk."""
_pages: list[int] = []
"""The inodes of the last walk."""


def _answer(data: bytes, fds: list[int]) -> Reply:
    what = data[:1]
    _release()
    if what == HOLD:
        _kept.extend(fds)
        return b"", []
    if what in (LET_GO, WALK):
        let_go()  # for a walk: what is held here alone has ended
    if what in (RELEASE, LET_GO):
        return b"", []
    _what, way, pid, inode = _HEAD.unpack_from(data)
    if what == WALK:
        return _page(inode), []
    _kept.append(_opened(what, _found(way, pid, inode, data[_HEAD.size :])))
    return b"", _kept


def _release() -> None:
    while _kept:
        os.close(_kept.pop())


def _page(start: int) -> bytes:
    if not start:
        _pages[:] = [os.fstat(fd).st_ino for fd in neighbours()]
    part = _pages[start : start + PAGE]
    return struct.pack(f"={len(part)}Q", *part)


def _opened(what: bytes, fd: int) -> int:
    """What is asked for, opened inside: an nsfs file that was opened by its bind mount would keep that mount busy."""
    try:
        syscalls.setns(fd, abi.CLONE_NEWNS)
        try:
            path = "self/mountinfo" if what == MOUNTINFO else "self/ns/mnt"
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=_here.proc)
        finally:
            _here.back()
    finally:
        os.close(fd)


def _found(way: int, pid: int, inode: int, rest: bytes) -> int:
    """An nsfs descriptor of the namespace `inode`. Raises: ProcessLookupError where it is not there (any more)."""
    if way == _PROCESS:
        return _checked(os.open(f"{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=_here.proc), inode)
    if way == _WALKED:
        return _walked(inode, struct.unpack(f"={len(rest) // 8}Q", rest))
    if way == _BIND and pid:
        return _bound_elsewhere(pid, inode, rest)
    return _nsfs(rest, inode)


def _bound_elsewhere(pid: int, inode: int, path: bytes) -> int:
    home = os.open(f"{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=_here.proc)
    try:
        syscalls.setns(home, abi.CLONE_NEWNS)
        try:
            return _nsfs(path, inode)
        finally:
            _here.back()
    finally:
        os.close(home)


def _nsfs(path: bytes, inode: int) -> int:
    """Open an nsfs file, or a link to one; a device or a FIFO that was put there instead is not opened."""
    peek = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if syscalls.fstatfs(peek).f_type != abi.NSFS_MAGIC:
            raise _gone()
        return _checked(os.open(f"self/fd/{peek}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=_here.proc), inode)
    finally:
        os.close(peek)


def _walked(inode: int, following: Iterable[int]) -> int:
    if inode not in _batch:
        let_go()
        _open_batch({inode, *following})
    if inode not in _batch:
        raise _gone()
    return os.dup(_batch[inode])  # it may be asked for once more


def _open_batch(wanted: set[int]) -> None:
    with contextlib.closing(neighbours()) as every:
        for fd in every:
            found = os.fstat(fd).st_ino
            if found in wanted:
                _batch[found] = os.dup(fd)  # the walk closes its own
                if len(_batch) == len(wanted):
                    return


def _checked(fd: int, inode: int) -> int:
    if os.fstat(fd).st_ino != inode:
        os.close(fd)
        raise _gone()
    return fd


def _gone() -> OSError:
    return ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))


def neighbours() -> Generator[int, None, None]:
    """A descriptor of each mount namespace but our own, open until the next one is asked for. Raises: OSError."""
    for request in (abi.NS_MNT_GET_PREV, abi.NS_MNT_GET_NEXT):
        fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        while True:
            try:
                following = syscalls.mnt_ns_info(fd, request)[2]
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
                break
            finally:
                os.close(fd)
            if following is None:
                break
            fd = following
            try:
                yield fd
            except GeneratorExit:
                os.close(fd)
                raise
