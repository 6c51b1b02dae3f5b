"""What actions may cost, beside what scans may. Pure: all times are seconds of CLOCK_BOOTTIME."""

from dataclasses import dataclass

from .schedule import COST_FACTOR

BURST = 20.0
"""Seconds of processor time that actions may cost at once, as some thousands of detaches do. In the long run they may
cost as much as scans, one second in `COST_FACTOR`; the scans after a burst do not wait until it is paid for.
"""


@dataclass(slots=True)
class Allowance:
    """What actions have cost, and time has not paid for yet."""

    debt: float = 0.0
    """Seconds of processor time owed at `at`."""
    at: float = 0.0

    def spend(self, cost: float, now: float) -> None:
        """Actions have cost so many seconds of processor time."""
        self.debt, self.at = self._owed(now) + cost, now

    def allows(self, now: float) -> bool:
        """Whether any may be begun."""
        return self._owed(now) < BURST

    def _owed(self, now: float) -> float:
        return max(0.0, self.debt - (now - self.at) / COST_FACTOR)
