"""Text of the host, made fit for a sentence: what is not valid UTF-8 and printable becomes \\xNN, reversibly."""

import datetime
import os
import re

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+")


def path(raw: bytes) -> str:
    """A path: a backslash too is escaped, so that the bytes can be had back."""
    text = raw.decode("utf-8", "surrogateescape")
    return "".join(char if char.isprintable() and char != "\\" else _escaped(char) for char in text)


def name(text: str) -> str:
    """A name that may hold undecodable bytes; a unit's name stays as systemd writes it, its \\x2d included."""
    return text if _UNIT.fullmatch(text) else path(os.fsencode(text))


def time(seconds: float) -> str:
    """Seconds since the Epoch as RFC 3339 in UTC, to the second."""
    moment = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _escaped(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
