"""Times of the day that are kept in files of one boot, whatever the clock is set to meanwhile."""

import time
from typing import Any

LEAST = 5.0
"""Seconds of a difference that is taken for a clock that was set; one that is adjusted slowly differs by less."""


def booted() -> float:
    """When the host was booted, by the clock as it is now: in seconds since the Epoch. It goes into the file."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def moved(then: Any) -> float:
    """Seconds by which the clock was set since `booted` gave `then`: what is kept is so much later now.

    0 for what is no such number, as in a file of an earlier version.
    """
    if not isinstance(then, int | float):
        return 0.0
    by = booted() - then
    return float(round(by)) if abs(by) >= LEAST else 0.0
