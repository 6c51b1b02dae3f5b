"""When to scan next. Pure: all times are seconds of CLOCK_BOOTTIME."""

from dataclasses import dataclass

from ..state.budget import Owed

COST_FACTOR = 77.0
"""Scans may cost one second of processor time in so many seconds: 1.3 % of one core in the long run. What wakes the
service between scans costs some 0.4 % more where containers start as fast as two processors can.
"""
BURST = 0.3
"""Seconds of processor time that scans may cost at once, so that a costly one does not make the service blind; where a
full scan costs more, as much as that.
"""
LONGEST_BURST = 2.0
"""No burst is longer than so many seconds of processor time."""
SUSPICION_BURST = 0.6
"""The same for the scan that looks for what may have been left behind."""
FOUND_FACTOR = 1000.0
"""What is found has an account of its own: the scans that found something, those by which it is confirmed, and what it
takes to tell the cause. They may cost one second of processor time in so many seconds, 0.1 % of a core in the long
run. So the many scans that find nothing put off none after which the service may act, nor the other way round.
"""
FOUND_BURST = 8.0
"""Seconds of processor time that these may cost at once; what is over counts with all other scans."""
FOUND_LATELY = 60.0
"""Seconds after something was found in which what looks for more of it is of that account too."""
LONGEST_PAUSE = 30.0
"""Seconds that a costly scan may put off the next one at most."""
TICK_FACTOR = 4000.0
"""A tick comes not before so many times the processor time of the last one: scans of an idle host cost 0.025 %."""
LONGEST_TICK = 10.0
"""Seconds to which a tick is stretched at most; what happens on the host does not wait for it."""
SETTLE = 0.02
"""Seconds after a wake-up before the scan: what happens together is seen in one scan."""
SERVICE_SETTLE = 0.1
"""Seconds after a service's job ended before the scan. With Type=simple it ends when the process is forked, and the
namespace is made later: by up to 0.5 ms in systemd 252, by 10 to 30 ms in 257. A scan amid that reads mounts whose
propagation is yet to be set, of which there is no event. What comes later still, the tick sees.
"""
SERVICE_BURST = 0.1
"""The part of `BURST` that scans because of services may use; the rest is for those because of mounts."""
CLIENT_BURST = 0.1
"""The same for scans that clients ask for."""
ROOT_BURST = 2.0
"""Seconds of processor time that scans may cost at once for which root asks, on an account of its own that is paid off
as that of what is found is: who looks at a host in trouble sees what is there, whatever other scans have cost.
"""
PEEK_FACTOR = 120.0
"""Looking at the homes alone may cost one second of processor time in so many seconds, of those that scans may cost,
whatever these have cost: what a home had for a moment is known by nothing else.
"""
PEEK_BURST = 0.05
"""Seconds of processor time that this may cost at once."""
IDLE_ALLOWANCE = 0.02
"""Seconds of processor time of one scan for reading what nothing presses for."""


@dataclass(slots=True)
class Schedule:
    """The times that decide. `tick` and `resync` come from the configuration."""

    tick: float
    resync: float
    started: float = 0.0
    """Start of the last scan."""
    ended: float = 0.0
    debt: float = 0.0
    """Processor seconds that scans have cost and that time has not paid for yet."""
    found: float = 0.0
    """The same of the account for what is found."""
    found_at: float = float("-inf")
    """End of the last scan that found something new, or confirmed it."""
    full: float = float("-inf")
    """Start of the last full scan, which trusts nothing that was read before."""
    burst: float = BURST
    """Seconds of processor time that scans may cost at once on this host."""
    wake: float | None = None
    """When something happened that the next scan is to see."""
    service: float | None = None
    """When to scan because of a service."""
    client: float | None = None
    """When to scan because a client asks."""
    demanded: bool = False
    """Whether to scan now whatever it costs."""
    for_root: bool = False
    """Whether root asks, and its account pays."""
    roots: float = 0.0
    """Processor seconds that scans for root have cost and that time has not paid for yet."""
    deadline: float | None = None
    """When the next finding would be confirmed."""
    scanned: bool = False
    continues: bool = False
    """Whether a run before this one has spent of the same budget."""
    stretched: float = 0.0
    """Seconds between ticks by what the last one cost."""
    changed: float | None = None
    """When a home's mounts changed, since it was looked at."""
    later: float | None = None
    """When to scan for what is new, or waits to be read."""
    ask: float | None = None
    """When to ask again for what homes have unmounted."""
    suspicion: float | None = None
    """When something may have been left behind, since the last scan."""
    peeked: float = 0.0
    """End of the last look at the homes alone."""
    peeks: float = 0.0
    """Processor seconds that these have cost and that time has not paid for yet."""

    def configure(self, tick: float, resync: float) -> None:
        """Take what a new configuration says, in seconds. The next scan trusts nothing that was read before."""
        self.tick, self.resync = tick, resync
        self.trust_nothing()

    def go_on(self, debt: float, at: float) -> None:
        """Begin with what a run before this one owed at `at`: the first scan waits for it, and its cost counts."""
        self.debt, self.ended, self.continues = debt, at, True

    def owed(self, now: float) -> Owed:
        """What is owed at `now`. What is found may cost its burst anew after a restart: it puts off no first scan."""
        found = self.found - max(0.0, now - self.ended) / FOUND_FACTOR
        return Owed(self._unpaid(now) + max(0.0, found - FOUND_BURST), now)

    def _unpaid(self, now: float) -> float:
        """What scans owe, without what is found."""
        return max(0.0, self.debt - max(0.0, now - self.ended) / COST_FACTOR)

    def trust_nothing(self) -> None:
        """The next scan is to trust nothing that was read before."""
        self.full = float("-inf")

    def woken(self, now: float) -> None:
        """Something happened; the first of many wake-ups decides."""
        if self.wake is None:
            self.wake = now

    def mounts_changed(self, now: float) -> None:
        """A home's mounts changed; the first of many changes decides."""
        if self.changed is None:
            self.changed = now

    def next_peek(self) -> float | None:
        """When the homes are to be looked at, or asked for what they have unmounted; None where there is no reason."""
        changed = None if self.changed is None else self.changed + SETTLE
        due = min((one for one in (changed, self.ask) if one is not None), default=None)
        return None if due is None else max(due, self.peeked + PEEK_FACTOR * (self.peeks - PEEK_BURST))

    def peek_done(self, ended: float, cost: float) -> None:
        """The homes were looked at."""
        self.peeks = max(0.0, self.peeks - (ended - self.peeked) / PEEK_FACTOR) + cost
        self.peeked, self.changed, self.ask = ended, None, None
        self.debt += cost

    def allowance(self, now: float, *, presses: bool, full: bool = False) -> float:
        """Processor seconds that the scan at `now` may spend on namespaces that only may have a copy of what went.

        And on those that a resync reads again.
        """
        room = max(0.0, self.burst - self._unpaid(now))
        return room if presses or full else min(room, IDLE_ALLOWANCE)

    def started_service(self, now: float) -> None:
        """A service may have started; the last of many decides, as scans go on meanwhile."""
        self.service = now + SERVICE_SETTLE

    def asked(self, now: float, *, root: bool = False) -> float:
        """A client asks for a scan; the first of many decides. When it may be for it."""
        self.client = now if self.client is None else self.client
        self.for_root = self.for_root or (root and self.roots - (now - self.ended) / FOUND_FACTOR < ROOT_BURST)
        return now if self.for_root else self._for_client(self.client)

    def _for_client(self, asked: float) -> float:
        return max(asked, self.ended + COST_FACTOR * (self.debt - CLIENT_BURST))

    def withdraw(self) -> None:
        """No client waits for a scan any more."""
        self.client, self.for_root = None, False

    def demand(self) -> None:
        """Root is about to act: scan now."""
        self.demanded = True

    def next(self) -> float:
        """When the next scan is due."""
        if self.demanded or self.for_root or not (self.scanned or self.continues):
            return self.started
        if not self.scanned:
            return self._paid(self.started, self.burst)
        wishes = [self.started + max(self.tick, self.stretched)]
        if self.wake is not None:
            wishes.append(self.wake + SETTLE)
        if self.service is not None:
            wishes.append(max(self.service, self.ended + COST_FACTOR * (self.debt - SERVICE_BURST)))
        if self.client is not None:
            wishes.append(self._for_client(self.client))
        if self.later is not None:
            wishes.append(self.later)
        due = self._paid(min(wishes), self.burst)
        if self.suspicion is not None:
            due = min(due, self._paid(self.suspicion, SUSPICION_BURST))
        urgent = [self.deadline, self.suspicion if self._found_lately(self.ended) else None]
        pause = min(FOUND_FACTOR * max(0.0, self.found - FOUND_BURST), LONGEST_PAUSE)
        return min((due, *(max(one, self.ended + pause) for one in urgent if one is not None)))

    def _found_lately(self, now: float) -> bool:
        return now - self.found_at < FOUND_LATELY

    def _paid(self, wish: float, burst: float) -> float:
        """When a scan may be for a wish: as soon as no more than `burst` is owed, or after the longest pause."""
        return max(wish, self.ended + min(COST_FACTOR * max(0.0, self.debt - burst), LONGEST_PAUSE))

    def full_is_due(self, now: float) -> bool:
        """Whether the scan at `now` must trust nothing that was read before."""
        return now - self.full >= self.resync

    def done(
        self,
        started: float,
        ended: float,
        cost: float,
        *,
        full: bool,
        deadline: float | None,
        theirs: float = 0.0,
        found: bool = False,
    ) -> None:
        """A scan is over. The first one of a boot pays for cold caches: its cost puts nothing off.

        What it has cost beside that is `theirs` who had to pay for it: ticks are as rare as all of it asks for.
        `found`: it found something new, or confirmed it.
        """
        if self.scanned and not full and self.wake == self.service == self.client == self.later:  # None: but the tick
            self.stretched = min(TICK_FACTOR * (cost + theirs), LONGEST_TICK)
        passed = ended - self.ended
        self.started, self.ended, self.deadline = started, ended, deadline
        self.debt = max(0.0, self.debt - passed / COST_FACTOR)
        self.found, self.roots = (max(0.0, owed - passed / FOUND_FACTOR) for owed in (self.found, self.roots))
        self.found_at = ended if found else self.found_at
        more = self.suspicion is not None and self._found_lately(ended)
        if (found or more) and self.found < FOUND_BURST:
            self.found += cost
        elif self.for_root and (self.scanned or self.continues):
            self.roots += cost
        elif self.scanned or self.continues:
            self.debt += cost
        self.scanned, self.wake, self.changed, self.suspicion = True, None, None, None
        self.client, self.demanded, self.for_root = None, False, False
        self.service = self.service if self.service is not None and started < self.service else None
        if full:
            self.full, self.burst = started, min(max(BURST, cost), LONGEST_BURST)
