"""Text of the host (paths, names, options) made printable.

UTF-8 stays where the bytes are valid and each character prints as itself; everything else is `\\xNN`, a byte each:
control characters, terminal escapes, bidirectional controls, invisible characters, bytes that are no UTF-8.
The form is reversible: a backslash that would read as such an escape is escaped itself.
"""

import datetime
import re
import unicodedata

_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_AMBIGUOUS = re.compile(rb"\\(?=x[0-9a-fA-F]{2})")
_PLAIN = re.compile(r"[\x20-\x7e]*\Z")
_MARKS_IN_A_ROW = 4

# Letters and marks that str.isprintable() lets pass and a terminal draws as nothing (Default_Ignorable_Code_Point of
# DerivedCoreProperties.txt, and the blank Braille pattern).
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | frozenset(
    chr(code) for first, last in ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF)) for code in range(first, last)
)

_NOT_PLAIN_JSON = re.compile(r"[^\n\x20-\x7e]")

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}\Z")
_ID = re.compile(r"[0-9a-f]{64}\Z")


def raw(text: bytes | str) -> bytes:
    """The bytes of a text that the host gave: a `str` is taken as os.fsdecode makes it."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def decoded(text: bytes) -> str:
    """Bytes of the host as text that `raw` turns back, whatever they are: not printable yet."""
    return text.decode("utf-8", "surrogateescape")


def printable(text: bytes | str) -> str:
    """Text of the host as it may reach a terminal or a JSON document. `original` turns it back."""
    data = _AMBIGUOUS.sub(rb"\\x5c", raw(text))
    decoded = data.decode("utf-8", "surrogateescape")
    if _PLAIN.match(decoded):
        return decoded
    return "".join(_pieces(decoded))


def sentence(text: str) -> str:
    """A sentence of ours with text of the host in it, escaped already or not: fit for a terminal, not reversible."""
    decoded = raw(text).decode("utf-8", "surrogateescape")
    return decoded if _PLAIN.match(decoded) else "".join(_pieces(decoded))


def json_text(text: str) -> str:
    """A JSON document in UTF-8 as it may reach a terminal: what a terminal would act on is a \\u escape of JSON."""
    return _NOT_PLAIN_JSON.sub(_in_json, text)


def _in_json(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable() and character not in _INVISIBLE:
        return character
    data = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[at : at + 2].hex()}" for at in range(0, len(data), 2))


def original(text: str) -> bytes:
    """The bytes that `printable` was given."""
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
    """A unit's name: as it is where it is in systemd's own character set (`\\x2d` and all), else as `printable`."""
    return text if _UNIT.match(text) else printable(text)


def unit_word(text: str) -> str | None:
    """A unit's name as one word of a command that may be pasted into a shell; None where it can't be one.

    That is a name in systemd's own character set that does not read as an option. systemd escapes with backslashes,
    which a shell would read, so a name with one stands in single quotes.
    """
    if text.startswith("-") or not _UNIT.match(text):
        return None
    return f"'{text}'" if "\\" in text else text


def short_id(container: str) -> str:
    """An engine's id of 64 digits as `docker ps` has it, its first 12; a machine's name whole, and not escaped here."""
    return container[:12] if _ID.match(container) else container


def timestamp(seconds: float, timespec: str = "milliseconds") -> str:
    """Seconds since the Epoch as RFC 3339 in UTC; `timespec` as datetime.isoformat() takes it, the rest is cut off."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def seconds(moment: str) -> float:
    """Seconds since the Epoch of an RFC 3339 timestamp. Raises: ValueError."""
    return datetime.datetime.fromisoformat(moment).timestamp()
