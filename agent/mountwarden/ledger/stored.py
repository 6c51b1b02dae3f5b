"""The ledger as JSON text, and back. The text is our own file's; what does not fit makes a new ledger, and is said."""

import dataclasses
import enum
import functools
import json
import os
import types
import typing
from collections.abc import Mapping
from typing import Any

from .entries import Ledger

SCHEMA = "mountwarden.ledger/1"


def dump(ledger: Ledger) -> bytes:
    """The ledger as one line of JSON."""
    return json.dumps({"schema": SCHEMA, "ledger": _plain(ledger)}, separators=(",", ":")).encode()


def load(data: bytes | None, boot_id: str) -> tuple[Ledger, str | None]:
    """The ledger of a file's content, and why a new one was started; None when it was not, or there was no file."""
    if data is None:
        return Ledger(boot_id), None
    try:
        document = json.loads(data)
        if document["schema"] != SCHEMA:
            return Ledger(boot_id), f"the saved ledger is of another version ({document['schema']!r})"
        ledger = typing.cast("Ledger", _made(Ledger, document["ledger"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return Ledger(boot_id), f"the saved ledger can't be read ({type(error).__name__}: {error})"
    if ledger.boot_id != boot_id:
        return Ledger(boot_id), "the saved ledger is of another boot"
    return ledger, None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, Mapping):
        return [[_plain(key), _plain(item)] for key, item in value.items()]
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def _made(kind: Any, value: Any) -> Any:
    """`value` of JSON as an object of the annotated type `kind`; what does not fit raises TypeError or ValueError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _made(next(one for one in arguments if one is not types.NoneType), value)
    if origin is tuple:
        inner = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return tuple(_made(one, item) for one, item in zip(inner, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        return {_made(arguments[0], key): _made(arguments[1], item) for key, item in value}
    if dataclasses.is_dataclass(kind):
        hints = _hints(typing.cast("type", kind))
        return typing.cast("type", kind)(**{name: _made(hints[name], item) for name, item in value.items()})
    return _scalar(kind, value)


def _scalar(kind: Any, value: Any) -> Any:
    if kind is bytes:
        return os.fsencode(value)
    if issubclass(kind, enum.Enum):
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)
