"""Typed getters over a table of a configuration file: every error names file, line and key."""

import datetime
import enum
import functools
import math
import posixpath
from collections.abc import Callable, Mapping
from typing import Concatenate, NoReturn, ParamSpec, TypeVar

from .. import durations
from ..errors import ConfigError

E = TypeVar("E", bound=enum.StrEnum)
T = TypeVar("T")
P = ParamSpec("P")


class Source:
    """A file that tables come from, with the lines of its keys, and the errors that were found in it so far."""

    def __init__(self, name: str, lines: Mapping[str, int]) -> None:
        self.name = name
        self._lines = lines
        self._errors: list[ConfigError] = []

    @property
    def errors(self) -> list[ConfigError]:
        """By line."""
        return sorted(self._errors, key=lambda error: error.line)

    def note(self, error: ConfigError) -> None:
        """Keep an error, to go on with the rest of the file."""
        self._errors.append(error)

    def at(self, key: str) -> str:
        """`file:line` of a key path, or of the nearest table around it whose line is known; else the file."""
        line = self._line(key)
        return f"{self.name}:{line}" if line else self.name

    def _line(self, key: str) -> int:
        while key and key not in self._lines:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return self._lines.get(key, 0)

    def wrong(self, key: str, message: str, hint: str | None = None) -> NoReturn:
        """Raise ConfigError for a key path."""
        raise ConfigError(f"{self.at(key)}: {escaped(key)}: {message}", hint=hint, line=self._line(key))


def _noted(
    getter: Callable[Concatenate["TomlTable", P], T | None],
) -> Callable[Concatenate["TomlTable", P], T | None]:
    """The getter, whose error is kept with the table's source: it returns None then."""

    @functools.wraps(getter)
    def noting(table: "TomlTable", /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return getter(table, *args, **kwargs)
        except ConfigError as error:
            table.source.note(error)
            return None

    return noting


class TomlTable:
    """One table. A getter returns None for a key that is not there, and for a value that does not fit.

    The errors are kept with the `source`: those of the getters, and those of `done`, for keys that no getter read.
    """

    def __init__(self, source: Source, values: Mapping[str, object], where: str = "") -> None:
        self.source = source
        self.where = where
        self._values = values
        self._asked: set[str] = set()

    def key(self, name: str) -> str:
        """The key path of a key of this table."""
        return f"{self.where}.{name}" if self.where else name

    def wrong(self, name: str, message: str, hint: str | None = None) -> NoReturn:
        """Raise ConfigError for a key of this table."""
        self.source.wrong(self.key(name), message, hint)

    def has(self, name: str) -> bool:
        """Whether the table has this key."""
        return name in self._values

    def done(self) -> None:
        """Note an error for each key that no getter read."""
        for name in self._values:
            if name not in self._asked:
                self.refuse(name, "no such key", nearest(name, self._asked))

    @_noted
    def refuse(self, name: str, message: str, hint: str | None = None) -> None:
        """Note an error for a key of this table."""
        self.wrong(name, message, hint)

    @_noted
    def text(self, name: str) -> str | None:
        """A string that is not empty and holds no NUL."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.wrong(name, f"a string is wanted, this is {_kind(value)}", f'write {name} = "…"')
        if not value or "\0" in value:
            self.wrong(name, "the string is empty" if not value else "the string holds a NUL")
        return value

    @_noted
    def word(self, name: str, words: tuple[str, ...]) -> str | None:
        """One of these strings."""
        value = self.text(name)
        if value is not None and value not in words:
            self.wrong(name, f"{_quoted(value)} is none of {', '.join(words)}", nearest(value, words))
        return value

    @_noted
    def words(self, name: str, words: tuple[str, ...]) -> tuple[str, ...] | None:
        """A list of these strings, each once."""
        values = self.texts(name)
        for value in values or ():
            if value not in words:
                self.wrong(name, f"{_quoted(value)} is none of {', '.join(words)}", nearest(value, words))
        if values is not None and len(set(values)) < len(values):
            self.wrong(name, "a word stands there twice")
        return values

    def choice(self, name: str, of: type[E]) -> E | None:
        """A member of an enum, by its value."""
        value = self.word(name, tuple(member.value for member in of))
        return None if value is None else of(value)

    @_noted
    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of strings."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            self.wrong(name, f"a list is wanted, this is {_kind(value)}", f'write {name} = ["…"]')
        if not all(isinstance(each, str) and each and "\0" not in each for each in value):
            self.wrong(name, "each element must be a string that is not empty")
        return tuple(value)

    @_noted
    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number between `low` and `high`, both included."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            self.wrong(name, f"a whole number is wanted, this is {_kind(value)}")
        if not low <= value <= high:
            self.wrong(name, f"must be {low} to {high}")
        return value

    @_noted
    def seconds(self, name: str, low: float, high: float) -> float | None:
        """A time span between `low` and `high`, both in seconds. The key's value is text or a number of seconds.

        It is rounded to whole microseconds.
        """
        value = self._get(name)
        if value is None:
            return None
        length = self._span(name, value) if isinstance(value, str) else value
        if not isinstance(length, (int, float)) or isinstance(length, bool) or not _finite(length):
            self.wrong(name, "a duration is wanted", durations.HINT)
        if not low <= length <= high:
            self.wrong(name, f"must be {durations.text(low)} to {durations.text(high)}")
        return round(float(length), 6)

    def _span(self, name: str, text: str) -> float:
        try:
            return durations.parse(text)
        except ValueError as error:
            self.wrong(name, f"{_quoted(text)} {error}", durations.HINT)

    @_noted
    def moment(self, name: str) -> float | None:
        """A date and time with its offset, as seconds since the Epoch."""
        value = self._get(name)
        if value is None:
            return None
        hint = "write an offset date-time, such as 2030-01-31T12:00:00Z"
        if not isinstance(value, datetime.datetime):
            self.wrong(name, f"a date and time is wanted, this is {_kind(value)}", hint)
        if value.tzinfo is None:
            self.wrong(name, "the date and time lacks its offset from UTC", hint)
        return (value - datetime.datetime.fromtimestamp(0, datetime.UTC)).total_seconds()

    @_noted
    def path(self, name: str) -> bytes | None:
        """An absolute path without empty, `.` or `..` components, and not / itself."""
        value = self.text(name)
        if value is None:
            return None
        if not value.startswith("/") or posixpath.normpath(value) != value or value == "/" or value.startswith("//"):
            self.wrong(name, "an absolute path without '.', '..', '//' or a last '/' is wanted, and not / itself")
        return value.encode()

    @_noted
    def table(self, name: str) -> "TomlTable | None":
        """A table below this one."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.wrong(name, f"a table is wanted, this is {_kind(value)}", f"write [{self.key(name)}]")
        return TomlTable(self.source, value, self.key(name))

    @_noted
    def tables(self, name: str) -> tuple["TomlTable", ...] | None:
        """An array of tables below this one."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self.wrong(name, "an array of tables is wanted", f"write [[{self.key(name)}]] before each")
        return tuple(TomlTable(self.source, each, f"{self.key(name)}[{index}]") for index, each in enumerate(value))

    def _get(self, name: str) -> object:
        self._asked.add(name)
        return self._values.get(name)


def nearest(name: str, known: "set[str] | tuple[str, ...]") -> str | None:
    """A hint with the known name that is most like `name`."""
    import difflib  # costs 3 ms, and is only needed for an error

    close = difflib.get_close_matches(name, sorted(known), 1, 0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}" if known else None


def escaped(text: str) -> str:
    """Text from a file as it may be printed on a terminal: what is not printable is escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _quoted(text: str) -> str:
    return f'"{escaped(text)}"'


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False  # a whole number beyond what a float holds


_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a truth value"),
    (str, "a string"),
    (int, "a number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "a table"),
)


def _kind(value: object) -> str:
    return next((name for of, name in _KINDS if isinstance(value, of)), "a date or time")
