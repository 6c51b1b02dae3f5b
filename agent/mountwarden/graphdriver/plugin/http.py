"""HTTP/1.1 on a unix socket, as much of it as Docker's plugin protocol needs: POST, whole or chunked bodies both ways.

One thread a connection: while dockerd reads the answer to Diff it sends Create and ApplyDiff on other connections,
and waits.
"""

import io
import logging
import os
import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import BinaryIO, Protocol

from ..driver import GraphdriverError

_log = logging.getLogger(__name__)
CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
_BUFFER = 1 << 18
_CHUNK = 1 << 16
_LINE = 1024  # bytes of a chunk's size line or a trailer


class BrokenBody(GraphdriverError):
    """The connection ended, or lost its framing, in the middle of a request's body."""


class _Body(io.RawIOBase):
    """A request's body, as a stream that ends where the body does, never earlier."""

    def __init__(self, source: io.BufferedIOBase) -> None:
        self._source = source
        self._left = 0
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        view = memoryview(buffer)
        if not self._left and not self.ended:
            self._begin()
        if self.ended or not len(view):
            return 0
        count = self._source.readinto1(view[: self._left])
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
        try:
            self._left = int(text, 16) if text[:1].isalnum() else -1
        except ValueError:
            self._left = -1
        if self._left < 0:
            raise BrokenBody("the body is not chunked as it says")
        if not self._left:
            while self._line():
                pass
            self.ended = True

    def _finish(self) -> None:
        if self._line():
            raise BrokenBody("a chunk of the body does not end where it says")

    def _line(self) -> bytes:
        line = self._source.readline(_LINE)
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

    def answer(self, path: str, query: str, body: BinaryIO) -> Reply:
        """The reply to one request."""

    def failure(self, error: Exception) -> Reply:
        """The reply for an error with a status that is not 200."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rbufsize = _BUFFER
    server: "Server"

    def do_POST(self) -> None:
        with self.server.busy():
            body = self._body()
            if body is None:
                return self._send(Reply(b'{"Err":"a body needs its length"}\n', 411))
            reply = self.server.service.answer(*self._target(), io.BufferedReader(body, _BUFFER))
            try:
                while not body.ended:
                    body.readinto(bytearray(_BUFFER))
                self._send(reply)
            except (OSError, GraphdriverError) as error:
                _log.debug("%s: %s", self.path, error)
                self.close_connection = True
                if reply.undo:
                    reply.undo()
        return None

    def _target(self) -> tuple[str, str]:
        path, _, query = self.path.partition("?")
        return path, query

    def _body(self) -> _Body | None:
        source = self.rfile
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return ChunkedBody(source)
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit():
            self.close_connection = True
            return None
        return SizedBody(source, int(length))

    def _send(self, reply: Reply) -> None:
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

    def __init__(self, listening: socket.socket, service: Service) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.service = service
        self.running = 0
        self.changed = threading.Condition()

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
