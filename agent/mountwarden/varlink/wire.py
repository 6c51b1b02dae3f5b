"""The wire of Varlink: JSON objects, each ended by a NUL byte.

What comes in is anybody's: a message that is too long, no UTF-8, no JSON, no object, too deep, or that names a field
twice, is malformed, and ends its connection.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..escape import json_text

LARGEST_CALL = 1 << 20
"""Bytes of the longest call that a server takes."""
LARGEST_REPLY = 128 << 20
"""Bytes of the longest reply that a client takes."""
_MOST_VALUES = 20_000
"""JSON values in a call, at most, by a count of their separators: each costs some hundred times its text."""


class Malformed(ValueError):
    """What came is no message of Varlink."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call, as it came."""

    method: str
    parameters: Any
    """An object, once `interface` has checked it."""
    more: bool = False
    oneway: bool = False
    upgrade: bool = False


class Splitter:
    """Takes bytes as they come, and gives them back as messages. Holds one read more than the longest message."""

    def __init__(self, largest: int) -> None:
        """`largest` is in bytes."""
        self._largest = largest
        self._data = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> None:
        """Add what was read."""
        self._data += data

    def next(self) -> bytes | None:
        """The next whole message, without its NUL; None until it is there. Raises: Malformed when it is too long."""
        end = self._data.find(0, self._searched)
        self._searched = len(self._data)
        if (self._searched if end < 0 else end) > self._largest:
            raise Malformed(f"a message is longer than {self._largest} bytes")
        if end < 0:
            return None
        message = bytes(self._data[:end])
        del self._data[: end + 1]
        self._searched = 0
        return message

    def __len__(self) -> int:
        """Bytes that are held."""
        return len(self._data)


def encode(value: object) -> bytes:
    """A value as JSON. Raises: ValueError for a number that JSON has not."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return json_text(text).encode()


def call(method: str, parameters: Mapping[str, object] | None = None, *, more: bool = False) -> bytes:
    """A call, as it is sent."""
    flags = {"more": True} if more else {}
    return encode({"method": method, "parameters": dict(parameters or {}), **flags}) + b"\0"


def reply(parameters: bytes, *, continues: bool = False) -> bytes:
    """A reply with these parameters, which are JSON already."""
    return b'{"parameters":' + parameters + (b',"continues":true}\0' if continues else b"}\0")


def error(name: str, parameters: Mapping[str, object]) -> bytes:
    """An error, by its qualified name."""
    return encode({"error": name, "parameters": dict(parameters)}) + b"\0"


def parse(data: bytes, *, most_values: int | None = None) -> dict[str, Any]:
    """The object in a message. Raises: Malformed."""
    if most_values is not None and sum(map(data.count, (b",", b"[", b"{"))) > most_values:
        raise Malformed(f"a message has more than {most_values} values")
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as found:  # a number may be too long, too
        raise Malformed(f"a message is no JSON: {type(found).__name__}") from None
    if not isinstance(value, dict):
        raise Malformed("a message is no object")
    return value


def parse_call(data: bytes) -> Request:
    """The call in a message; fields that Varlink does not know are skipped. Raises: Malformed."""
    fields = parse(data, most_values=_MOST_VALUES)
    flags = {name: fields.get(name) or False for name in ("more", "oneway", "upgrade")}
    method = fields.get("method")
    if not isinstance(method, str) or not all(isinstance(flag, bool) for flag in flags.values()):
        raise Malformed("a message is no call")
    return Request(method, fields.get("parameters"), **flags)


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found
