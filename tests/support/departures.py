"""When a mount came and went in the namespace of a test host's PID 1, by the kernel's own notice of each change."""

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator

from tests.support.machine import Machine

LATEST = 0.5
"""Seconds until it sees that it is to end."""


class Departures:
    """The last time that each mountpoint came, and that it went, in seconds since the Epoch."""

    def __init__(self, pid: int) -> None:
        self.came: dict[str, float] = {}
        self.went: dict[str, float] = {}
        self._pid = pid
        self._stop = threading.Event()

    def watch(self) -> None:
        """Until `stop`."""
        with open(f"/proc/{self._pid}/mountinfo", "rb") as file:
            poll = select.poll()
            poll.register(file, select.POLLPRI)
            before = _points(file.fileno())
            while not self._stop.is_set():
                poll.poll(LATEST * 1000)
                now = _points(file.fileno())
                at = time.time()
                self.came.update(dict.fromkeys(now - before, at))
                self.went.update(dict.fromkeys(before - now, at))
                before = now

    def stop(self) -> None:
        self._stop.set()


@contextlib.contextmanager
def watched(host: Machine) -> Iterator[Departures]:
    """While this lasts, they are noted."""
    departures = Departures(host.pid)
    thread = threading.Thread(target=departures.watch)
    thread.start()
    try:
        yield departures
    finally:
        departures.stop()
        thread.join()


def _points(fd: int) -> frozenset[str]:
    os.lseek(fd, 0, os.SEEK_SET)
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    lines = b"".join(parts).decode(errors="surrogateescape").splitlines()
    return frozenset(line.split(" ")[4] for line in lines)
