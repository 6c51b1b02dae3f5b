"""The wire of Varlink and the descriptions of interfaces: what is taken apart, and what is refused."""

import json
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden.varlink import interface, wire
from mountwarden.varlink.interface import InvalidParameter

NAMES = ("io.mountwarden", "io.systemd.Metrics", "org.varlink.service")


def shipped(name: str) -> interface.Description:
    return interface.read((resources.files("mountwarden") / "data" / f"{name}.varlink").read_text("utf-8"))


@given(st.lists(st.binary(max_size=20).filter(lambda data: 0 not in data), max_size=8), st.integers(1, 9))
def test_messages_come_out_as_they_went_in_however_they_were_cut(messages: list[bytes], size: int) -> None:
    splitter, found = wire.Splitter(20), list[bytes]()
    data = b"".join(message + b"\0" for message in messages)
    for at in range(0, len(data), size):
        splitter.feed(data[at : at + size])
        while (one := splitter.next()) is not None:
            found.append(one)
    assert found == messages
    assert len(splitter) == 0


@pytest.mark.parametrize("data", [b"x" * 21, b"x" * 21 + b"\0"])
def test_a_message_that_is_too_long_is_refused_before_its_end(data: bytes) -> None:
    splitter = wire.Splitter(20)
    splitter.feed(data)
    with pytest.raises(wire.Malformed):
        splitter.next()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"method":1}',
        b'{"parameters":{}}',
        b'{"method":"a.B","more":1}',
        b'{"method":"a.B","method":"a.C"}',
        b'{"method":"a.B","parameters":{"x":NaN}}',
        b'{"method":"a.B","parameters":{"x":Infinity}}',
        b'{"method":"\xff"}',
        b'{"method":"a.B"} x',
        b'{"method":"a.B","parameters":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"method":"a.B","parameters":' + b'{"a":' * 2000 + b"1" + b"}" * 2001,
        b'{"method":"a.B","parameters":[' + b"1," * 300000 + b"1]}",
        b'{"method":"a.B","parameters":' + b"9" * 10000 + b"}",
    ],
)
def test_what_is_no_call_is_malformed(data: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.parse_call(data)


def test_a_call_is_what_was_sent() -> None:
    data = wire.call("a.B", {"x": "ü"}, more=True)
    assert data.endswith(b"\0")
    assert wire.parse_call(data[:-1]) == wire.Request("a.B", {"x": "ü"}, more=True)
    assert wire.parse_call(b'{"method":"a.B","later":{},"more":null}') == wire.Request("a.B", None)


def test_replies_and_errors_are_those_of_the_protocol() -> None:
    assert json.loads(wire.reply(b'{"a":1}')[:-1]) == {"parameters": {"a": 1}}
    assert json.loads(wire.reply(b"{}", continues=True)[:-1]) == {"parameters": {}, "continues": True}
    assert json.loads(wire.error("a.E", {"x": 1})[:-1]) == {"error": "a.E", "parameters": {"x": 1}}
    assert b"\0" not in wire.encode({"x": "\0\udcff"})
    with pytest.raises(ValueError, match="JSON"):
        wire.encode({"x": float("nan")})


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_descriptions_can_be_read(name: str) -> None:
    found = shipped(name)
    assert found.name == name
    kinds = [*found.types.values(), *found.errors.values(), *(kind for pair in found.methods.values() for kind in pair)]
    unresolved = {kind.name for kind in every(kinds)} - {"struct", "enum", "array", "map", "any", *interface._BASIC}
    assert unresolved <= found.types.keys()


def every(kinds: list[interface.Shape]) -> list[interface.Shape]:
    below = [one for kind in kinds for one in (*kind.fields.values(), *([kind.of] if kind.of else []))]
    return kinds + (every(below) if below else [])


ACT = {"action": "detach", "ids": ["mw-1"]}


@pytest.mark.parametrize(
    ("method", "parameters", "wrong"),
    [
        ("Report", {}, None),
        ("Report", {"scan": False}, None),
        ("Report", {"scan": None}, None),
        ("Report", {"scan": 1}, "scan"),
        ("Report", {"scam": True}, "scam"),
        ("Report", None, "parameters"),
        ("Report", [], "parameters"),
        ("Explain", {}, "id"),
        ("Explain", {"id": 3}, "id"),
        ("Plan", {"ids": ["a"]}, None),
        ("Plan", {"ids": ["a", None]}, "ids"),
        ("Plan", {"ids": {"a": "b"}}, "ids"),
        ("Act", ACT, None),
        ("Act", ACT | {"dryRun": True, "lazy": None}, None),
        ("Act", ACT | {"action": "restart"}, "action"),
        ("Act", ACT | {"action": ["detach"]}, "action"),
        ("Act", {"action": "detach"}, "ids"),
    ],
)
def test_parameters_are_checked_by_the_description(method: str, parameters: Any, wrong: str | None) -> None:
    found = shipped("io.mountwarden")
    if wrong is None:
        found.check(found.methods[method][0], parameters)
        return
    with pytest.raises(InvalidParameter) as error:
        found.check(found.methods[method][0], parameters)
    assert error.value.parameters == {"parameter": wrong}


@pytest.mark.parametrize(
    "text",
    ["", "interface", "type", "interface a.b method C(", "interface a.b thing X()", "interface a.b method C() ()", "§"],
)
def test_a_description_that_is_cut_off_is_refused(text: str) -> None:
    with pytest.raises(interface.InterfaceError):
        interface.read(text)
