"""Signals of PID 1 on the system bus that a service's job ended: a service that started may have a new mount namespace.

Nothing here waits for a bus that does not answer. The connection is only begun by `open`; its handshake goes on with
each `read`, and the two calls that need an answer are made once the broker has shown, by its first message, that it
works. On PID 1's private socket every signal of every unit comes unasked, some twenty for each start; here the broker
passes on JobRemoved alone, one for each. So on a host without a system bus new namespaces are found by the tick alone.

What pystemd and sd-bus do, and what follows:
- `process` never blocks and does one step. Where there is nothing to do, and where a step of the handshake brought no
  message, it returns an empty message; a message's accessors crash on that.
- `match_signal` keeps no reference to its callback, which must outlive the connection, and must not raise. It writes an
  attribute on it: a plain function will do, a method won't.
- A connection that was lost still has a last message (Disconnected); then `process` raises and sd-bus closes the fd.
- Calls wait for $SYSTEMD_BUS_TIMEOUT, 25 s without it, which a connection reads at its first call (the handshake's) and
  keeps. A call before the end of the handshake waits for that first, by a time of its own.
- `close` flushes nothing.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

CALL_SECONDS = 2
"""How long each of the two calls may wait: the broker has just answered, PID 1 may be reading its files again. A broker
that takes longer to answer the handshake (at boot) is subscribed to at the next connection.
"""
RETRY_SECONDS = 5.0
"""A new connection is not begun sooner after the last one, however often that is asked for."""
MOST = 256
"""Messages that one `read` takes. What is left keeps the descriptor readable."""
OTHERS = 16
"""So many messages about other units count as one about a service: a burst of them costs scans, which are limited."""

_IDLE = 4
"""Empty answers of `process` in a row after which nothing is left: no handshake has more steps without a message."""
_SYSTEMD, _PATH = b"org.freedesktop.systemd1", b"/org/freedesktop/systemd1"
_MANAGER = _SYSTEMD + b".Manager"
_TIMEOUT = "SYSTEMD_BUS_TIMEOUT"


class UnitSignals:
    """One connection. The caller calls `open` now and then, which makes it anew; no method raises anything."""

    def __init__(self) -> None:
        """Connects to nothing yet, and imports nothing."""
        self.fd: int | None = None
        """What to poll for reading; None while there is no connection."""
        self._bus: Any = None
        self._subscribed = False
        self._begun = float("-inf")
        self._job_ended = False
        self._others = 0
        self._callback = lambda message, error=None, userdata=None: self._job_removed(message)

    @property
    def subscribed(self) -> bool:
        """Whether PID 1 sends us signals: from its answer until the connection is lost."""
        return self._subscribed

    def open(self) -> int | None:
        """Begin to connect, if that is not done and was not tried just now; a handshake that hangs is begun anew."""
        if self._subscribed or time.monotonic() - self._begun < RETRY_SECONDS:
            return self.fd
        self.close()
        self._begun = time.monotonic()
        from . import units  # no start of the service waits for what that needs

        try:
            self._bus = units.library("dbuslib").DBus()
            with _bounded_calls():
                self._bus.open()
            self.fd = self._bus.get_fd()
        except Exception:  # no pystemd, no bus; pystemd makes a class of its own of each D-Bus error
            self.close()
        return self.fd

    def read(self) -> bool:
        """Take what came. True if a service's job ended since the last call, or may have before we subscribed."""
        try:
            self._others += self._take()
            if self._others and not self._subscribed:
                self._subscribe()
        except Exception:
            self.close()
            return False
        if not self._job_ended and self._others < OTHERS:
            return False
        self._job_ended, self._others = False, 0
        return True

    def close(self) -> None:
        """Close the connection."""
        if self._bus is not None:
            with contextlib.suppress(Exception):
                self._bus.close()
        self._bus, self.fd, self._subscribed = None, None, False

    def _take(self) -> int:
        """Returns how many messages there were."""
        came = idle = 0
        for _ in range(MOST):
            idle = idle + 1 if self._bus.process().is_empty() else 0
            came += not idle
            if idle == _IDLE:
                break
        return came

    def _subscribe(self) -> None:
        self._bus.match_signal(_SYSTEMD, _PATH, _MANAGER, b"JobRemoved", self._callback, None)
        self._bus.call_method(_SYSTEMD, _PATH, _MANAGER, b"Subscribe", [])
        self._subscribed = self._job_ended = True
        self._take()  # what came in during the calls is in sd-bus's own queue, which no poll(2) shows

    def _job_removed(self, message: Any) -> None:
        """Its arguments are the job's number and path, the unit's name, and the result."""
        with contextlib.suppress(Exception):
            message.process_reply(False)
            self._job_ended = self._job_ended or message.body[2].endswith(b".service")


@contextlib.contextmanager
def _bounded_calls() -> Iterator[None]:
    before = os.environ.get(_TIMEOUT)
    os.environ[_TIMEOUT] = f"{CALL_SECONDS}s"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_TIMEOUT]
        else:
            os.environ[_TIMEOUT] = before
