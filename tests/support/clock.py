"""The monotonic clock, put forward: what waits for a time need not be waited for."""

import time


class Clock:
    """That of this process, until it ends. What was begun on another clock is late by as much."""

    def __init__(self) -> None:
        self._ahead, real = 0.0, time.monotonic
        time.monotonic = lambda: real() + self._ahead

    def forward(self, seconds: float) -> None:
        """By so many seconds; never back."""
        self._ahead += max(0.0, seconds)
