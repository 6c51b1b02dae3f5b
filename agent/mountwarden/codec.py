"""Frozen dataclasses as JSON and back, by the types of their fields. Pure.

A dataclass is an object, a tuple or a set an array, a mapping an array of pairs, an enum member its value.
How bytes and text are written depends on the document. Facts of `shared` types, of which there are many and the
same in many places, stand once each in an array by their class's name, and are called by their index there.
"""

import enum
import functools
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, TypeVar, cast

from .errors import MountwardenError

T = TypeVar("T")

_HIGHEST = (1 << 64) - 1
_LAST_SECOND = 253402300799.0
"""The end of the year 9999: the last time that can be formatted."""
_PLAIN = re.compile(r"[\x20-\x7e]*")


class DecodeError(MountwardenError):
    """The document is damaged, or holds something else than was asked for."""


class _Mismatch(ValueError):
    """A value is not of the type that its place requires."""


@dataclass(frozen=True, slots=True)
class Format:
    """What differs between documents."""

    text: Callable[[bytes | str], str]
    """Bytes or text as JSON has it."""
    raw: Callable[[str], bytes]
    """The bytes of a text in JSON."""
    shared: tuple[type, ...] = ()
    """Each holds only those before it."""
    host_text: frozenset[str] | None = None
    """Names of the `str` fields that may hold any text, others only what is printable in ASCII; None: all may."""
    other_fields: bool = False
    """Whether fields that are not known are passed over."""


class Encoder:
    """Turns facts into JSON, and collects what is shared."""

    def __init__(self, form: Format) -> None:
        self.shared: dict[str, list[Any]] = {kind.__name__: [] for kind in form.shared}
        self._form = form
        self._known: dict[Any, int] = {}

    def encode(self, value: Any) -> Any:
        """The JSON of a value."""
        if isinstance(value, enum.Enum):
            return value.value
        if isinstance(value, bytes | str):
            return self._form.text(value)
        if isinstance(value, Mapping):
            return [[self.encode(key), self.encode(each)] for key, each in value.items()]
        if isinstance(value, frozenset):
            return [self.encode(each) for each in sorted(value)]
        if isinstance(value, tuple):
            return [self.encode(each) for each in value]
        if is_dataclass(value):
            return self._shared(value) if isinstance(value, self._form.shared) else self._object(value)
        return value

    def _shared(self, value: Any) -> int:
        if value not in self._known:
            row = self._object(value)  # first: what it holds itself has its place before it
            self._known[value] = len(self.shared[type(value).__name__])
            self.shared[type(value).__name__].append(row)
        return self._known[value]

    def _object(self, value: Any) -> dict[str, Any]:
        return {_name(each): self.encode(getattr(value, each.name)) for each in fields(value)}


class Decoder:
    """Turns JSON into facts. Raises DecodeError, with the place, for what is not of the type asked for."""

    def __init__(self, form: Format, shared: Any = None) -> None:
        """`shared` are the arrays of what is shared, as JSON."""
        self._form = form
        self._shared: dict[type, list[Any]] = {}
        for kind in form.shared:
            rows = shared.get(kind.__name__) if isinstance(shared, dict) else None
            self._shared[kind] = self._rows(kind, rows)

    def decode(self, kind: type[T], value: Any) -> T:
        """The fact of that type."""
        try:
            return cast("T", self._any(kind, value))
        except _Mismatch as error:
            raise DecodeError(str(error)) from None

    def _rows(self, kind: type, rows: Any) -> list[Any]:
        try:
            return [self._object(kind, row) for row in _array(rows)]
        except _Mismatch as error:
            raise DecodeError(f"{kind.__name__}: {error}") from None

    def _any(self, kind: Any, value: Any) -> Any:
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return None if value is None else self._any(next(one for one in inner if one is not type(None)), value)
        if origin is tuple:
            return self._tuple(inner, value)
        if origin is frozenset:
            return frozenset(self._any(inner[0], each) for each in _array(value))
        if origin is not None:
            return {self._any(inner[0], key): self._any(inner[1], each) for key, each in map(_pair, _array(value))}
        if is_dataclass(kind):
            return self._reference(kind, value) if kind in self._form.shared else self._object(kind, value)
        return self._scalar(kind, value)

    def _scalar(self, kind: Any, value: Any) -> Any:
        if kind is bytes:
            return self._form.raw(_text(value))
        if kind is str:
            return self._form.raw(_text(value)).decode("utf-8", "surrogateescape")
        return _word(kind, value) if issubclass(kind, enum.Enum) else _NUMBERS[kind](value)

    def _tuple(self, inner: tuple[Any, ...], value: Any) -> Any:
        items = _array(value)
        if len(inner) == 2 and inner[1] is ...:
            return tuple(self._any(inner[0], each) for each in items)
        if len(items) != len(inner):
            raise _Mismatch(f"{len(items)} values are there, and {len(inner)} are wanted")
        return tuple(self._any(one, each) for one, each in zip(inner, items, strict=True))

    def _reference(self, kind: Any, value: Any) -> Any:
        rows = self._shared.get(kind, [])
        if type(value) is not int or not 0 <= value < len(rows):
            raise _Mismatch(f"there is no such {kind.__name__}")
        return rows[value]

    def _object(self, kind: Any, value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Mismatch(f"{kind.__name__} is not an object")
        made = {}
        for name, attribute, each, required in _fields(kind):
            if name in value:
                made[attribute] = self._field(kind, name, each, value[name])
            elif required:
                raise _Mismatch(f"{kind.__name__} has no {name}")
        if not self._form.other_fields and len(made) < len(value):
            raise _Mismatch(f"{kind.__name__} has fields that are not known")
        return kind(**made)

    def _field(self, kind: Any, name: str, wanted: Any, value: Any) -> Any:
        try:
            found = self._any(wanted, value)
        except _Mismatch as error:
            raise DecodeError(f"{kind.__name__}.{name}: {error}") from None
        if type(found) is str and not self._may_hold(name, found):
            raise DecodeError(f"{kind.__name__}.{name} has characters that it can't have")
        return found

    def _may_hold(self, name: str, text: str) -> bool:
        known = self._form.host_text
        return known is None or name in known or _PLAIN.fullmatch(text) is not None


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, str, Any, bool], ...]:
    """Name in the document, attribute and type of each field, and whether it must be there."""
    hints = typing.get_type_hints(kind)
    return tuple((_name(each), each.name, hints[each.name], _is_required(each)) for each in fields(kind))


def _name(each: "Field[Any]") -> str:
    """Its name in the document: that of its metadata "file", where an earlier version wrote it so, else its own."""
    return str(each.metadata.get("file", each.name))


def _is_required(each: "Field[Any]") -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Mismatch("an array is wanted")
    return value


def _pair(value: Any) -> tuple[Any, Any]:
    if not isinstance(value, list) or len(value) != 2:
        raise _Mismatch("a pair is wanted")
    return value[0], value[1]


def _word(kind: Any, value: Any) -> Any:
    try:
        return kind(value)
    except (ValueError, TypeError):
        raise _Mismatch(f"it is no {kind.__name__}") from None


def _integer(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _HIGHEST:
        raise _Mismatch("a whole number is wanted")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= _LAST_SECOND:
        raise _Mismatch("a number of seconds is wanted")
    return float(value)


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise _Mismatch("true or false is wanted")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _Mismatch("text is wanted")
    return value


_NUMBERS: dict[type, Callable[[Any], Any]] = {int: _integer, float: _number, bool: _boolean}
