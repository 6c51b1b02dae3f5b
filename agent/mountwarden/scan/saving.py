"""When what scans saw is saved: what was left behind before anything is told of it, all else now and then."""

import time
from collections.abc import Callable

from .history import History
from .stored_history import StoredHistory

PERIOD = 1.0
"""Seconds after which what homes have, and others beside them, is saved again. A kill in between loses that: an older
file names fewer copies, and never a wrong one.
"""
FACTOR = 1000.0
"""It is saved again not before so many times what that costs: 0.1 % of a core."""


class Saving:
    """Hands it over."""

    def __init__(self, keep: Callable[[StoredHistory], None] | None) -> None:
        """`keep` gets what is to be saved; None where nothing is."""
        self._keep = keep
        self._left: object = None
        self._again = float("-inf")
        self._waiting: Callable[[], StoredHistory] | None = None

    def save(
        self,
        history: History,
        made: Callable[[], StoredHistory],
        *,
        depths: tuple[tuple[int, int], ...] = (),
        now: bool,
    ) -> None:
        """After a scan: what `made` gives, if it is time for that, or `now`. `depths` are those of stacks."""
        left = frozenset(history.left), frozenset(history.gone), depths
        if not now and left == self._left and time.monotonic() < self._again:
            self._waiting = made
        else:
            self._left = left
            self._hand_over(made)

    def _hand_over(self, made: Callable[[], StoredHistory]) -> None:
        self._waiting, began = None, time.thread_time()
        if self._keep is not None:
            self._keep(made())
            self._again = time.monotonic() + max(PERIOD, FACTOR * (time.thread_time() - began))

    @property
    def due(self) -> float | None:
        """When `save_late` has something to do (monotonic clock); None where nothing waits."""
        return None if self._waiting is None else self._again

    def save_late(self) -> None:
        """Save what has waited, if it is time for that."""
        if time.monotonic() >= self._again:
            self.end()

    def end(self) -> None:
        """Save what has waited."""
        if self._waiting is not None:
            self._hand_over(self._waiting)
