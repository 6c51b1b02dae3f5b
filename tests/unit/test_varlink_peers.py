"""Whatever a peer of the server does, only its own connection ends: limits, and who pays for what."""

import contextlib
import random
import resource
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.varlink import server, wire
from mountwarden.varlink.connection import Peer
from mountwarden.varlink.server import Limits

from tests.unit.varlink_example import ROOT, USER, Example, echo, example

__all__ = ["example"]


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
