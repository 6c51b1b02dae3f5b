"""Calls that may hang in a file system, by one child of this process that is kept for them; see `superblocks`.

It is not the child of `entries`, which may be busy with the end of a namespace, and which nobody is to lose by what
hangs here. A child that hangs is killed and left behind, and a new one takes its place.
"""

import functools
import mmap
import os
import time
from collections.abc import Sequence

from ..errors import NoAnswer
from ..kernel.kept_worker import KeptWorker
from ..kernel.worker import Worker
from . import processes, superblock_server
from .enter import own_namespace
from .superblock_server import MOST, NOT_YET

DEADLINE = 0.05
"""Seconds for the answers to one request."""
_LONGEST = 1.0
"""Seconds for a child that has not hung, but waits for a processor."""
_END = 0.2
"""Seconds for the child to end when it is no longer needed."""
_DYING = 0.01
"""The same for one that hangs, and may be past killing."""
AGAIN = 5.0
"""Seconds after which is asked again what a child hung on that could be killed."""
_HOUR = 3600.0


def answers(what: bytes, items: Sequence[bytes], fds: Sequence[int] = ()) -> dict[bytes, int]:
    """What the child answers for these items, at most `MOST`: see `superblock_server`. Those not known are missing.

    An item that a child hangs on is not asked again while that child is there, or for some seconds; those behind it are
    not known.
    Raises: NoAnswer where no child can be started.
    """
    return _child.answers(what, items, fds)


def hanging() -> frozenset[bytes]:
    """The items that children hang on, or hung on a moment ago."""
    return _child.hanging()


def stuck() -> str | None:
    """Why no child can be started; None where one can."""
    return _child.kept.stuck


def cpu_seconds() -> float:
    """Processor seconds of the children that have not been reaped: RUSAGE_CHILDREN has the others."""
    return _child.kept.cpu_seconds()


def close() -> None:
    """End the child. A later question gets a new one."""
    _child.kept.give_up(seconds=_END)


class _SuperblockChild:
    def __init__(self) -> None:
        self.kept = KeptWorker(self._start, hang="file systems")
        self._hung: dict[int, bytes] = {}
        """By pid of a child that was killed and has not ended, the item that it hangs on."""
        self._later: dict[bytes, float] = {}
        """When an item may be asked again, in seconds of the monotonic clock."""
        self._home = 0
        """Inode of the mount namespace in which the child looks up paths."""

    def _start(self) -> Worker:
        self._page = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("i")
        self._home = own_namespace()
        start = functools.partial(superblock_server.start, self._page)
        return Worker(start, idle=superblock_server.idle, after=_HOUR, what="the child that asks for superblocks")

    def hanging(self) -> frozenset[bytes]:
        left, now = self.kept.left(), time.monotonic()
        self._hung = {pid: item for pid, item in self._hung.items() if pid in left}
        self._later = {item: at for item, at in self._later.items() if at > now}
        return frozenset((*self._hung.values(), *self._later))

    def answers(self, what: bytes, items: Sequence[bytes], fds: Sequence[int]) -> dict[bytes, int]:
        hanging = self.hanging()
        items = [item for item in items if item not in hanging][:MOST]
        got: dict[bytes, int] = {}
        if not items:
            return got
        for _attempt in range(2):
            if self._answered(what, items, fds, got) or self._has_hung(items, got):
                break
        return got

    def _answered(self, what: bytes, items: Sequence[bytes], fds: Sequence[int], got: dict[bytes, int]) -> bool:
        """Whether the child answered in time; what it did answer goes to `got`. Raises: NoAnswer."""
        if what == superblock_server.WATCH and self._home != own_namespace():
            self.kept.give_up(seconds=_END)
        try:
            worker = self.kept.get()
        except OSError as error:
            raise NoAnswer(f"no child can be started: {os.strerror(error.errno or 0)}") from None
        self._page[: len(items)] = memoryview(bytes(4 * len(items))).cast("i")
        try:
            worker.post(superblock_server.request(what, items), fds)
            settled = _settled(worker)
        except (BrokenPipeError, NoAnswer):  # somebody killed it
            settled = False
        found = zip(items, self._page[: len(items)].tolist(), strict=True)
        got.update({item: answer for item, answer in found if answer != NOT_YET})
        return settled or got.keys() == set(items)

    def _has_hung(self, items: Sequence[bytes], got: dict[bytes, int]) -> bool:
        """Give the child up; whether it hung. If not, somebody killed it."""
        worker = self.kept.current()
        if worker is None or worker.has_hung_up:
            self.kept.give_up(seconds=_END)
            return False
        self.kept.give_up(seconds=_DYING)
        item = next(item for item in items if item not in got)
        if worker.pid in self.kept.left():
            self._hung[worker.pid] = item
        else:
            self._later[item] = time.monotonic() + AGAIN
        return True


def _settled(worker: Worker) -> bool:
    """Whether it answered within `DEADLINE`, beside the time in which it was ready to run, and did not."""
    until = time.monotonic() + _LONGEST
    while not worker.settle(deadline=DEADLINE):
        state = processes.read_or_empty(f"/proc/{worker.pid}/stat").rpartition(b") ")[2][:1]
        if state != b"R" or worker.has_hung_up or time.monotonic() > until:
            return False
    return True


_child = _SuperblockChild()
