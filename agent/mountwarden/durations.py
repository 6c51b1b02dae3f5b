"""Durations, read and written as systemd's time spans: systemd.time(7), "Parsing Time Spans". Pure.

They are whole microseconds, as there: a fraction loses what is beyond, digit by digit.
"""

import re

HINT = "write 90s, 15min, 2h or 7d; see systemd.time(7)"
"""A hint for who wrote something else."""

_SECOND = 1_000_000
_NAMES = {
    "y year years": 31_557_600 * _SECOND,
    "M month months": 2_629_800 * _SECOND,
    "w week weeks": 604_800 * _SECOND,
    "d day days": 86_400 * _SECOND,
    "h hr hour hours": 3_600 * _SECOND,
    "m min minute minutes": 60 * _SECOND,
    "s sec second seconds": _SECOND,
    "ms msec": 1_000,
    "us usec µs μs": 1,
}
UNITS = {name: length for names, length in _NAMES.items() for name in names.split()}
"""Each unit in microseconds. A year is 365.25 days, and a month the twelfth of it."""
_WRITTEN = ("y", "month", "w", "d", "h", "min", "s", "ms", "us")

_SPACES = " \t\n\r"
_PART = re.compile(r"[ \t\n\r]*(?=\.?[0-9])([0-9]{0,20})(?:\.([0-9]+))?(?:[ \t\n\r]*([^\s0-9.]+)|(?=[ \t\n\r])|\Z)")
"""A number of up to 20 digits, perhaps with a fraction, and a word; without one, the text or the number ends there."""
_LIMIT = 1 << 64


def parse(text: str) -> float:
    """The seconds of a time span; a number without a unit is seconds.

    Raises: ValueError with what is wrong, in words that come after the text itself.
    """
    if text.strip() == "infinity":
        raise ValueError("has no end, which is not possible here")
    parts = list(_PART.finditer(text))
    whole = parts and "".join(part[0] for part in parts) == text.rstrip(_SPACES)
    if not whole or not all(part[3] is None or part[3] in UNITS for part in parts):
        raise ValueError("is no time span")
    total = sum(_length(*part.groups("")) for part in parts)
    if total >= _LIMIT:
        raise ValueError("is too long")
    return total / _SECOND


def _length(whole: str, fraction: str, unit: str) -> int:
    length = UNITS[unit or "s"]
    total = int(whole or "0") * length
    for digit in fraction:
        length //= 10
        total += int(digit) * length
    return total


def text(seconds: float) -> str:
    """The span as `systemd-analyze timespan` writes it; `parse` reads it back, to the microsecond."""
    left, parts = round(seconds * _SECOND), list[str]()
    for unit in _WRITTEN:
        length = UNITS[unit]
        number, rest = divmod(left, length)
        if not number:
            continue
        if rest and length <= _SECOND:
            parts.append(f"{number}.{rest:0{len(str(length)) - 1}}{unit}")
            break
        parts.append(f"{number}{unit}")
        left = rest
    return " ".join(parts) or "0"
