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
from ..kernel.kept_worker import KeptWorker
from ..kernel.worker import Worker
from ..model import Door
from . import entry_server
from .enter import DEADLINE, own_namespace

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
        self._kept = KeptWorker(self._start, hang="mount namespaces")
        self._home = 0
        """Inode of the mount namespace that the child is at home in."""
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
        if self._home != own_namespace():
            self._end()
        worker = self._kept.current()
        if worker is not None:
            self.release()
            if not worker.settle(deadline=_SETTLE):
                self._end()
        return self._kept.get()

    def release(self) -> None:
        """The child may close what it kept of the last entry. It is not waited for."""
        if self._keeps:
            self._keeps = False
            self._post(entry_server.RELEASE)

    def let_go(self) -> None:
        if self._used:
            self._keeps = self._used = False
            self._post(entry_server.LET_GO)
        if worker := self._kept.current():
            worker.settle(deadline=_MOMENT)

    def _post(self, request: bytes) -> None:
        worker = self._kept.current()
        if worker is None:
            return
        try:
            worker.post(request)
        except (BrokenPipeError, NoAnswer):
            self._end()

    def _start(self) -> Worker:
        self._home, self._keeps = own_namespace(), False
        what = "the child that enters"
        return Worker(entry_server.start, idle=entry_server.let_go, after=entry_server.IDLE, what=what)

    def _end(self) -> None:
        self._kept.give_up(seconds=_END)
        self._keeps = False

    def cpu_seconds(self) -> float:
        return self._kept.cpu_seconds()

    def close(self) -> None:
        self._end()


_entries = _Entries()
