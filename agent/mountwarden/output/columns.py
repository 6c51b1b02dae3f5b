"""Text on a terminal: its width, where it is broken, and figures with their units."""

import re
import unicodedata
from collections.abc import Sequence

_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_LRI, _PDI = "\u2066", "\u2069"

_WORD = re.compile(r"[A-Za-z0-9_./@:\\][A-Za-z0-9:_.@/=,+\\-]*\Z")
_OPTION = re.compile(r"--?[a-z][a-z-]*\Z")


def isolated(text: str) -> str:
    """The text with each run of right-to-left characters between marks (LRI and PDI of Unicode's UAX #9).

    A terminal that knows bidirectional text then turns round nothing but the run itself; without the marks, digits
    and punctuation of ours that follow it would change their place.
    """
    if text.isascii():
        return text
    marked: list[str] = []
    inside = False
    for character in text:
        kind = unicodedata.bidirectional(character)
        if (kind in _RIGHT_TO_LEFT) != inside and not (inside and kind == "NSM"):
            marked.append(_PDI if inside else _LRI)
            inside = not inside
        marked.append(character)
    return "".join(marked) + (_PDI if inside else "")


def width(text: str) -> int:
    """Columns that printable text takes on a terminal (Unicode TR11; marks take none)."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def pad(text: str, columns: int) -> str:
    """The text with spaces after it up to `columns`."""
    return text + " " * (columns - width(text))


def fit(text: str, columns: int, *, ellipsis: str = "…") -> str:
    """The text, cut in the middle where it is wider than `columns`: the ends of a path say the most."""
    if width(text) <= columns:
        return text
    room = max(0, columns - width(ellipsis))
    tail = _take(text[::-1], room - room // 3)[::-1]
    while tail and _columns(tail[0]) == 0:
        tail = tail[1:]
    return _take(text, room - width(tail)) + ellipsis + tail


def _take(text: str, columns: int) -> str:
    taken = 0
    for at, character in enumerate(text):
        taken += _columns(character)
        if taken > columns:
            return text[:at]
    return text


def wrap(text: str, columns: int, *, first: str = "", rest: str = "", whole: bool = False) -> list[str]:
    """Lines of at most `columns`, broken at spaces; a word longer than a line is broken where the line ends.

    With `whole` it stays whole on a longer line, as a path that is to be pasted.
    """
    lines: list[str] = []
    line, empty = first, True
    for word in text.split(" "):
        if not empty and width(line) + 1 + width(word) > columns:
            lines.append(line)
            line, empty = rest, True
        line += word if empty else " " + word
        empty = False
        while not whole and width(line) > columns > width(rest):
            head = _take(line, columns)
            lines.append(head)
            line = rest + line[len(head) :]
    lines.append(line)
    return lines


def command(words: Sequence[str]) -> str | None:
    """The words as a command to be pasted into a shell; None where one has characters that are special to a shell.

    Allowed are ids, pids, our own options, and names in systemd's character set; a backslash (units escape with it)
    is put in single quotes.
    """
    if not all(_WORD.match(word) or _OPTION.match(word) for word in words):
        return None
    return " ".join(f"'{word}'" if "\\" in word else word for word in words)


def age(seconds: float) -> str:
    """How long something lasts, in its largest unit and the next one: `4 s`, `3 min`, `2 h 5 min`, `9 d 3 h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 600 and whole % 60:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 3600:
        return f"{whole // 60} min"
    large, small, names = (3600, 60, ("h", "min")) if whole < 86400 else (86400, 3600, ("d", "h"))
    rest = whole % large // small
    return f"{whole // large} {names[0]}" + (f" {rest} {names[1]}" if rest else "")


def cost(seconds: float) -> str:
    """How long a piece of work took: `0.4 ms`, `12 ms`, `1.3 s`."""
    if seconds < 0.001:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 root`, `52,655 mounts`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
