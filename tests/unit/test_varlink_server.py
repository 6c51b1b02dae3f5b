"""The server over real sockets: in order, within its limits, and whatever a peer does, only its own connection ends."""

import contextlib
import json
import os
import random
import resource
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from mountwarden.varlink import interface, server, wire
from mountwarden.varlink.client import Client, Trouble, Unreachable
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


def test_it_says_what_it_is(example: Example) -> None:
    with example.connected() as peer:
        peer.sendall(wire.call("org.varlink.service.GetInfo"))
        peer.sendall(wire.call("org.varlink.service.GetInterfaceDescription", {"interface": "org.example"}))
        info, description = example.answers(peer)
    assert info["parameters"] == {
        "vendor": "v",
        "product": "p",
        "version": "1",
        "url": "u",
        "interfaces": ["org.example", "org.varlink.service"],
    }
    assert description["parameters"] == {"description": TEXT}


@pytest.mark.parametrize(
    ("method", "parameters", "error"),
    [
        ("org.none.X", {}, {"error": "InterfaceNotFound", "parameters": {"interface": "org.none"}}),
        ("X", {}, {"error": "InterfaceNotFound", "parameters": {"interface": ""}}),
        ("org.example.X", {}, {"error": "MethodNotFound", "parameters": {"method": "X"}}),
        ("org.example.Absent", {}, {"error": "MethodNotImplemented", "parameters": {"method": "Absent"}}),
        ("org.example.Echo", {}, {"error": "InvalidParameter", "parameters": {"parameter": "text"}}),
        ("org.example.Count", {"to": 1}, {"error": "ExpectedMore", "parameters": {}}),
        (
            "org.varlink.service.GetInterfaceDescription",
            {"interface": "x"},
            {"error": "InvalidParameter", "parameters": {"parameter": "interface"}},
        ),
    ],
)
def test_what_it_has_not_is_an_error_of_the_protocol(
    example: Example, method: str, parameters: dict[str, object], error: dict[str, Any]
) -> None:
    with example.connected() as peer:
        peer.sendall(wire.call(method, parameters))
        assert example.answers(peer) == [{**error, "error": f"org.varlink.service.{error['error']}"}]


def test_calls_are_answered_in_order_also_behind_one_that_takes_long(example: Example) -> None:
    with example.connected() as peer:
        peer.sendall(echo("1") + wire.call("org.example.Later") + echo("3") + echo("bad"))
        assert [one["parameters"] for one in example.answers(peer)] == [{"text": "1"}]
        example.waiting[0].reply({"text": "2"})
        assert example.server.at_most(60) == 0
        later = example.answers(peer)
    assert [one["parameters"]["text"] for one in later] == ["2", "3", "no"]
    assert later[-1]["error"] == "org.example.Bad"


def test_a_oneway_call_is_done_and_not_answered(example: Example) -> None:
    with example.connected() as peer:
        peer.sendall(echo("1", oneway=True) + echo("bad", oneway=True) + echo("2"))
        assert [one["parameters"]["text"] for one in example.answers(peer)] == ["2"]
    assert example.ended == ["1", "bad", "2"]


def test_oneway_calls_of_a_peer_that_is_gone_are_done(example: Example) -> None:
    with example.connected() as peer:
        peer.sendall(b"".join(echo(str(number), oneway=True) for number in range(40)))
    example.turns(6)
    assert example.ended == [str(number) for number in range(40)]
    assert example.server.connections == 0


def test_more_gives_many_replies(example: Example) -> None:
    with example.connected() as peer:
        peer.sendall(wire.call("org.example.Count", {"to": 3}, more=True))
        replies = example.answers(peer)
    assert [(one["parameters"]["at"], one.get("continues")) for one in replies] == [(1, True), (2, True), (3, None)]


def test_a_peer_that_sends_no_more_is_answered_first(example: Example) -> None:
    with example.connected() as peer:
        peer.sendall(echo("1") + wire.call("org.example.Later"))
        peer.shutdown(socket.SHUT_WR)
        assert len(example.answers(peer)) == 1
        example.waiting[0].reply({"text": "2"})
        assert example.server.at_most(60) == 0
        assert len(example.answers(peer)) == 1
        assert example.ended_by_server(peer)
    assert example.server.connections == 0


def test_a_call_ends_with_its_peer(example: Example) -> None:
    ended: list[bool] = []
    with example.connected() as peer:
        peer.sendall(wire.call("org.example.Later"))
        example.turns()
        example.waiting[0].on_end = lambda: ended.append(True)
    example.turns()
    assert (ended, example.waiting[0].over, example.server.connections) == ([True], True, 0)
    example.waiting[0].reply({"text": "nobody"})


RUDE = [
    b"\0",
    b"{}\0",
    b"[" * 100000 + b"\0",
    b'{"method":"org.example.Echo","parameters":{"text":"\xff"}}\0',
    b"x" * (wire.LARGEST_CALL + 1),
    b"GET / HTTP/1.1\r\n\r\n\0",
]


@pytest.mark.parametrize("data", RUDE, ids=range(len(RUDE)))
def test_what_is_no_call_ends_that_connection_alone(example: Example, data: bytes) -> None:
    with example.connected() as rude, example.connected() as polite:
        rude.setblocking(False)
        left = memoryview(data)
        with contextlib.suppress(BrokenPipeError):
            while left:
                with contextlib.suppress(BlockingIOError):
                    left = left[rude.send(left) :]
                example.server.serve()
        assert example.ended_by_server(rude)
        polite.sendall(echo("1"))
        assert len(example.answers(polite)) == 1


def test_silence_is_an_end_after_a_while_also_in_the_middle_of_a_call(example: Example) -> None:
    with example.connected() as silent, example.connected() as slow, example.connected() as waits:
        waits.sendall(wire.call("org.example.Later"))
        example.turns()
        assert 0 < example.server.at_most(60) <= 0.2
        until = time.monotonic() + 0.25
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                slow.send(b"{")
            time.sleep(0.02)
            example.turns(1)
        assert example.ended_by_server(silent)
        assert example.ended_by_server(slow)
        assert not example.ended_by_server(waits)


def test_a_peer_that_does_not_read_is_dropped_and_nobody_waits_for_it(example: Example) -> None:
    with example.connected() as deaf, example.connected() as polite:
        deaf.sendall(wire.call("org.example.Much", {"size": 3 << 20}) + echo("2"))
        example.turns()
        polite.sendall(echo("1"))
        assert len(example.answers(polite)) == 1
        assert example.ended == ["1"], "its next call waits until it has taken the answer"
        time.sleep(0.25)
        example.turns()
        assert example.server.connections == 0, "one was slow, one idle"


def test_what_comes_before_the_last_call_is_answered_is_not_read(example: Example) -> None:
    with example.connected() as peer:
        peer.sendall(wire.call("org.example.Later"))
        example.turns()
        peer.setblocking(False)
        sent = 0
        for _part in range(200):
            with contextlib.suppress(BlockingIOError):
                sent += peer.send(b"x" * (1 << 16))
            example.server.serve()
        assert sent < 1 << 20


def test_nothing_is_upgraded(example: Example) -> None:
    with example.connected() as peer:
        peer.sendall(echo("1", upgrade=True))
        assert [one["error"] for one in example.answers(peer)] == ["org.varlink.service.MethodNotImplemented"]


def test_an_answer_of_any_size_comes_whole_to_who_reads(example: Example) -> None:
    with example.connected() as peer:
        peer.sendall(wire.call("org.example.Much", {"size": 5 << 20}))
        (one,) = example.answers(peer)
    assert len(one["parameters"]["text"]) == 5 << 20


def test_what_waits_for_a_watcher_is_bounded() -> None:
    example = Example(Limits(queued=1000))
    with contextlib.closing(example.server), example.connected() as deaf:
        deaf.sendall(wire.call("org.example.Later", more=True))
        example.turns()
        for _event in range(20000):
            example.waiting[0].reply({"text": "x" * 100}, continues=True)
        assert example.waiting[0].over
        example.turns()
        assert example.server.connections == 0


OTHER = Peer(3, 1001, 1001)


@pytest.mark.parametrize(
    ("peers", "over"),
    [
        # The 4th is the user's third: his first goes. The 5th makes it two each of root and him: his next goes, and not
        # root's. The 6th finds two of root: the older goes.
        ([USER, ROOT, USER, USER, ROOT, OTHER], [True, True, True, False, False, False]),
        ([ROOT, ROOT, USER, USER], [False, False, True, False]),
        ([ROOT, USER, OTHER, Peer(4, 1002, 1002)], [False, True, False, False]),
    ],
)
def test_when_it_is_full_who_has_most_loses_the_idlest(
    peers: list[Peer], over: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example, path = Example(Limits(connections=3)), str(tmp_path / "socket")
    with contextlib.ExitStack() as held:
        held.callback(example.server.close)
        example.server.listen(server.bind(path, mode=0o600))
        known: list[socket.socket] = []
        for peer in peers:
            monkeypatch.setattr(Peer, "of", classmethod(lambda _cls, _socket, peer=peer: peer))
            one = held.enter_context(socket.socket(socket.AF_UNIX))
            one.connect(path)
            known.append(one)
            example.turns()
        assert [example.ended_by_server(one) for one in known] == over


def test_one_uid_alone_cannot_shut_out_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = Example(Limits(connections=4, burst=9))
    path = str(tmp_path / "socket")
    with contextlib.ExitStack() as held:
        held.callback(example.server.close)
        example.server.listen(server.bind(path, mode=0o600))
        monkeypatch.setattr(Peer, "of", classmethod(lambda _cls, _socket: ROOT))
        root = held.enter_context(socket.socket(socket.AF_UNIX))
        root.connect(path)
        example.turns()
        monkeypatch.setattr(Peer, "of", classmethod(lambda _cls, _socket: USER))
        for _connection in range(50):
            held.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
            example.turns()
        assert example.server.connections == 4
        root.sendall(echo("1"))
        assert len(example.answers(root)) == 1


def test_a_uid_that_costs_too_much_waits_and_root_does_not() -> None:
    example = Example(Limits(burst=0.05, share=0.1))
    with contextlib.closing(example.server), example.connected(USER) as user, example.connected() as root:
        example.server.charge(USER, 0.06)
        example.server.charge(ROOT, 60)
        user.sendall(echo("user"))
        root.sendall(echo("root"))
        example.turns()
        assert example.ended == ["root"]
        assert 0 < example.server.at_most(60) <= 0.1
        time.sleep(0.12)
        example.turns()
        assert example.ended == ["root", "user"]


def test_connections_of_a_uid_that_costs_too_much_are_refused_and_the_next_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example, path = Example(Limits(burst=0.0105, share=0.001, rest=0.1)), str(tmp_path / "socket")
    with contextlib.ExitStack() as held:
        held.callback(example.server.close)
        example.server.listen(server.bind(path, mode=0o600))
        peers = [held.enter_context(socket.socket(socket.AF_UNIX)) for _peer in range(14)]
        for one in peers:
            one.connect(path)
        given = iter([USER] * 13 + [ROOT])
        monkeypatch.setattr(Peer, "of", classmethod(lambda _cls, _socket: next(given)))
        example.server.serve()
        assert example.server.connections == 11, "ten of the user and root's, which waited behind his"
        assert 0 < example.server.at_most(60) <= 0.1
        late = held.enter_context(socket.socket(socket.AF_UNIX))
        late.connect(path)
        given = iter([ROOT])
        example.server.serve()
        assert example.server.connections == 11
        time.sleep(0.11)
        example.turns()
        assert example.server.connections == 12


def test_peers_are_whom_the_kernel_says(tmp_path: Path) -> None:
    example, path = Example(), str(tmp_path / "socket")
    with contextlib.closing(example.server), socket.socket(socket.AF_UNIX) as peer:
        example.server.listen(server.bind(path, mode=0o600))
        peer.connect(path)
        peer.sendall(wire.call("org.example.Later"))
        example.turns()
        assert example.waiting[0].peer == Peer(os.getpid(), os.getuid(), os.getgid())


def test_a_stale_socket_is_replaced_and_has_its_mode_at_once(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server.bind(str(path), mode=0o600).close()
    with pytest.raises(Unreachable) as error:
        Client.connect(str(path))
    assert error.value.trouble is Trouble.ABSENT
    with server.bind(str(path), mode=0o660, group=os.getgid()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        Client.connect(str(path)).close()
    assert os.listdir(tmp_path) == ["socket"]


def test_a_forked_child_keeps_no_connection_open(example: Example) -> None:
    with example.connected() as peer:
        peer.sendall(wire.call("org.example.Later"))
        example.turns()
        read_end, write_end = os.pipe()
        if (child := os.fork()) == 0:
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(0)
        try:
            peer.shutdown(socket.SHUT_WR)
            example.waiting[0].reply({"text": "1"})
            assert len(example.answers(peer)) == 1
            assert example.ended_by_server(peer)
        finally:
            for fd in (write_end, read_end):
                os.close(fd)
            os.waitpid(child, 0)


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes_end_no_more_than_their_connection(seed: int) -> None:
    chance, example = random.Random(seed), Example(Limits(connections=64))
    good = [echo("x"), wire.call("org.varlink.service.GetInfo"), wire.call("org.example.Count", {"to": 2}, more=True)]
    with contextlib.closing(example.server), example.connected() as polite:
        for _round in range(200):
            with example.connected(replace(USER, uid=0)) as rude:
                data = bytearray(b"".join(chance.choices(good, k=chance.randrange(1, 20))))
                for _mutation in range(chance.randrange(6)):
                    data[chance.randrange(len(data))] = chance.choice((0, 34, 91, 123, 125, 255, chance.randrange(256)))
                with contextlib.suppress(OSError):
                    rude.sendall(data[: chance.randrange(1, len(data) + 1)])
                example.turns(chance.randrange(4))
        polite.sendall(echo("1"))
        assert len(example.answers(polite)) == 1
        example.turns(30)
        assert example.server.connections == 1


def test_many_large_and_unfinished_calls_cost_little_memory(example: Example) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.ExitStack() as held:
        for _peer in range(16):
            rude = held.enter_context(example.connected())
            rude.setblocking(False)
            for _part in range(40):
                with contextlib.suppress(OSError):
                    rude.send(b"[" * (1 << 16))
                example.server.serve()
    example.turns()
    assert example.server.connections == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 48 << 10
