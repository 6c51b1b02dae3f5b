"""The text of unit files, by systemd's own syntax (systemd.syntax(7)), and where in it a directive is set. Pure.

Sections in brackets, `Key=value`, a backslash at the end of a line continues it, lines that begin with # or ; are
comments even inside a continued one, an empty value resets a list. Drop-ins are read after the fragment, in the order
that PID 1 names them.
"""

from collections.abc import Sequence

from ..escape import decoded
from ..model import Assignment, UnitFile
from .namespacing_directives import LIST, TABLE

LISTS = frozenset(row.name for row in TABLE if row.neutral == LIST)
"""Directives that add up over several assignments."""

_SECTIONS = (b"Service", b"Socket", b"Mount", b"Swap")
_YES = (b"yes", b"y", b"true", b"t", b"on", b"1", b"connected")


def parse(text: bytes) -> tuple[Assignment, ...]:
    """Every assignment of a unit file, in order; other lines are ignored."""
    found: list[Assignment] = []
    section = b""
    for number, line in _joined(text):
        if line.startswith(b"[") and line.endswith(b"]"):
            section = line[1:-1]
            continue
        key, equals, value = line.partition(b"=")
        if equals:
            found.append(Assignment(section, key.strip().decode("ascii", "replace"), value.strip(), number))
    return tuple(found)


def _joined(text: bytes) -> list[tuple[int, bytes]]:
    """The logical lines, stripped, each with the number of its first physical one."""
    lines: list[tuple[int, bytes]] = []
    begun: tuple[int, bytes] | None = None
    for number, raw in enumerate(text.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if raw.lstrip().startswith((b"#", b";")):
            continue
        start, before = begun or (number, b"")
        if _continues(raw):
            begun = start, before + raw[:-1] + b" "
            continue
        begun = None
        if line := (before + raw).strip():
            lines.append((start, line))
    if begun:
        lines.append((begun[0], begun[1].strip()))
    return lines


def _continues(line: bytes) -> bool:
    """An odd number of backslashes at the end: an even one escapes itself."""
    return (len(line) - len(line.rstrip(b"\\"))) % 2 == 1


def locate(files: Sequence[UnitFile], name: str, value: str) -> tuple[UnitFile, int] | None:
    """The file and line that set directive `name` to the `value` that PID 1 has for it; None where none does.

    For a list: where its first item stands after the last reset. `files` are in the order in which they apply.
    """
    found: tuple[UnitFile, int] | None = None
    for file in files:
        for item in file.assignments:
            if item.key != name or item.section not in _SECTIONS:
                continue
            if name in LISTS:
                found = None if not item.value else found or (file, item.line)
            elif _same(item.value, value):
                found = (file, item.line)
    return found


def _same(written: bytes, effective: str) -> bool:
    return ("yes" if written.lower() in _YES else decoded(written)) == effective
