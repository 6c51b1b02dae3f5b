"""Descriptors of foreign mount namespaces, taken by one child of this process that enters them all.

It enters a namespace, opens, goes back, and passes the descriptor on. It keeps a duplicate until this process has
closed its own: the last close of a namespace tears its mounts down, which may take long or hang, and so happens in the
child. A child that hangs is killed, and the next entry gets a new one.
"""

import contextlib
import os
import struct
import time
from collections.abc import Iterator, Sequence

from ..errors import NoAnswer
from ..kernel import child
from ..kernel.worker import Worker
from ..model import Door
from . import entry_server
from .enter import DEADLINE, own_namespace

LEFT_BEHIND = 4
"""Most children that SIGKILL does not end, because they wait in the kernel: beyond it nothing is entered."""
_SETTLE = 0.5
"""Seconds for the child to close what it kept of the entry before."""
_MOMENT = 0.05
"""The same at the end of all entries, when nothing else is to be done."""
_END = 0.2
"""Seconds for a child that hung to end when it is killed."""


def open_mountinfo(way: int | Door, inode: int, *, deadline: float = DEADLINE) -> int:
    """A descriptor of the mountinfo of the mount namespace `inode`, as seen from its own root; the caller closes it.

    `way` is a process in it, or its door. The child's duplicate lasts until the next entry, `let_go`, or a few seconds.

    Raises: ProcessLookupError where the way leads elsewhere by now; OSError as open(2) and setns(2) do; NoAnswer where
    the entry hangs for more than `deadline` seconds.
    """
    return _entries.open(entry_server.MOUNTINFO, way, inode, deadline)


def open_namespace(way: int | Door, inode: int, *, deadline: float = DEADLINE) -> int:
    """The same, but its nsfs descriptor, for ioctl_nsfs(2)."""
    return _entries.open(entry_server.NAMESPACE, way, inode, deadline)


@contextlib.contextmanager
def opened_mountinfo(way: int | Door, inode: int, *, deadline: float = DEADLINE) -> Iterator[int]:
    """`open_mountinfo`, closed at the end, in the child last."""
    with _closed(open_mountinfo(way, inode, deadline=deadline)) as fd:
        yield fd


@contextlib.contextmanager
def opened_namespace(way: int | Door, inode: int, *, deadline: float = DEADLINE) -> Iterator[int]:
    """`open_namespace`, closed at the end, in the child last."""
    with _closed(open_namespace(way, inode, deadline=deadline)) as fd:
        yield fd


@contextlib.contextmanager
def _closed(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
        _entries.release()


def walk(*, deadline: float = DEADLINE) -> tuple[int, ...]:
    """Inodes of all mount namespaces but our own, in the order of the kernel's walk (Linux 6.12).

    Raises: OSError as the ioctl does, such as EPERM outside the initial pid namespace; NoAnswer.
    """
    return _entries.walk(deadline)


def expect(inodes: Sequence[int]) -> None:
    """The order in which namespaces will be entered by the door `walk`: one walk opens the next of them too."""
    _entries.expect(inodes)


def close_in_child(fd: int) -> None:
    """Close an nsfs descriptor of this process so that it is the child that closes it last."""
    _entries.close_in_child(fd)


def let_go() -> None:
    """The child closes what it has of foreign namespaces: the caller has closed its own descriptors.

    It is waited for, but not where it hangs in that.
    """
    _entries.let_go()


def cpu_seconds() -> float:
    """Processor seconds of the children that have not been reaped: RUSAGE_CHILDREN has the others."""
    return _entries.cpu_seconds()


def close() -> None:
    """End the child. A later entry gets a new one."""
    _entries.close()


class _Entries:
    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._owner = 0
        """The process whose child it is: a process that was forked since must not use it."""
        self._home = 0
        """Inode of the mount namespace that the child is at home in."""
        self._killed: list[Worker] = []
        """Those that may not have been reaped."""
        self._places: dict[int, int] = {}
        self._order: Sequence[int] = ()
        self._keeps = self._used = False

    def open(self, what: bytes, way: int | Door, inode: int, deadline: float) -> int:
        following = self._following(inode) if isinstance(way, Door) and way.via == "walk" else ()
        return self._ask(entry_server.request(what, way, inode, following), deadline, f"the way into {inode}")[1][0]

    def _following(self, inode: int) -> Sequence[int]:
        place = self._places.get(inode)
        return () if place is None else self._order[place + 1 : place + entry_server.BATCH]

    def expect(self, inodes: Sequence[int]) -> None:
        self._order = inodes
        self._places = {inode: place for place, inode in enumerate(inodes)}

    def walk(self, deadline: float) -> tuple[int, ...]:
        found: list[int] = []
        until = time.monotonic() + deadline
        while True:
            page = self._ask(entry_server.page(len(found)), until - time.monotonic(), "the walk")[0]
            found += struct.unpack(f"={len(page) // 8}Q", page)
            if len(page) < entry_server.PAGE * 8:
                return tuple(found)

    def close_in_child(self, fd: int) -> None:
        try:
            self._ask(entry_server.HOLD, DEADLINE, "a descriptor to close", [fd])
        except (OSError, NoAnswer):
            pass
        finally:
            os.close(fd)
        self.release()

    def _ask(self, request: bytes, deadline: float, what: str, fds: Sequence[int] = ()) -> tuple[bytes, list[int]]:
        for is_last in (False, True):
            worker = self._ready()
            self._keeps = self._used = True
            try:
                return worker.ask(request, fds, deadline=deadline)
            except NoAnswer as error:
                self._end()
                raise NoAnswer(f"{what}: {error.message}", hint=f"the deadline is {deadline:g} s") from None
            except BrokenPipeError:  # somebody killed it
                self._end()
                if is_last:
                    raise NoAnswer(f"{what}: the child ended") from None
        raise AssertionError

    def _ready(self) -> Worker:
        """The child, which has closed what it kept; a new one where it can't."""
        self._forget_others()
        if self._home != own_namespace():
            self._end()
        if self._worker is not None:
            self.release()
            if self._worker is not None and not self._worker.settle(deadline=_SETTLE):
                self._end()
        return self._worker or self._start()

    def release(self) -> None:
        """The child may close what it kept of the last entry. It is not waited for."""
        if self._keeps:
            self._keeps = False
            self._post(entry_server.RELEASE)

    def let_go(self) -> None:
        self._forget_others()
        if self._worker is not None and self._used:
            self._keeps = self._used = False
            self._post(entry_server.LET_GO)
        if self._worker is not None:
            self._worker.settle(deadline=_MOMENT)

    def _post(self, request: bytes) -> None:
        if self._worker is None:
            return
        try:
            self._worker.post(request)
        except (BrokenPipeError, NoAnswer):
            self._end()

    def _start(self) -> Worker:
        self._reap()
        if len(self._killed) >= LEFT_BEHIND:
            raise NoAnswer(f"{LEFT_BEHIND} children hang in mount namespaces and can't be killed")
        self._worker = Worker(
            entry_server.start, idle=entry_server.let_go, after=entry_server.IDLE, what="the child that enters"
        )
        self._owner, self._home, self._keeps = os.getpid(), own_namespace(), False
        return self._worker

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.end(seconds=_END)
            self._killed.append(self._worker)
        self._worker, self._keeps = None, False
        self._reap()

    def _reap(self) -> None:
        child.reap_late()
        self._killed = [worker for worker in self._killed if child.is_unreaped(worker.pid)]

    def _forget_others(self) -> None:
        if self._owner not in (0, os.getpid()):
            if self._worker is not None:
                self._worker.forget()
            self._worker, self._owner, self._killed, self._keeps = None, 0, [], False

    def cpu_seconds(self) -> float:
        self._forget_others()
        self._reap()
        living = [self._worker] if self._worker is not None else []
        return sum(worker.cpu_seconds() for worker in living + self._killed)

    def close(self) -> None:
        self._forget_others()
        self._end()


_entries = _Entries()
