"""Durations as people write them: 90s, 15min, 2h, 7d, 1h30min."""

import argparse
import re

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_LONGEST = 10 * 366 * 86400.0


def duration(text: str) -> float:
    """An argument in seconds. Raises argparse.ArgumentTypeError with what would be right."""
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip() or any(unit not in _UNITS for _number, unit in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90s, 15min, 2h or 7d")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1s and 10 years")
    return seconds
