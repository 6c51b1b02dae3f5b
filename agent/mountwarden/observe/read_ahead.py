"""The texts of mount namespaces, read by further threads before the one that works on them comes to them.

Most of what a command costs is read(2) of mountinfo, during which Python lets other threads run. So a command has its
texts read by as many threads as it may use processors. The service does not: nothing is read ahead without `allow`.

A text is read as `namespaces.read` reads it, by a process whose root is "/" and that is still there afterwards. What is
otherwise is left to the thread that asks, which finds the same again: a process in a chroot, a door, an error, a text
that is longer than a block. So no more than `ROOM` bytes are in hand.

- What a reading takes of processor time goes with the text: `cpu_seconds` has it from when the text is taken, so that
  its owner is charged. What is never taken, since the owner may cost no more, is as little as what is in hand.
- A fork copies locks as they are, and descriptors, one of which would keep a namespace alive in the child. So before
  any os.fork() of this process all further threads end, and they begin anew when the next text is asked for.
- They end with `texts`: setns(2) and unshare(2) refuse a process whose threads share a root and a working directory.
- Where the texts are small, threads would hand over more than they read, and they end.
- A kernel that does not copy such a text has it read by the thread that asks.
- Signals are left to the main thread, whose system calls they have to interrupt.
"""

import errno
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from . import mount_lines, processes
from .mount_lines import OpenMountinfo, ReadingLimits, TimeLeft

Wanted = tuple[int, tuple[int, ...], ReadingLimits]
"""Inode of a namespace, the processes in it, and what its reading may take."""

ROOM = 8 << 20
"""Bytes of texts that are in hand, at most."""
_MOST = 64
"""Texts that are in hand, at most."""
_SMALL = 1 << 15
"""Bytes of a text below which it costs as much to hand it over as to read it."""
_SAMPLE = 8
"""Texts after which their size is judged."""
_SWITCH = 1e-4
"""Seconds after which a thread that works lets another one run: one that reads has a short turn for each text."""
_AT_ONCE = 1 << 16
"""Bytes that are copied by one system call, before what that has cost is compared with the limit."""

_threads = 1
_current: "_ReadAhead | None" = None


def allow() -> None:
    """Have texts read by as many threads as this process may use processors."""
    global _threads
    if _threads == 1:
        os.register_at_fork(before=_stop, after_in_child=_forget)
    _threads = len(os.sched_getaffinity(0))


def processors() -> int:
    """How many of them this process may use at once: one without `allow`."""
    return _threads


@contextmanager
def texts(wanted: Iterable[Wanted]) -> Iterator[None]:
    """Meanwhile the texts of these namespaces are read, in this order, before they are asked for."""
    global _current
    if _threads == 1 or _current is not None:
        yield
        return
    _current, interval = _ReadAhead(deque(wanted)), sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        yield
    finally:
        _stop()
        _current = None
        sys.setswitchinterval(interval)


def taken(inode: int, limits: ReadingLimits) -> OpenMountinfo | None:
    """The text of a namespace; None where it is to be read by the caller. Raises: OSError of ETIME: see `limits`."""
    return None if _current is None else _current.take(inode, limits)


def cpu_seconds() -> float:
    """Processor time of this thread, and what the texts have cost that it has taken."""
    return time.thread_time() + _cost_of_texts


_cost_of_texts = 0.0


def _stop() -> None:
    if _current is not None:
        _current.stop()


def _forget() -> None:
    global _current
    _current = None


@dataclass(frozen=True, slots=True)
class _Text:
    text: bytes | OSError | None
    seconds: float
    """Of processor time."""

    @property
    def size(self) -> int:
        return len(self.text) if isinstance(self.text, bytes) else 0


class _ReadAhead:
    """What is still to be read, what is being read, and what is in hand. The main thread alone takes from it."""

    def __init__(self, wanted: deque[Wanted]) -> None:
        self._wanted = wanted
        self._taken: set[int] = set()
        """What was asked for: nobody reads it ahead any more."""
        self._reading: set[int] = set()
        self._read: dict[int, _Text] = {}
        self._size = 0
        """Bytes in hand; a text that is being read counts as a block."""
        self._count = self._total = 0
        """Texts that were read ahead, and their bytes."""
        self._changed = threading.Condition()
        self._running: list[threading.Thread] = []
        self._stopping = False

    def take(self, inode: int, limits: ReadingLimits) -> OpenMountinfo | None:
        global _cost_of_texts
        if not self._running and self._wanted and self._taken and not self._are_small():
            self._start()
        self._taken.add(inode)
        while (text := self._ready(inode)) is None:
            if (other := self._next(wait=False)) is not None:  # rather than wait for the thread that reads it
                self._keep(other[0], read := _read(other))
                _cost_of_texts -= read.seconds
        _cost_of_texts += text.seconds
        if isinstance(text.text, OSError):
            raise text.text
        return None if text.text is None else OpenMountinfo.in_hand(text.text, limits)

    def _ready(self, inode: int) -> _Text | None:
        """The text, or `_NONE` where nobody reads it; None while somebody does."""
        with self._changed:
            self._changed.notify_all()
            if inode in self._reading:
                if not self._may_begin():
                    self._changed.wait()
                return None
            text = self._read.pop(inode, _NONE)
            self._size -= text.size
            return text

    def _next(self, *, wait: bool) -> Wanted | None:
        """The next one that this thread is to read; None where there is none, or it would have to `wait` for room."""
        with self._changed:
            while self._wanted and not self._stopping and not self._are_small():
                if self._wanted[0][0] in self._taken:
                    self._wanted.popleft()
                elif self._may_begin():
                    one = self._wanted.popleft()
                    self._reading.add(one[0])
                    self._size += mount_lines.BLOCK
                    return one
                elif wait:
                    self._changed.wait()
                else:
                    break
            return None

    def _may_begin(self) -> bool:
        in_hand = len(self._read) + len(self._reading)
        # Who asks may have seen enough after the first texts: no more are read in vain than were asked for.
        most = min(_MOST, len(self._taken) - 1)
        return (
            bool(self._wanted) and not self._are_small() and in_hand < most and self._size + mount_lines.BLOCK <= ROOM
        )

    def _are_small(self) -> bool:
        return self._count >= _SAMPLE and self._total < self._count * _SMALL

    def _keep(self, inode: int, text: _Text) -> None:
        with self._changed:
            self._reading.discard(inode)
            self._size += text.size - mount_lines.BLOCK
            self._read[inode] = text
            self._count, self._total = self._count + 1, self._total + text.size
            self._changed.notify_all()

    def _start(self) -> None:
        self._stopping = False
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # a new thread has the same mask
        try:
            for _number in range(_threads - 1):
                thread = threading.Thread(target=self._run, name="read ahead", daemon=True)
                thread.start()
                self._running.append(thread)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _run(self) -> None:
        while (one := self._next(wait=True)) is not None:
            text = _NONE
            try:
                text = _read(one)
            finally:
                self._keep(one[0], text)

    def stop(self) -> None:
        """Return when no thread but this one runs; texts in hand stay."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._running:
            thread.join()
            while os.path.exists(f"/proc/self/task/{thread.native_id}"):  # it is done with Python, and is ending
                time.sleep(1e-4)
        self._running.clear()


_NONE = _Text(None, 0.0)


def _read(wanted: Wanted) -> _Text:
    began = time.thread_time()
    text: bytes | OSError | None
    try:
        text = _text(*wanted)
    except OSError as error:
        text = error if error.errno == errno.ETIME else None
    return _Text(text, time.thread_time() - began)


def _text(inode: int, pids: tuple[int, ...], limits: ReadingLimits) -> bytes | None:
    """The text by the first of the processes, as in `namespaces.read`; None where it does not show it whole."""
    if not pids or os.readlink(f"/proc/{pids[0]}/root") != "/":
        return None
    fd = os.open(f"/proc/{pids[0]}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = _whole(fd, limits.seconds)
    finally:
        os.close(fd)
    there = processes.link_inode(pids[0], "mnt") == inode and os.readlink(f"/proc/{pids[0]}/root") == "/"
    return text if there and text else None


def _whole(fd: int, seconds: float) -> bytes | None:
    """A text within a block; None where it is longer. Raises: OSError; of ETIME where it takes so many `seconds`.

    The kernel gives read(2) a page at a time, after each of which a thread has to wait for its turn in Python. So the
    text is copied within the kernel, to a file in memory.
    """
    copy, time_left, size = os.memfd_create("mountinfo", os.MFD_CLOEXEC), TimeLeft(seconds), 0
    try:
        while many := os.sendfile(copy, fd, None, _AT_ONCE):
            size += many
            if size >= mount_lines.BLOCK:
                return None
            if time_left.is_over():
                raise OSError(errno.ETIME, os.strerror(errno.ETIME))
        return os.pread(copy, size, 0)
    finally:
        os.close(copy)
