"""One connection of a server: takes calls one at a time and in order, and sends what they are answered with.

Nothing here waits. The next call is looked at when the last one is answered and the peer has taken the answer, so a
peer that does not read costs one answer, and one that sends much costs one message.
"""

import contextlib
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from . import wire
from .interface import VarlinkError

_READ = 1 << 16
_AT_ONCE = 16
"""Calls of one connection that are taken in one turn, so that others get theirs."""
_UCRED = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, as the kernel has noted it (SO_PEERCRED of unix(7))."""

    pid: int
    uid: int
    gid: int

    @classmethod
    def of(cls, connection: socket.socket) -> Self:
        """Raises: OSError."""
        return cls(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))

    @classmethod
    def ourselves(cls) -> Self:
        """This process: who talks to it over its standard input has started it."""
        return cls(os.getpid(), os.getuid(), os.getgid())


class Call:
    """One call, which is answered now or later, unless `gone`."""

    def __init__(self, connection: "Connection", request: wire.Request) -> None:
        self.method = request.method.rpartition(".")[2]
        self.parameters = request.parameters
        self.more = request.more
        self.peer = connection.peer
        self.over = False
        """Whether it is answered in full, or its peer is gone."""
        self.on_end: Callable[[], object] = lambda: None
        """Called once when it is over, however that came."""
        self._connection, self._oneway = connection, request.oneway

    @property
    def taken(self) -> bool:
        """Whether the peer has taken all that it was sent: more of a long answer can go."""
        return not self._connection.queued

    def reply(self, parameters: Mapping[str, object] | bytes, *, continues: bool = False) -> None:
        """Answer, with JSON or what is made to it; with `continues`, more replies come. Nothing if it is over."""
        if not self.over:
            data = parameters if isinstance(parameters, bytes) else wire.encode(parameters)
            self._answer(wire.reply(data, continues=continues), end=not continues)

    def fail(self, error: VarlinkError) -> None:
        """Answer with an error."""
        if not self.over:
            self._answer(wire.error(error.name, error.parameters), end=True)

    def end(self) -> None:
        """It is over."""
        if not self.over:
            self.over = True
            self.on_end()

    def _answer(self, data: bytes, *, end: bool) -> None:
        if not self._oneway:
            self._connection.send(data)
        if end:
            self.end()


class Connection:
    """A connected socket of a peer."""

    def __init__(
        self, connection: socket.socket, peer: Peer, answer: Callable[[Call, wire.Request], None], most: int
    ) -> None:
        """`answer` is given each call. `most` is how many bytes may wait to be read, beyond one message of any size."""
        connection.setblocking(False)
        self.peer = peer
        self.closed = False
        self.queued = 0
        """Bytes that the peer has not taken."""
        self.since = time.monotonic()
        """When it last made progress: was answered, or took some of an answer."""
        self._socket, self._dispatch, self._most = connection, answer, most
        self._in = wire.Splitter(wire.LARGEST_CALL)
        self._out: deque[memoryview] = deque()
        self._call: Call | None = None
        self._ended = False
        """Whether the peer sends no more; it may still wait for answers."""
        self._unseen = False
        """Whether calls may be there that were read already."""

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    @property
    def busy(self) -> bool:
        """Whether a call is not answered yet."""
        return self._call is not None and not self._call.over

    @property
    def due(self) -> bool:
        """Whether there is something to do though nothing came."""
        return not (self.busy or self.queued) and (self._unseen or self._ended)

    @property
    def interest(self) -> int:
        """What to poll for; an end is reported in any case."""
        reads = not (self.busy or self.queued or self._unseen or self._ended)
        return (select.EPOLLOUT if self.queued else 0) | (select.EPOLLIN if reads else 0)

    def turn(self, events: int) -> None:
        """Do what these events of poll allow, and take calls."""
        gone = events & (select.EPOLLHUP | select.EPOLLERR)
        if events & select.EPOLLIN:
            self._read()
        elif gone:
            self._ended = True
        if self.queued:
            self._flush()
        if gone and self.busy:
            self.close()  # nobody is there to be answered
        self._take_calls()
        if self.due and not self._unseen:
            self.close()

    def send(self, data: bytes) -> None:
        """Send, now or when the peer takes it. A peer for whom too much waits loses its connection."""
        if self.closed:
            return
        if self.queued > self._most:
            self.close()
            return
        if not self.queued:
            self.since = time.monotonic()
        self._out.append(memoryview(data))
        self.queued += len(data)
        self._flush()

    def close(self) -> None:
        """End it, and the call that is not answered. A forked child that has the descriptor too does not keep it open.

        The descriptor stays until `forget`: it is being polled.
        """
        if self.closed:
            return
        self.closed, self.queued, self._unseen = True, 0, False
        self._out.clear()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._call is not None:
            self._call.end()

    def forget(self) -> None:
        """Give up the descriptor alone."""
        self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._in.feed(data)
        self._ended, self._unseen = not data, True

    def _take_calls(self) -> None:
        for _call in range(_AT_ONCE):
            if self.closed or self.busy or self.queued:
                return
            try:
                data = self._in.next()
                if data is None:
                    self._unseen = False
                    return
                request = wire.parse_call(data)
            except wire.Malformed:
                self.close()
                return
            self._call = Call(self, request)
            self._dispatch(self._call, request)
            self.since = time.monotonic()

    def _flush(self) -> None:
        try:
            while self._out:
                size = self._socket.send(self._out[0])
                self.queued -= size
                self.since = time.monotonic()
                if size == len(self._out[0]):
                    self._out.popleft()
                else:
                    self._out[0] = self._out[0][size:]
        except BlockingIOError:
            return
        except OSError:
            self.close()
