"""HTTP/1.1 on a unix socket, as much of it as Docker's plugin protocol needs: POST, whole or chunked bodies both ways.

One thread a connection: while dockerd reads the answer to Diff it sends Create and ApplyDiff on other connections,
and waits. How many there are, and how long each may be silent, has limits.
"""

import io
import json
import logging
import os
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import BinaryIO, Protocol

from ..driver import GraphdriverError
from .connections import PluginConnections, PluginLimits, TimedSource

_log = logging.getLogger(__name__)
CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
_BUFFER = 1 << 18
_CHUNK = 1 << 16
_LINE = 1024  # bytes of a chunk's size line or a trailer
_TRAILERS = 64
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,15}\Z")
_LENGTH = re.compile(r"[0-9]{1,18}\Z", re.ASCII)


class BrokenBody(GraphdriverError):
    """The connection ended, or lost its framing, in the middle of a request's body. `answer` is HTTP's status."""

    answer = 400


class SlowBody(BrokenBody):
    """The body did not come in time."""

    answer = 408


class LongBody(BrokenBody):
    """The body goes on and on."""

    answer = 413


class _Body(io.RawIOBase):
    """A request's body, as a stream that ends where the body does, never earlier."""

    def __init__(self, source: io.BufferedIOBase) -> None:
        self._source = source
        self._left = 0
        self.ended = False
        self._broken: BrokenBody | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        if self._broken:
            raise self._broken
        try:
            return self._readinto(memoryview(buffer))
        except BrokenBody as error:
            self._broken = error
            raise

    def _readinto(self, view: memoryview) -> int:
        if not self._left and not self.ended:
            self._begin()
        if self.ended or not len(view):
            return 0
        try:
            count = self._source.readinto1(view[: self._left])
        except TimeoutError:
            raise SlowBody("the body did not come in time") from None
        if not count:
            raise BrokenBody("the connection ended in the middle of the body")
        self._left -= count
        if not self._left:
            self._finish()
        return count

    def _begin(self) -> None:
        raise NotImplementedError

    def _finish(self) -> None:
        raise NotImplementedError


class SizedBody(_Body):
    """A body with Content-Length."""

    def __init__(self, source: io.BufferedIOBase, size: int) -> None:
        super().__init__(source)
        self._left = size
        self.ended = not size

    def _finish(self) -> None:
        self.ended = True


class ChunkedBody(_Body):
    """A body with Transfer-Encoding: chunked (RFC 9112, 7.1). Only the last chunk ends it."""

    def _begin(self) -> None:
        text = self._line().partition(b";")[0].strip()
        if not _CHUNK_SIZE.match(text):
            raise BrokenBody("the body is not chunked as it says")
        self._left = int(text, 16)
        if not self._left:
            if all(self._line() for _ in range(_TRAILERS)):
                raise BrokenBody("the body has too many trailers")
            self.ended = True

    def _finish(self) -> None:
        if self._line():
            raise BrokenBody("a chunk of the body does not end where it says")

    def _line(self) -> bytes:
        try:
            line = self._source.readline(_LINE)
        except TimeoutError:
            raise SlowBody("the body did not come in time") from None
        if not line.endswith(b"\n"):
            raise BrokenBody("the connection ended in the middle of the body")
        return line.strip()


class ChunkedWriter(io.RawIOBase):
    """Sends what is written as chunks. `begin` is called before the first byte goes out; until then all may fail."""

    def __init__(self, send: Callable[[bytes], object], begin: Callable[[], None]) -> None:
        self._send = send
        self._begin = begin
        self._waiting = bytearray()
        self.begun = False

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        self._waiting += data
        if len(self._waiting) >= _CHUNK:
            self._flush_chunk()
        return len(data)

    def _flush_chunk(self) -> None:
        if not self.begun:
            self._begin()
            self.begun = True
        if self._waiting:
            self._send(b"%x\r\n%b\r\n" % (len(self._waiting), bytes(self._waiting)))
            self._waiting.clear()

    def finish(self) -> None:
        """Send the rest and the chunk that says that all is there."""
        self._flush_chunk()
        self._send(b"0\r\n\r\n")


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer: a body, or a function that writes it (`stream`). `undo` is called if it can't be sent."""

    body: bytes = b"{}"
    status: int = 200
    stream: Callable[[BinaryIO], object] | None = None
    undo: Callable[[], object] | None = None


class Service(Protocol):
    """Answers requests; it never raises."""

    def is_long(self, path: str) -> bool:
        """Whether a request's body may go on as long as something comes."""

    def answer(self, path: str, query: str, body: BinaryIO) -> Reply:
        """The reply to one request."""

    def failure(self, error: Exception) -> Reply:
        """The reply for an error with a status that is not 200."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def setup(self) -> None:
        super().setup()
        self._timed = TimedSource(self.connection)
        self._head = self.rfile = io.BufferedReader(self._timed, _BUFFER)
        self._served = self._understood = False

    def handle_one_request(self) -> None:
        """Wait for a request and answer it; 408 for one that has begun and does not come in time."""
        limits = self.server.limits
        self.server.connections.wait(self.connection, used=self._served)
        self._timed.allow(limits.idle if self._served else limits.first)
        self.close_connection, self._understood = True, False
        try:
            if not self._head.peek(1):
                return
            self._timed.allow(limits.head)
            super().handle_one_request()
            if self._timed.late and not self._understood:
                self._refuse(408, "the request did not come in time")
        except OSError as error:
            self.log_message("%s", error)

    def do_POST(self) -> None:
        self.server.connections.work(self.connection)
        self._served = self._understood = True
        with self.server.busy():
            path, query = self._target()
            try:
                body = self._body()
            except BrokenBody as error:
                return self._refuse(error.answer, str(error))
            long, limits = self.server.service.is_long(path), self.server.limits
            self._timed.allow(None if long else limits.body, silence=limits.silence)
            reply = self.server.service.answer(path, query, io.BufferedReader(body, _BUFFER))
            try:
                self._drain(body, None if long else limits.rest)
                self._send(reply)
            except (OSError, GraphdriverError) as error:
                self.log_message("%s: %s", path, error)
                self.close_connection = True
                if reply.undo:
                    reply.undo()
                if isinstance(error, BrokenBody):
                    self._refuse(error.answer, str(error))
        return None

    def _drain(self, body: _Body, most: int | None) -> None:
        """Read what is left of the body, since a client may send all before it reads."""
        self._timed.allow(self.server.limits.body)
        buffer, count = bytearray(_BUFFER), 0
        while not body.ended:
            count += body.readinto(buffer)
            if most is not None and count > most:
                raise LongBody("the body is too long")

    def _refuse(self, status: int, why: str) -> None:
        self.close_connection = True
        try:
            self.request_version = self.protocol_version
            self._send(Reply(json.dumps({"Err": why}).encode() + b"\n", status))
        except OSError as error:
            self.log_message("%s", error)

    def _target(self) -> tuple[str, str]:
        path, _, query = self.path.partition("?")
        return path, query

    def _body(self) -> _Body:
        """The request's body. Raises: BrokenBody where its framing is none, or can be understood in two ways."""
        coding = self.headers.get_all("Transfer-Encoding", [])
        lengths = self.headers.get_all("Content-Length", [])
        if coding:
            if lengths or len(coding) > 1 or coding[0].strip().lower() != "chunked":
                raise BrokenBody("the body's framing is not understood")
            return ChunkedBody(self.rfile)
        if len(lengths) > 1 or (lengths and not _LENGTH.match(lengths[0])):
            raise BrokenBody("the body's length is no number")
        return SizedBody(self.rfile, int(lengths[0]) if lengths else 0)

    def _send(self, reply: Reply) -> None:
        self.connection.settimeout(self.server.limits.silence)
        if reply.stream is None:
            self._begin(reply.status, "Content-Length", str(len(reply.body)))
            self.wfile.write(reply.body)
            return
        writer = ChunkedWriter(self.wfile.write, lambda: self._begin(200, "Transfer-Encoding", "chunked"))
        try:
            reply.stream(writer)  # type: ignore[arg-type]
            writer.finish()
        except Exception as error:
            gone = writer.begun and isinstance(error, OSError)
            _log.log(logging.DEBUG if gone else logging.WARNING, "%s: %s", self.path, error)
            if writer.begun:  # the client sees it by the missing last chunk
                self.close_connection = True
            else:
                self._send(self.server.service.failure(error))

    def _begin(self, status: int, header: str, value: str) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header(header, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        _log.debug(format, *arguments)


class _Busy:
    def __init__(self, server: "Server") -> None:
        self._server = server

    def __enter__(self) -> None:
        with self._server.changed:
            self._server.running += 1

    def __exit__(self, *exception: object) -> None:
        with self._server.changed:
            self._server.running -= 1
            self._server.changed.notify_all()


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves a listening unix socket. A thread that waits for a next request does not hold up the end."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, service: Service, limits: PluginLimits | None = None) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.service = service
        self.limits = limits or PluginLimits()
        self.connections = PluginConnections(self.limits.connections)
        self.running = 0
        self.changed = threading.Condition()

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """A thread for it; where there are too many, the one that waits longest is ended, or this one refused."""
        if self.connections.add(request):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self.connections.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """No traceback of what a client did."""
        _log.warning("a connection ended: %r", sys.exception())

    def busy(self) -> _Busy:
        """Counts a request as running."""
        return _Busy(self)

    def wait_idle(self, seconds: float) -> bool:
        """Wait until no request runs any more; False if some still do."""
        with self.changed:
            return self.changed.wait_for(lambda: not self.running, seconds)


def listen(path: str) -> socket.socket:
    """A listening socket at `path`, 0600; a stale one is replaced, a live one is an error."""
    _remove_stale(path)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mask = os.umask(0o177)
        try:
            listening.bind(path)
        finally:
            os.umask(mask)
        listening.listen(128)
    except BaseException:
        listening.close()
        raise
    return listening


def _remove_stale(path: str) -> None:
    if not os.path.lexists(path):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise GraphdriverError(f"{path} is served by another process already", hint="stop that one first")
