"""What wakes the service before its tick: mounts of the host, services, directories that appear or change, signals.

While a scan is already due, only signals, clients and mounts are waited for, and no mounts either while a look at the
homes is due: however many come in, they cost one wake-up. The kernel keeps the rest: a mountinfo that changed says so
at the next poll(2), inotify queues its events, or reports that it lost some.
"""

import enum
import errno
import os
import select
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ..systemd.jobs import UnitSignals

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Wake(enum.StrEnum):
    """Why the service woke."""

    MOUNTS = "mounts"
    UNITS = "units"
    ROOTS = "roots"
    ENGINES = "engines"
    CONFIG = "config"
    OVERFLOW = "overflow"
    TERMINATE = "terminate"
    RELOAD = "reload"


@dataclass(frozen=True, slots=True)
class Watch:
    """One directory that is watched, and which names in it matter."""

    path: bytes
    mask: int
    wake: Wake
    name: str | None = None
    """Only this entry; None: any."""
    suffix: str = ""


class Triggers:
    """Everything the service waits for, in one poll(2).

    PID 1's mountinfo reports the mounts of its namespace; where the kernel has mount events, the descriptor that is
    followed reports those of all homes.
    """

    def __init__(self, mountinfo: str = "/proc/1/mountinfo") -> None:
        """Opens what stays open until `close`: PID 1's mountinfo (which pins no other namespace), inotify, a pipe.

        Raises: OSError.
        """
        self._mountinfo = os.open(mountinfo, os.O_RDONLY | os.O_CLOEXEC)
        self._inotify = _inotify()
        self._signals, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._write_end = write_end
        self._watches: dict[int, set[Watch]] = {}
        self._wanted: frozenset[Watch] = frozenset()
        self._exhausted = False
        """Whether the user's limit of watches kept one from being made."""
        self._events: int | None = None
        self._units = UnitSignals()
        self._heard: int | None = None
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, _noted)
        self._all, self._mounts, self._few = select.poll(), select.poll(), select.poll()
        for poll in (self._all, self._mounts):
            poll.register(self._mountinfo, select.POLLPRI)
        if self._inotify is not None:
            self._all.register(self._inotify.fileno(), select.POLLIN)
        for poll in (self._all, self._mounts, self._few):
            poll.register(self._signals, select.POLLIN)

    @property
    def has_inotify(self) -> bool:
        """Whether all directories are watched that there are to watch; of others, the tick sees what happens."""
        return self._inotify is not None and not self._exhausted

    @property
    def has_unit_signals(self) -> bool:
        """Whether systemd signals services' jobs by now; without, the tick sees their namespaces."""
        return self._units.subscribed

    def close(self) -> None:
        """Close everything."""
        signal.set_wakeup_fd(-1)
        self._units.close()
        for fd in (self._mountinfo, self._signals, self._write_end):
            os.close(fd)
        if self._inotify is not None:
            self._inotify.close()

    def wait(self, seconds: float, *, scan: bool = False, look: bool = False) -> frozenset[Wake]:
        """Sleep until something happens, at most so many seconds. What happened is taken off its queue.

        Where a `scan` is due, or a `look` at the homes, what can wait for that does.
        """
        poll = self._few if look else self._mounts if scan else self._all
        ready = dict(poll.poll(max(0.0, seconds) * 1000))
        wakes: set[Wake] = set()
        mounts = self._events in ready and seconds > 0  # 0: a scan follows, which reads the events
        if mounts or ready.get(self._mountinfo, 0) & select.POLLPRI:
            wakes.add(Wake.MOUNTS)
        if self._heard in ready:
            wakes |= self._read_units()
        if self._inotify is not None and self._inotify.fileno() in ready:
            wakes |= self._read_inotify()
        if self._signals in ready:
            wakes |= self._read_signals()
        return frozenset(wakes)

    def also(self, fd: int) -> None:
        """Wake for this descriptor too, while a scan is due as well: somebody waits for an answer."""
        for poll in (self._all, self._mounts, self._few):
            poll.register(fd, select.POLLIN)

    def follow(self, events: int | None) -> None:
        """Wake for mounts by this descriptor too, which is readable until they were looked at; None: by none."""
        if events != self._events:
            for poll in (self._all, self._mounts):
                _swap(poll, self._events, events)
            self._events = events

    def listen(self) -> None:
        """Wake for services too, from when the bus answers. Asked again now and then, it replaces a lost connection."""
        self._hear(self._units.open())

    def _read_units(self) -> set[Wake]:
        """After a signal, services are not listened for until the scan that comes for it: many cost one wake-up."""
        signalled = self._units.read()
        self._hear(None if signalled else self._units.fd)
        return {Wake.UNITS} if signalled else set()

    def _hear(self, fd: int | None) -> None:
        if fd != self._heard:
            _swap(self._all, self._heard, fd)
            self._heard = fd

    def drain(self) -> frozenset[Wake]:
        """What happened until now, without waiting. A scan follows: services are listened for again."""
        self._hear(self._units.fd)
        return self.wait(0)

    def watch(self, wanted: Iterable[Watch]) -> bool:
        """Watch these, and nothing else. What can't be watched is left to the tick.

        False where the user's limit of instances or watches is the reason: it may be another one later.
        """
        wanted = frozenset(wanted)
        if self._inotify is None:
            self._inotify = _inotify()
            if self._inotify is None:
                return False
            self._all.register(self._inotify.fileno(), select.POLLIN)
        if wanted == self._wanted and not self._exhausted:
            return True
        self._wanted, self._exhausted = wanted, False
        watches: dict[int, set[Watch]] = {}
        for one in wanted:
            try:
                watches.setdefault(self._inotify.add_watch(one.path, one.mask | _ONLYDIR | _MASK_ADD), set()).add(one)
            except OSError as error:  # gone meanwhile, or
                self._exhausted = self._exhausted or error.errno == errno.ENOSPC
        for number in self._watches.keys() - watches.keys():
            try:
                self._inotify.rm_watch(number)
            except OSError:
                pass  # the kernel removed it with its directory
        self._watches = watches
        return not self._exhausted

    def _read_inotify(self) -> set[Wake]:
        wakes: set[Wake] = set()
        assert self._inotify is not None
        for event in self._inotify.read(timeout=0):
            if event.mask & _Q_OVERFLOW:
                wakes.add(Wake.OVERFLOW)
            if event.mask & _IGNORED:
                self._watches.pop(event.wd, None)
                self._wanted = frozenset()
            for one in self._watches.get(event.wd, ()):
                if event.mask & one.mask and one.name in (None, event.name) and event.name.endswith(one.suffix):
                    wakes.add(one.wake)
        return wakes

    def _read_signals(self) -> set[Wake]:
        numbers = set(os.read(self._signals, 512))
        stop = {int(signal.SIGTERM), int(signal.SIGINT)} & numbers
        return ({Wake.TERMINATE} if stop else set()) | ({Wake.RELOAD} if int(signal.SIGHUP) in numbers else set())


def _swap(poll: select.poll, old: int | None, new: int | None) -> None:
    if old is not None:
        poll.unregister(old)
    if new is not None:
        poll.register(new, select.POLLIN)


_Q_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLYDIR, _MASK_ADD = 0x01000000, 0x20000000


def _inotify() -> Any:
    """An inotify object; None where the library is missing or the user's limit is reached."""
    try:
        from inotify_simple import INotify

        return INotify(nonblocking=True)
    except (ImportError, OSError):
        return None


def _noted(number: int, frame: FrameType | None) -> None:
    """The number is in the pipe already."""
