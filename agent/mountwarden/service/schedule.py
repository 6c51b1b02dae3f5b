"""When to look next. Pure: all times are seconds of CLOCK_BOOTTIME."""

from dataclasses import dataclass

COST_FACTOR = 70.0
"""Looks may cost one in so many seconds of processor time: 1.4 % of one core in the long run. What is told between
looks costs the service some 0.4 % more where containers start as fast as two processors can.
"""
BURST = 0.3
"""Seconds of processor time that looks may cost at once, so that a costly one does not make the service blind."""
LONGEST_PAUSE = 30.0
"""Seconds that a costly look may put off the next one at most."""
TICK_FACTOR = 4000.0
"""A tick comes not before so many times the processor time of the last one: an idle host is looked at for 0.025 %."""
LONGEST_TICK = 5.0
"""Seconds to which a tick is stretched at most; what happens on the host does not wait for it."""
SETTLE = 0.02
"""Seconds after a wake-up before the look: what comes in together is looked at together."""
SERVICE_SETTLE = 0.1
"""Seconds after a service's job ended before the look. With Type=simple it ends when the process is forked, and the
namespace is made later: by up to 0.5 ms in systemd 252, by 10 to 30 ms in 257. A look amid that reads mounts whose
propagation is yet to be set, which nothing tells of. What comes later still, the tick sees.
"""
SERVICE_BURST = 0.1
"""The part of `BURST` that looks because of services may use: the rest is for mounts, whose leaks are waited for."""


@dataclass(slots=True)
class Schedule:
    """The times that decide. `tick` and `resync` come from the configuration."""

    tick: float
    resync: float
    started: float = 0.0
    """Start of the last look."""
    ended: float = 0.0
    debt: float = 0.0
    """Processor seconds that looks have cost and that time has not paid for yet."""
    full: float = float("-inf")
    """Start of the last full look."""
    wake: float | None = None
    """When something happened that the next look is to see."""
    service: float | None = None
    """When to look because of a service."""
    deadline: float | None = None
    """When the next finding would be confirmed."""
    scanned: bool = False
    stretched: float = 0.0
    """Seconds between ticks by what the last one cost."""

    def configure(self, tick: float, resync: float) -> None:
        """Take what a new configuration says, in seconds. The next scan trusts nothing that was read before."""
        self.tick, self.resync = tick, resync
        self.trust_nothing()

    def trust_nothing(self) -> None:
        """The next scan is to trust nothing that was read before."""
        self.full = float("-inf")

    def woken(self, now: float) -> None:
        """Something happened; the first of many wake-ups decides."""
        if self.wake is None:
            self.wake = now

    def started_service(self, now: float) -> None:
        """A service may have started; the last of many decides, as looks go on meanwhile."""
        self.service = now + SERVICE_SETTLE

    def next(self) -> float:
        """When the next look is due."""
        if not self.scanned:
            return self.started
        wishes = [self.started + max(self.tick, self.stretched)]
        if self.wake is not None:
            wishes.append(self.wake + SETTLE)
        if self.service is not None:
            wishes.append(max(self.service, self.ended + COST_FACTOR * (self.debt - SERVICE_BURST)))
        if self.deadline is not None:
            wishes.append(self.deadline)
        return max(min(wishes), self.ended + min(COST_FACTOR * max(0.0, self.debt - BURST), LONGEST_PAUSE))

    def full_is_due(self, now: float) -> bool:
        """Whether the look at `now` must trust nothing that was read before."""
        return now - self.full >= self.resync

    def done(self, started: float, ended: float, cost: float, *, full: bool, deadline: float | None) -> None:
        """A look is over. The first one pays for imports and cold caches: its cost puts nothing off."""
        if self.scanned and not full and self.wake is None and self.service is None:
            self.stretched = min(TICK_FACTOR * cost, LONGEST_TICK)
        paid = (ended - self.ended) / COST_FACTOR
        self.started, self.ended, self.deadline = started, ended, deadline
        self.debt = max(0.0, self.debt - paid) + (cost if self.scanned else 0.0)
        self.scanned, self.wake = True, None
        self.service = self.service if self.service is not None and started < self.service else None
        if full:
            self.full = started
