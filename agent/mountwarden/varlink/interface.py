"""Interfaces by their descriptions: which methods there are, and whether the parameters of a call are theirs. Pure.

A description is a text of varlink.org's interface definition, with systemd's type `any`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SERVICE = "org.varlink.service"
"""The interface that every service has."""

_TOKEN = re.compile(r"\s+|#[^\n]*|(->|\[string\]|\[\]|[?():,]|[A-Za-z][A-Za-z0-9_.-]*)")


class InterfaceError(ValueError):
    """A description that can't be read."""


class VarlinkError(Exception):
    """An error that a call is answered with."""

    def __init__(self, name: str, **parameters: object) -> None:
        """`name` is its qualified name."""
        super().__init__(name)
        self.name = name
        self.parameters = parameters


class InvalidParameter(VarlinkError):
    """A parameter is missing, not the method's, or of another type."""

    def __init__(self, parameter: str) -> None:
        super().__init__(f"{SERVICE}.InvalidParameter", parameter=parameter)


@dataclass(frozen=True, slots=True)
class Shape:
    """A type: `name` is that of a basic or named one, or "struct", "enum", "array", "map" with what they consist of."""

    name: str
    fields: Mapping[str, "Shape"]
    values: frozenset[str] = frozenset()
    of: "Shape | None" = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Description:
    """A description, read."""

    name: str
    text: str
    methods: Mapping[str, tuple[Shape, Shape]]
    """By name: the parameters of the call, and of the reply."""
    errors: Mapping[str, Shape]
    types: Mapping[str, Shape]

    def check(self, kind: Shape, value: object, name: str = "parameters") -> None:
        """Raises: InvalidParameter, with the name of the first parameter of `value` that is not of its type."""
        if value is None and (kind.optional or kind.name == "any"):
            return
        match kind.name:
            case "struct":
                self._check_struct(kind, value, name)
            case "enum":
                _need(isinstance(value, str) and value in kind.values, name)
            case "array" | "map":
                _need(isinstance(value, list if kind.name == "array" else dict), name)
                items: Any = value
                for item in items.values() if kind.name == "map" else items:
                    self.check(_known(kind.of), item, name)
            case basic if basic in _BASIC:
                _need(isinstance(value, _BASIC[basic]) and (basic == "bool" or type(value) is not bool), name)
            case "any":
                _need(value is not None, name)
            case named:
                self.check(self.types[named], value, name)

    def _check_struct(self, kind: Shape, value: object, name: str) -> None:
        if not isinstance(value, dict):
            raise InvalidParameter(name)
        for key in value:
            _need(key in kind.fields, key)
        for key, field in kind.fields.items():
            self.check(field, value.get(key), key)


_BASIC: dict[str, type | tuple[type, ...]] = {
    "bool": bool,
    "int": int,
    "float": (int, float),
    "string": str,
    "object": dict,
}


def _need(held: bool, name: str) -> None:
    if not held:
        raise InvalidParameter(name)


def _known(kind: Shape | None) -> Shape:
    assert kind is not None
    return kind


def read(text: str) -> Description:
    """A description, read. Raises: InterfaceError."""
    words = _Words(text)
    words.take("interface")
    name = words.next()
    types: dict[str, Shape] = {}
    methods: dict[str, tuple[Shape, Shape]] = {}
    errors: dict[str, Shape] = {}
    while words.left:
        keyword, member = words.next(), words.next()
        if keyword == "type":
            types[member] = words.type()
        elif keyword == "error":
            errors[member] = words.type()
        elif keyword == "method":
            given = words.type()
            words.take("->")
            methods[member] = given, words.type()
        else:
            raise InterfaceError(f"{keyword!r} is no member of an interface")
    return Description(name, text, methods, errors, types)


class _Words:
    def __init__(self, text: str) -> None:
        self.left = list(_words(text))[::-1]

    def next(self) -> str:
        if not self.left:
            raise InterfaceError("the description ends too early")
        return self.left.pop()

    def take(self, wanted: str) -> None:
        if (found := self.next()) != wanted:
            raise InterfaceError(f"{found!r} where {wanted!r} is due")

    def type(self) -> Shape:
        word = self.next()
        match word:
            case "?":
                kind = self.type()
                return Shape(kind.name, kind.fields, kind.values, kind.of, optional=True)
            case "[]":
                return Shape("array", {}, of=self.type())
            case "[string]":
                return Shape("map", {}, of=self.type())
            case "(":
                return self._members()
        return Shape(word, {})

    def _members(self) -> Shape:
        """Of a struct, or of an enum, whose members have no type."""
        fields: dict[str, Shape] = {}
        values: list[str] = []
        while (word := self.next()) != ")":
            if word == ",":
                continue
            if self.left and self.left[-1] == ":":
                self.take(":")
                fields[word] = self.type()
            else:
                values.append(word)
        return Shape("enum", {}, frozenset(values)) if values else Shape("struct", fields)


def _words(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise InterfaceError(f"{text[at]!r} has no meaning")
        at = found.end()
        if found[1]:
            yield found[1]
