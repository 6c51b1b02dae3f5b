"""A client that waits: one connection, one call at a time, each with a deadline. Over a socket, or a pair of pipes."""

import contextlib
import enum
import errno
import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from ..errors import MountwardenError
from . import wire

_READ = 1 << 18
_RETRY = 0.02


class Trouble(enum.StrEnum):
    """Why there is no answer at all."""

    ABSENT = "absent"
    """There is no socket, or nobody listens on it."""
    DENIED = "denied"
    """Its permissions do not let us connect."""
    LATE = "late"
    """The deadline passed."""
    LOST = "lost"
    """The connection ended before the answer."""
    MALFORMED = "malformed"
    """What came is no message of Varlink."""


class Unreachable(MountwardenError):
    """The service gave no answer, as `trouble` says. The client is of no use any more."""

    def __init__(self, trouble: Trouble, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.trouble = trouble


class CallFailed(MountwardenError):
    """The service answered with an error."""

    def __init__(self, name: str, parameters: Mapping[str, Any]) -> None:
        """`name` is its qualified name, as `io.mountwarden.NoSuchFinding`."""
        text, hint = parameters.get("text"), parameters.get("hint")
        rest = ", ".join(f"{key}={value}" for key, value in parameters.items())
        super().__init__(text if isinstance(text, str) else f"{name}({rest})", hint=hint if hint else None)
        self.name = name
        self.parameters = dict(parameters)


class Client:
    """A connection. Usable as a context manager, which closes it."""

    def __init__(self, source: int, sink: int, close: Callable[[], object]) -> None:
        """Replies are read from the descriptor `source`, calls written to `sink`; `close` ends both."""
        self._source, self._sink, self._close = source, sink, close
        self._splitter = wire.Splitter(wire.LARGEST_REPLY)
        for fd in {source, sink}:
            os.set_blocking(fd, False)

    @classmethod
    def connect(cls, path: str, *, deadline: float = 2.0) -> Self:
        """Connect to a socket within `deadline` seconds. Raises: Unreachable."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        until = time.monotonic() + deadline
        connection.setblocking(False)
        while (found := connection.connect_ex(path)) == errno.EAGAIN and time.monotonic() < until:
            time.sleep(_RETRY)  # as many wait to be accepted as may
        if found:
            connection.close()
            raise Unreachable(_trouble(found), f"{path}: {os.strerror(found)}")
        return cls(connection.fileno(), connection.fileno(), connection.close)

    def fileno(self) -> int:
        """Where replies are read from."""
        return self._source

    def close(self) -> None:
        """Close the connection."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(
        self, method: str, parameters: Mapping[str, object] | None = None, *, deadline: float = 2.0
    ) -> dict[str, Any]:
        """The parameters of the one reply, within `deadline` seconds. Raises: CallFailed; Unreachable."""
        until = time.monotonic() + deadline
        self._send(wire.call(method, parameters), until)
        return self._reply(until)[0]

    def stream(
        self, method: str, parameters: Mapping[str, object] | None = None, *, deadline: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """The parameters of each reply of a call with `more`, as they come; `deadline` seconds for each, None: any.

        Where the caller stops before the end, nothing but `close` is left to do. Raises: CallFailed; Unreachable.
        """
        self._send(wire.call(method, parameters, more=True), _until(deadline))
        continues = True
        while continues:
            parameters, continues = self._reply(_until(deadline))
            yield parameters

    def lost(self) -> Unreachable:
        """What to raise where the connection ended before the answer."""
        return Unreachable(Trouble.LOST, "the connection ended before the answer")

    def _send(self, data: bytes, until: float | None) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._sink, select.POLLOUT, until)
            try:
                left = left[os.write(self._sink, left) :]
            except BlockingIOError:
                continue
            except OSError:
                raise self.lost() from None

    def _reply(self, until: float | None) -> tuple[dict[str, Any], bool]:
        """The parameters of the next reply, and whether more come."""
        try:
            while (data := self._splitter.next()) is None:
                self._splitter.feed(self._read(until))
            fields = wire.parse(data)
            parameters, name = fields.get("parameters") or {}, fields.get("error")
            if not isinstance(parameters, dict) or not isinstance(name, str | None):
                raise wire.Malformed("a message is no reply")
        except wire.Malformed as error:
            raise Unreachable(Trouble.MALFORMED, f"the service can't be understood: {error}") from None
        if name is not None:
            raise CallFailed(name, parameters)
        return parameters, fields.get("continues") is True

    def _read(self, until: float | None) -> bytes:
        while True:
            self._wait(self._source, select.POLLIN, until)
            with contextlib.suppress(BlockingIOError):
                try:
                    data = os.read(self._source, _READ)
                except ConnectionResetError:
                    data = b""
                if not data:
                    raise self.lost()
                return data

    def _wait(self, fd: int, event: int, until: float | None) -> None:
        left = None if until is None else max(0.0, until - time.monotonic())
        poll = select.poll()
        poll.register(fd, event)
        if not poll.poll(None if left is None else left * 1000):
            raise Unreachable(Trouble.LATE, "the service gave no answer in time")


def _until(deadline: float | None) -> float | None:
    return None if deadline is None else time.monotonic() + deadline


def _trouble(number: int) -> Trouble:
    return {errno.EACCES: Trouble.DENIED, errno.EPERM: Trouble.DENIED, errno.EAGAIN: Trouble.LATE}.get(
        number, Trouble.ABSENT
    )
