"""The client over real sockets and pipes, beside a peer that answers, lies, is silent, or goes away."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mountwarden.varlink import wire
from mountwarden.varlink.client import CallFailed, Client, Trouble, Unreachable


@pytest.fixture
def pair() -> Iterator[tuple[Client, socket.socket]]:
    ours, theirs = socket.socketpair()
    with Client(ours.fileno(), ours.fileno(), ours.close) as client, theirs:
        yield client, theirs


def received(peer: socket.socket) -> wire.Request:
    return wire.parse_call(peer.recv(1 << 16).rstrip(b"\0"))


def test_a_call_and_its_reply(pair: tuple[Client, socket.socket]) -> None:
    client, peer = pair
    peer.sendall(wire.reply(b'{"a":1}'))
    assert client.call("x.Y", {"b": 2}) == {"a": 1}
    assert received(peer) == wire.Request("x.Y", {"b": 2})


def test_a_reply_that_is_longer_than_any_buffer(pair: tuple[Client, socket.socket]) -> None:
    client, peer = pair
    if (child := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            peer.sendall(wire.reply(wire.encode({"a": "x" * (3 << 20)})))
        os._exit(0)
    try:
        assert len(client.call("x.Y", deadline=10)["a"]) == 3 << 20
    finally:
        os.waitpid(child, 0)


def test_a_stream_ends_with_the_last_reply(pair: tuple[Client, socket.socket]) -> None:
    client, peer = pair
    peer.sendall(wire.reply(b'{"a":1}', continues=True) + wire.reply(b'{"a":2}'))
    assert [one["a"] for one in client.stream("x.Y", deadline=1)] == [1, 2]
    assert received(peer).more


def test_an_error_has_its_name_its_text_and_its_hint(pair: tuple[Client, socket.socket]) -> None:
    client, peer = pair
    peer.sendall(wire.error("x.Bad", {"text": "no", "hint": "yes"}))
    with pytest.raises(CallFailed) as error:
        client.call("x.Y")
    assert (error.value.name, error.value.message, error.value.hint) == ("x.Bad", "no", "yes")
    peer.sendall(wire.error("x.NoSuch", {"id": "mw-1"}))
    with pytest.raises(CallFailed, match=r"x\.NoSuch\(id=mw-1\)"):
        client.call("x.Y")


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (b"", Trouble.LATE),
        (b'{"par', Trouble.LATE),
        (b"no\0", Trouble.MALFORMED),
        (b'{"parameters":[1]}\0', Trouble.MALFORMED),
        (b'{"error":3}\0', Trouble.MALFORMED),
    ],
)
def test_what_is_no_answer(pair: tuple[Client, socket.socket], answer: bytes, trouble: Trouble) -> None:
    client, peer = pair
    peer.sendall(answer)
    started = time.monotonic()
    with pytest.raises(Unreachable) as error:
        client.call("x.Y", deadline=0.2)
    assert error.value.trouble is trouble
    assert time.monotonic() - started < 2


def test_a_peer_that_goes_away(pair: tuple[Client, socket.socket]) -> None:
    client, peer = pair
    peer.close()
    with pytest.raises(Unreachable) as error:
        client.call("x.Y")
    assert error.value.trouble is Trouble.LOST


def test_a_peer_that_reads_nothing_costs_no_more_than_the_deadline(pair: tuple[Client, socket.socket]) -> None:
    client, _peer = pair
    with pytest.raises(Unreachable) as error:
        client.call("x.Y", {"a": "x" * (8 << 20)}, deadline=0.2)
    assert error.value.trouble is Trouble.LATE


def test_over_a_pair_of_pipes() -> None:
    there, to_them = os.pipe()
    from_them, back = os.pipe()
    ends = (to_them, from_them)
    with Client(from_them, to_them, lambda: [os.close(fd) for fd in ends]) as client:
        os.write(back, wire.reply(b'{"a":1}'))
        assert client.call("x.Y") == {"a": 1}
    for fd in (there, back):
        os.close(fd)


def test_no_socket_and_nobody_who_listens(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with pytest.raises(Unreachable) as error:
        Client.connect(path)
    assert error.value.trouble is Trouble.ABSENT
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        with pytest.raises(Unreachable) as error:
            Client.connect(path)
    assert error.value.trouble is Trouble.ABSENT


def test_a_listener_that_accepts_nobody(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with contextlib.ExitStack() as held, socket.socket(socket.AF_UNIX) as busy:
        busy.bind(path)
        busy.listen(0)
        held.enter_context(Client.connect(path, deadline=0.2))
        with pytest.raises(Unreachable) as error:
            Client.connect(path, deadline=0.2)
    assert error.value.trouble is Trouble.LATE
