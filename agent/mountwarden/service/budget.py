"""Keeps what scans have cost over restarts of the service, however it ends, at the cost of few small writes."""

from ..state import budget
from ..state.budget import Owed
from ..state.run_directory import RunDirectory
from .schedule import BURST, COST_FACTOR
from .unsaved import Unsaved

WORTH = 0.05
"""Seconds of processor time by which what is owed must differ from what the file says for it to be written."""


class Budget:
    """The file of it. Writes nothing while little is spent."""

    def __init__(self, run: RunDirectory, boot_id: str, unsaved: Unsaved, *, is_first: bool) -> None:
        """`is_first`: no service ran in this boot before."""
        self._run, self._boot_id, self._unsaved, self._is_first = run, boot_id, unsaved, is_first
        self._written = Owed(0.0, 0.0)

    def taken_up(self, now: float) -> Owed | None:
        """What this run begins with; None: it is the first one of this boot, and owes nothing.

        Where it can't be known what the last run has spent, all of a burst is taken to be. `now` is in seconds of
        CLOCK_BOOTTIME.
        """
        owed = budget.read(self._run, self._boot_id, now)
        if owed is None:
            return None if self._is_first else Owed(BURST, now)
        self._written = owed
        return owed

    def keep(self, owed: Owed, *, expected: float = 0.0) -> None:
        """Write what is owed, with what is `expected` to be spent before the next call, if it is worth it."""
        owed = Owed(owed.debt + expected, owed.at)
        if abs(owed.debt - self._later(owed.at)) < WORTH:
            return
        if self._unsaved.write(self._run.budget, lambda: budget.write(self._run, self._boot_id, owed)):
            self._written = owed

    def _later(self, at: float) -> float:
        return max(0.0, self._written.debt - (at - self._written.at) / COST_FACTOR)
