"""Text from the host (paths, names, options) as it may be shown, and how wide it is on a terminal.

What is shown is UTF-8 where the bytes are valid and each character prints as itself; everything else is `\\xNN`, a byte
each: control characters, terminal escapes, bidirectional controls, invisible characters, bytes that are no UTF-8.
The form is reversible: a backslash that would read as such an escape is escaped itself.
"""

import re
import unicodedata
from collections.abc import Sequence

_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_AMBIGUOUS = re.compile(rb"\\(?=x[0-9a-fA-F]{2})")
_PLAIN = re.compile(r"[\x20-\x7e]*\Z")
_MARKS_IN_A_ROW = 4

# Letters and marks that str.isprintable() lets pass and a terminal draws as nothing (Default_Ignorable_Code_Point of
# DerivedCoreProperties.txt, and the blank Braille pattern).
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | frozenset(
    chr(code) for first, last in ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF)) for code in range(first, last)
)

_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_LRI, _PDI = "\u2066", "\u2069"

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}\Z")
_WORD = re.compile(r"[A-Za-z0-9_./@:\\][A-Za-z0-9:_.@/=,+\\-]*\Z")
_OPTION = re.compile(r"--?[a-z][a-z-]*\Z")


def raw(text: bytes | str) -> bytes:
    """The bytes of a text that the host gave: a `str` is taken as os.fsdecode makes it."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def shown(text: bytes | str) -> str:
    """Text of the host as it may reach a terminal or a JSON document. `unshown` turns it back."""
    data = _AMBIGUOUS.sub(rb"\\x5c", raw(text))
    decoded = data.decode("utf-8", "surrogateescape")
    if _PLAIN.match(decoded):
        return decoded
    return "".join(_pieces(decoded))


def sentence(text: str) -> str:
    """A sentence of ours with text of the host in it, escaped already or not: fit for a terminal, not reversible."""
    decoded = raw(text).decode("utf-8", "surrogateescape")
    return decoded if _PLAIN.match(decoded) else "".join(_pieces(decoded))


def unshown(text: str) -> bytes:
    """The bytes that `shown` was given."""
    parts = _ESCAPE.split(text)
    return b"".join(bytes([int(part, 16)]) if at % 2 else raw(part) for at, part in enumerate(parts))


def _pieces(decoded: str) -> list[str]:
    pieces: list[str] = []
    marks = _MARKS_IN_A_ROW  # a mark with nothing before it would land on our own text
    for character in decoded:
        mark = unicodedata.category(character) in ("Mn", "Me")
        marks = marks + 1 if mark else 0
        if character.isprintable() and character not in _INVISIBLE and marks <= _MARKS_IN_A_ROW:
            pieces.append(character)
        else:
            pieces.append("".join(f"\\x{byte:02x}" for byte in raw(character)))
    return pieces


def unit_name(text: str) -> str:
    """A unit's name: as it is where it is in systemd's own character set (`\\x2d` and all), else as `shown`."""
    return text if _UNIT.match(text) else shown(text)


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
    """Columns that shown text takes on a terminal (Unicode TR11; marks take none)."""
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
    """The text, cut in the middle where it is wider than `columns`: the ends of a path tell the most."""
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


def wrap(text: str, columns: int, *, first: str = "", rest: str = "") -> list[str]:
    """Lines of at most `columns`, broken at spaces; a word longer than a line is broken where the line ends."""
    lines: list[str] = []
    line, empty = first, True
    for word in text.split(" "):
        if not empty and width(line) + 1 + width(word) > columns:
            lines.append(line)
            line, empty = rest, True
        line += word if empty else " " + word
        empty = False
        while width(line) > columns > width(rest):
            head = _take(line, columns)
            lines.append(head)
            line = rest + line[len(head) :]
    lines.append(line)
    return lines


def command(words: Sequence[str]) -> str | None:
    """The words as a command that may be pasted into a shell, or None where one holds what a shell would read.

    Allowed are ids, pids, options of ours, and names of systemd's own character set; a backslash (units escape with
    it) is put in single quotes.
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
