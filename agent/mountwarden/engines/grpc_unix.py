"""gRPC over a daemon's Unix socket: for a child with a deadline, in the daemon's mount namespace.

gRPC over HTTP/2 (grpc/grpc, doc/PROTOCOL-HTTP2.md): POST /SERVICE/METHOD with a message behind five bytes, a zero and
its length; the trailer grpc-status is 0 where the call succeeded. h2, which speaks HTTP/2, is loaded here and nowhere
else; without it a server can still be asked for the SETTINGS that each must send first (RFC 9113, section 3.4).
"""

import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..observe.unix_sockets import SECONDS, connected

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_NO_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
_SETTINGS = 4
_HEADER = 9
_PART = 1 << 16
_LIMIT = 64 << 20
_NOTHING = struct.pack(">BI", 0, 0)


class NoLibrary(Exception):
    """h2 is not installed."""


def first_answering(sockets: Sequence[bytes], pid: int) -> bytes:
    """The first of the sockets of a daemon, process `pid`, behind which an HTTP/2 server answers.

    Raises: OSError where there is none.
    """
    for path in sockets:
        if not path.endswith((b".ttrpc", b"/debug.sock")) and _answers(path, pid):
            return path
    raise ConnectionError("no socket answers")


def _answers(path: bytes, pid: int) -> bool:
    try:
        with connected(path, pid) as peer:
            peer.sendall(_PREFACE + _NO_SETTINGS)
            head = b""
            while len(head) < _HEADER and (part := peer.recv(_HEADER - len(head))):
                head += part
    except OSError:
        return False
    return len(head) == _HEADER and head[3] == _SETTINGS


def call(path: bytes, pid: int, method: bytes, headers: Iterable[Mapping[bytes, bytes]]) -> list[bytes]:
    """Call a method with an empty message, once for each set of further headers: the message of each answer.

    Raises: NoLibrary; OSError; ValueError of a failed call and of an answer of another form.
    """
    try:
        from h2.config import H2Configuration
        from h2.connection import H2Connection
    except ImportError:
        raise NoLibrary from None
    link = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    link.initiate_connection()
    with connected(path, pid) as peer:
        peer.settimeout(SECONDS)
        return [_one_call(link, peer, method, more) for more in headers]


def _one_call(link: Any, peer: socket.socket, method: bytes, more: Mapping[bytes, bytes]) -> bytes:
    stream = link.get_next_available_stream_id()
    fixed = {b":method": b"POST", b":scheme": b"http", b":authority": b"localhost", b":path": method}
    kind = {b"content-type": b"application/grpc", b"te": b"trailers"}
    link.send_headers(stream, [*{**fixed, **kind, **more}.items()])
    link.send_data(stream, _NOTHING, end_stream=True)
    return _message(_answer(link, peer, stream))


def _answer(link: Any, peer: socket.socket, stream: int) -> bytes:
    """The data of a stream whose trailers say that the call succeeded."""
    from h2 import events

    data, succeeded = b"", False
    while True:
        peer.sendall(link.data_to_send())
        part = peer.recv(_PART)
        if not part:
            raise ConnectionError("the server closed the connection")
        for event in link.receive_data(part):
            if getattr(event, "stream_id", stream) != stream:
                continue
            if isinstance(event, events.DataReceived):
                data += event.data
                link.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, events.ResponseReceived | events.TrailersReceived):
                succeeded = dict(event.headers).get(b"grpc-status") == b"0"
            elif isinstance(event, events.StreamEnded):
                if not succeeded:
                    raise ValueError("the call failed")
                return data
            elif isinstance(event, events.StreamReset | events.ConnectionTerminated) or len(data) > _LIMIT:
                raise ConnectionError("the server ended the call")


def _message(data: bytes) -> bytes:
    compressed, size = struct.unpack_from(">BI", data)
    if compressed or size != len(data) - len(_NOTHING):
        raise ValueError("the answer is no single plain message")
    return data[len(_NOTHING) :]
