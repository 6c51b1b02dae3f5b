"""Facts as JSON and back, by the types of their fields.

A dataclass is an object, a tuple or a set an array, a mapping an array of pairs; text of the host, bytes or not, is as
`escape.printable` makes it, which is reversible. Facts of `SHARED`, of which there are many and the same in many
places, stand once each in an array by their class's name, and are called by their index there.
"""

import enum
import functools
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar, cast

from ..errors import MountwardenError
from ..escape import original, printable
from ..model import Base, Match, Mount, Root

T = TypeVar("T")

SHARED: tuple[type, ...] = (Mount, Root, Base, Match)
"""Each holds only those before it."""

_HIGHEST = (1 << 64) - 1
_LAST_SECOND = 253402300799.0
"""The end of the year 9999: what a time can be shown of."""
_PLAIN = re.compile(r"[\x20-\x7e]*")
_HOST_TEXT = frozenset(
    (
        *("fstype", "comm", "unit", "container", "user_unit", "hostname", "kernel", "what", "reason", "status"),
        *("how", "id", "value", "asked", "record"),
    )
)
"""Fields of `str` type that may hold any text, and are escaped wherever they are shown."""


class Wrong(MountwardenError):
    """The document is no snapshot, or a damaged one."""


class _Mismatch(ValueError):
    """A value is not of the type that its place wants."""


class Encoder:
    """Turns facts into JSON, and collects what is shared."""

    def __init__(self) -> None:
        self.shared: dict[str, list[Any]] = {kind.__name__: [] for kind in SHARED}
        self._known: dict[Any, int] = {}

    def encode(self, value: Any) -> Any:
        """The JSON of a value."""
        if isinstance(value, enum.Enum):
            return value.value
        if isinstance(value, bytes | str):
            return printable(value)
        if isinstance(value, Mapping):
            return [[self.encode(key), self.encode(each)] for key, each in value.items()]
        if isinstance(value, frozenset):
            return [self.encode(each) for each in sorted(value)]
        if isinstance(value, tuple):
            return [self.encode(each) for each in value]
        if is_dataclass(value):
            return self._shared(value) if isinstance(value, SHARED) else self._object(value)
        return value

    def _shared(self, value: Any) -> int:
        if value not in self._known:
            row = self._object(value)  # first: what it holds itself has its place before it
            self._known[value] = len(self.shared[type(value).__name__])
            self.shared[type(value).__name__].append(row)
        return self._known[value]

    def _object(self, value: Any) -> dict[str, Any]:
        return {each.name: self.encode(getattr(value, each.name)) for each in fields(value)}


class Decoder:
    """Turns JSON into facts. Raises Wrong, with the place, for what is not of the type asked for."""

    def __init__(self, shared: Any) -> None:
        self._shared: dict[type, list[Any]] = {}
        for kind in SHARED:
            rows = shared.get(kind.__name__) if isinstance(shared, dict) else None
            self._shared[kind] = self._rows(kind, rows)

    def decode(self, kind: type[T], value: Any) -> T:
        """The fact of that type."""
        try:
            return cast("T", self._any(kind, value))
        except _Mismatch as error:
            raise Wrong(str(error)) from None

    def _rows(self, kind: type, rows: Any) -> list[Any]:
        try:
            return [self._object(kind, row) for row in _array(rows)]
        except _Mismatch as error:
            raise Wrong(f"{kind.__name__}: {error}") from None

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
            return self._reference(kind, value) if kind in SHARED else self._object(kind, value)
        return _word(kind, value) if issubclass(kind, enum.Enum) else _SCALARS[kind](value)

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
        for name, each, required, host_text in _fields(kind):
            if name in value:
                made[name] = self._field(kind, name, each, value[name], host_text)
            elif required:
                raise _Mismatch(f"{kind.__name__} has no {name}")
        return kind(**made)

    def _field(self, kind: Any, name: str, wanted: Any, value: Any, host_text: bool) -> Any:
        try:
            found = self._any(wanted, value)
        except _Mismatch as error:
            raise Wrong(f"{kind.__name__}.{name}: {error}") from None
        if type(found) is str and not host_text and not _PLAIN.fullmatch(found):
            raise Wrong(f"{kind.__name__}.{name} has characters that it can't have")
        return found


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool, bool], ...]:
    """Name and type of each field, whether it must be there, and whether it may hold any text."""
    hints = typing.get_type_hints(kind)
    return tuple((f.name, hints[f.name], _is_required(f), f.name in _HOST_TEXT) for f in fields(kind))


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


def _bytes(value: Any) -> bytes:
    if type(value) is not str:
        raise _Mismatch("text is wanted")
    return original(value)


def _text(value: Any) -> str:
    return _bytes(value).decode("utf-8", "surrogateescape")


_SCALARS: dict[type, Callable[[Any], Any]] = {
    int: _integer,
    float: _number,
    bool: _boolean,
    bytes: _bytes,
    str: _text,
}
