"""A server over real sockets, for the tests of the protocol and those of what peers do."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mountwarden.varlink import interface, server, wire
from mountwarden.varlink.connection import Call, Peer
from mountwarden.varlink.interface import VarlinkError
from mountwarden.varlink.server import Limits, Offer, Product, VarlinkServer

TEXT = """
interface org.example
method Echo(text: string) -> (text: string)
method Later() -> (text: string)
method Much(size: int) -> (text: string)
method Count(to: int) -> (at: int)
method Absent() -> ()
error Bad(text: string)
"""
OWN = (Path(server.__file__).parents[1] / "data/org.varlink.service.varlink").read_text()
ROOT, USER = Peer(1, 0, 0), Peer(2, 1000, 1000)


@dataclass
class Example:
    """A server, and what its methods do."""

    limits: Limits = field(default_factory=lambda: Limits(idle=0.2, slow=0.2))
    waiting: list[Call] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        methods: dict[str, Callable[[Call], None]] = {
            "Echo": self.echo,
            "Later": self.waiting.append,
            "Much": lambda call: call.reply({"text": "x" * call.parameters["size"]}),
            "Count": self.count,
        }
        service = Offer(interface.read(TEXT), methods, frozenset({"Count"}))
        self.server = VarlinkServer(Product("v", "p", "1", "u"), [service], OWN, self.limits)

    def echo(self, call: Call) -> None:
        call.on_end = lambda: self.ended.append(call.parameters["text"])
        if call.parameters["text"] == "bad":
            raise VarlinkError("org.example.Bad", text="no")
        call.reply({"text": call.parameters["text"]})

    @staticmethod
    def count(call: Call) -> None:
        last = call.parameters["to"]
        for number in range(1, last + 1):
            call.reply({"at": number}, continues=number < last)

    def connected(self, peer: Peer = ROOT) -> socket.socket:
        """A peer's end of a new connection."""
        ours, theirs = socket.socketpair()
        self.server.adopt(ours, peer)
        theirs.settimeout(2)
        return theirs

    def turns(self, count: int = 3) -> None:
        for _turn in range(count):
            self.server.serve()

    def answers(self, theirs: socket.socket) -> list[dict[str, Any]]:
        """What has come back after some turns."""
        self.turns()
        theirs.setblocking(False)
        data = b""
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while part := theirs.recv(1 << 16):
                data += part
                self.server.serve()
        return [json.loads(one) for one in data.split(b"\0") if one]

    def ended_by_server(self, theirs: socket.socket) -> bool:
        """Whether the connection is over."""
        self.turns()
        theirs.setblocking(False)
        try:
            return not theirs.recv(1 << 16)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True


@pytest.fixture
def example() -> Iterator[Example]:
    one = Example()
    yield one
    one.server.close()


def echo(text: str, **flags: bool) -> bytes:
    return wire.encode({"method": "org.example.Echo", "parameters": {"text": text}, **flags}) + b"\0"
