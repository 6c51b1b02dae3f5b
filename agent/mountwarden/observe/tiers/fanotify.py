"""Mount events of namespaces: a fanotify group, and what read(2) of it gives.

An event has the unique id of the mount and the process that caused it, not the namespace: fanotify(7), Linux 6.15. A
mark does not keep its namespace alive, and goes with it.
"""

import os
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...kernel import abi, syscalls

_EVENTS = abi.FAN_MNT_ATTACH | abi.FAN_MNT_DETACH
_READ = 1 << 16
"""Bytes of one read(2): some 1,600 events."""
_MOST = 1 << 20
"""Most bytes that are read of a group at once, some 26,000 events: if there are more, events count as lost."""


@dataclass(slots=True)
class Events:
    """What happened since the last reading, by unique mount ids."""

    attached: set[int] = field(default_factory=set)
    detached: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)
    """Attached and detached in one event."""
    causes: Counter[int] = field(default_factory=Counter)
    """How many events each process caused."""
    lost: bool = False
    """Some are missing: the kernel's queue was full, or what was read is not well formed."""

    def __bool__(self) -> bool:
        return self.lost or bool(self.causes)


class FanotifyGroup:
    """A fanotify group for mount namespaces. Never blocks."""

    def __init__(self) -> None:
        """Raises: OSError as fanotify_init(2) does (EMFILE: the user has too many groups)."""
        self.fd = syscalls.fanotify_init(abi.FAN_CLOEXEC | abi.FAN_NONBLOCK | abi.FAN_REPORT_MNT)
        self._close = weakref.finalize(self, os.close, self.fd)

    def close(self) -> None:
        """Close it, and with it its marks; a group that nothing refers to any more is closed by itself."""
        self._close()

    def mark(self, namespace: int) -> None:
        """Report mounts in the namespace of an nsfs descriptor. Raises: OSError as fanotify_mark(2) does."""
        syscalls.fanotify_mark(self.fd, abi.FAN_MARK_ADD | abi.FAN_MARK_MNTNS, _EVENTS, namespace)

    def unmark(self, namespace: int) -> None:
        """Report them no longer. Raises: OSError as fanotify_mark(2) does (ENOENT: there was no mark)."""
        syscalls.fanotify_mark(self.fd, abi.FAN_MARK_REMOVE | abi.FAN_MARK_MNTNS, _EVENTS, namespace)

    def drain(self) -> Events:
        """All events up to now. Raises: OSError as read(2) does."""
        events, read = Events(), 0
        while read < _MOST:
            try:
                data = os.read(self.fd, _READ)
            except BlockingIOError:
                return events
            read += len(data)
            parse(data, events)
        events.lost = True
        return events


def parse(data: bytes, events: Events) -> None:
    """Add the events of one read(2) to `events`."""
    for mask, cause, mount in _each(data):
        if mount is None:
            events.lost = True
            continue
        events.causes[cause] += 1
        if mask & _EVENTS == _EVENTS:
            events.moved.add(mount)
        elif mask & abi.FAN_MNT_DETACH:
            events.detached.add(mount)
        elif mask & abi.FAN_MNT_ATTACH:
            events.attached.add(mount)


def _each(data: bytes) -> Iterator[tuple[int, int, int | None]]:
    """(mask, pid, mount id) of each event; no mount id for an overflow, or for what is not well formed."""
    at, end = 0, len(data)
    while at + abi.FAN_METADATA.size <= end:
        length, version, _reserved, head, mask, _fd, pid = abi.FAN_METADATA.unpack_from(data, at)
        if version != abi.FANOTIFY_METADATA_VERSION or length < max(head, abi.FAN_METADATA.size) or at + length > end:
            yield 0, 0, None
            return
        lost = mask & abi.FAN_Q_OVERFLOW or head < abi.FAN_METADATA.size
        yield mask, pid, None if lost else _mount(data[at + head : at + length])
        at += length
    if at < end:
        yield 0, 0, None


def _mount(records: bytes) -> int | None:
    """The mount id in an event's information records; None where there is none."""
    at = 0
    while at + 4 <= len(records):
        kind, length = records[at], int.from_bytes(records[at + 2 : at + 4], sys.byteorder)
        if length < 4 or at + length > len(records):
            return None
        if kind == abi.FAN_EVENT_INFO_TYPE_MNT and length >= abi.FAN_INFO_MNT.size:
            return int(abi.FAN_INFO_MNT.unpack_from(records, at)[3])
        at += length
    return None
