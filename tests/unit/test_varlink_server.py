"""The server over real sockets: what it answers, in order, and to whom."""

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from mountwarden.varlink import server, wire
from mountwarden.varlink.client import Client, Trouble, Unreachable
from mountwarden.varlink.connection import Peer

from tests.unit.varlink_example import TEXT, Example, echo, example

__all__ = ["example"]


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


def test_nothing_is_upgraded(example: Example) -> None:
    with example.connected() as peer:
        peer.sendall(echo("1", upgrade=True))
        assert [one["error"] for one in example.answers(peer)] == ["org.varlink.service.MethodNotImplemented"]


def test_an_answer_of_any_size_comes_whole_to_who_reads(example: Example) -> None:
    with example.connected() as peer:
        peer.sendall(wire.call("org.example.Much", {"size": 5 << 20}))
        (one,) = example.answers(peer)
    assert len(one["parameters"]["text"]) == 5 << 20


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
