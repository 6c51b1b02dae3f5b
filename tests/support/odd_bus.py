"""A message bus that misbehaves, in the process of its client: what it will answer is in the socket beforehand. And
messages as bytes, for a client that misbehaves. It needs the standard library alone: its text runs on a test host.
"""

import os
import socket
import struct
from typing import Self

AUTHENTICATED = b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n"
_BUS, _PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"


class OddBus:
    """A socket that $DBUS_SYSTEM_BUS_ADDRESS names."""

    def __init__(self, path: str) -> None:
        """Nobody is answered until `accept`."""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.peers: list[socket.socket] = []
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={path}"

    def accept(self, answer: bytes = b"") -> Self:
        """Take the next client, and say this to it."""
        self.peers.append(self.listener.accept()[0])
        self.peers[-1].sendall(answer)
        return self

    def hang_up(self) -> None:
        """Close the last connection."""
        self.peers.pop().close()


def greeting() -> bytes:
    """What a broker answers until a client is connected: its name, and the signal that it has it."""
    name = string(":1.7")
    answer = message(2, 1, [(5, "u", 1), (6, "s", ":1.7"), (7, "s", _BUS), (8, "g", "s")], name)
    named = [(1, "o", _PATH), (2, "s", _BUS), (3, "s", "NameAcquired"), (6, "s", ":1.7"), (7, "s", _BUS), (8, "g", "s")]
    return AUTHENTICATED + answer + message(4, 2, named, name)


def message(kind: int, serial: int, fields: list[tuple[int, str, int | str]], body: bytes) -> bytes:
    """D-Bus specification, "Message Format": little endian, version 1."""
    packed = b""
    for code, signature, value in fields:
        packed = padded(packed, 8) + bytes([code, 1]) + signature.encode() + b"\0"
        if isinstance(value, int):
            packed = padded(packed, 4) + struct.pack("<I", value)
        elif signature == "g":
            packed += bytes([len(value)]) + value.encode() + b"\0"
        else:
            packed = padded(packed, 4) + string(value)
    head = b"l" + bytes([kind, 1, 1]) + struct.pack("<III", len(body), serial, len(packed))
    return padded(head + packed, 8) + body


def string(value: str) -> bytes:
    """As a body or a field has it."""
    return struct.pack("<I", len(value)) + value.encode() + b"\0"


def padded(data: bytes, to: int) -> bytes:
    """With zeros up to the next multiple."""
    return data + bytes(-len(data) % to)
