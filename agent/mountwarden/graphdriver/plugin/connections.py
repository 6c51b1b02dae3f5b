"""How many connections the plugin serves, and how long each of them may be silent."""

import contextlib
import io
import socket
import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PluginLimits:
    """Of a server: numbers, and seconds.

    dockerd keeps connections for later calls, and sends an archive as fast as it gets it itself: both may take minutes.
    """

    connections: int = 128
    first: float = 60.0
    """Until the first byte of the first request."""
    idle: float = 600.0
    """Between two requests."""
    head: float = 10.0
    """From a request's first byte to the end of its head."""
    body: float = 30.0
    """For the whole body, and for what is left of it once the answer is known; but for archives."""
    silence: float = 600.0
    """Without a byte of an archive, or without one of the answer taken."""
    rest: int = 16 << 20
    """Bytes of a body behind what was read of it; but for archives."""


class TimedSource(io.RawIOBase):
    """What a socket receives, within a time that is set anew for each part. Raises: TimeoutError."""

    def __init__(self, source: socket.socket) -> None:
        self._socket = source
        self._until = float("inf")
        self._silence = float("inf")
        self.late = False
        """Whether a part did not come in time."""

    def allow(self, seconds: float | None, *, silence: float = float("inf")) -> None:
        """So long for all that is read from now on (None: any time), and for each wait."""
        self._until = float("inf") if seconds is None else time.monotonic() + seconds
        self._silence = silence

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        left = min(self._until - time.monotonic(), self._silence)
        try:
            if left <= 0:
                raise TimeoutError("timed out")
            self._socket.settimeout(left)
            return self._socket.recv_into(buffer)
        except TimeoutError:
            self.late = True
            raise


class PluginConnections:
    """Those that are served, the ones that wait for a request among them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._all: dict[socket.socket, tuple[bool, float] | None] = {}
        """Whether one that waits was used before, and since when it waits; None while a request is answered."""

    def add(self, new: socket.socket) -> bool:
        """Serve another one; where there are too many, in place of one that waits. False where all are at work."""
        with self._lock:
            if len(self._all) >= self._most:
                waiting = {one: since for one, since in self._all.items() if since is not None}
                if not waiting:
                    return False
                oldest = min(waiting, key=lambda one: waiting[one])
                del self._all[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread reads the end
            self._all[new] = (False, time.monotonic())
        return True

    def wait(self, one: socket.socket, *, used: bool) -> None:
        """It waits for a request."""
        with self._lock:
            if one in self._all:
                self._all[one] = (used, time.monotonic())

    def work(self, one: socket.socket) -> None:
        """A request of it is answered."""
        with self._lock:
            if one in self._all:
                self._all[one] = None

    def remove(self, one: socket.socket) -> None:
        """It has ended."""
        with self._lock:
            self._all.pop(one, None)
