"""Replaces the texts of facts. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, TypeVar, cast

T = TypeVar("T")

Replace = Callable[[str, str, Any], Any]
"""(class, field, text) to the text in its place; `bytes` stay bytes and `str` stay `str`."""


def replaced(facts: T, function: Replace) -> T:
    """The same facts with every text (bytes or str, but no enum member) replaced."""
    return cast("T", _Walk(function).walk(facts, "", ""))


class _Walk:
    """Facts that occur in many places are replaced once, and stay one object."""

    def __init__(self, function: Replace) -> None:
        self._function = function
        self._done: dict[int, tuple[Any, Any]] = {}

    def walk(self, value: Any, owner: str, name: str) -> Any:
        if isinstance(value, Enum) or value is None:
            return value
        if isinstance(value, bytes | str):
            return self._function(owner, name, value)
        if isinstance(value, tuple | frozenset):
            return type(value)(self.walk(each, owner, name) for each in value)
        if isinstance(value, Mapping):
            return {self.walk(key, owner, name): self.walk(each, owner, name) for key, each in value.items()}
        if is_dataclass(value) and not isinstance(value, type):
            return self._dataclass(value)
        return value

    def _dataclass(self, value: Any) -> Any:
        known = self._done.get(id(value))
        if known is None:
            owner = type(value).__name__
            changes = {f.name: self.walk(getattr(value, f.name), owner, f.name) for f in fields(value)}
            # The original is kept too: its id() must not be given to another object meanwhile.
            known = self._done[id(value)] = (value, replace(value, **changes))
        return known[1]
