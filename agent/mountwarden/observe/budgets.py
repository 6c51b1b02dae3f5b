"""What the reading of namespaces may take: each namespace, each owner of some, and each scan.

An owner is a user or a container. What one of them owns can be as large, as many and as fast as he likes: it is read
within his own budget, and what is over it is a gap of his. The host's own namespaces have no budget but the deadline of
a scan; what that leaves is read first in the next one.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ..model import HOST, Owner
from . import entries, read_ahead
from .mount_lines import ReadingLimits

DEADLINE = 2.0
"""Seconds of a scan of the service after which no further namespace is read in it."""
COST_FACTOR = 70.0
"""All owners together may cost one second of processor time in so many seconds, in equal shares."""
BURST = 0.5
"""Processor seconds that each owner may cost at once."""
FREE = 0.01
"""Processor seconds of a scan, or of an action's checks, for what users and containers have that count as the service's
own cost: what they have beyond it may not put off the next scan.
"""
COMMAND_BURST = 10.0
"""The same where a command scans, which has no next scan."""
LONGEST_PAUSE = 60.0
"""Seconds after which a namespace that could not be read is tried again at most."""
KEPT = 16 << 20
"""Bytes of lines that are kept of all namespaces of one owner."""

HOSTS_OWN = ReadingLimits(size=1 << 30, seconds=2.0, kept=32 << 20)
OTHERS = ReadingLimits(size=64 << 20, seconds=1.0, kept=4 << 20)


def limits_of(owner: Owner) -> ReadingLimits:
    """What the reading of one namespace may take, by whose it is."""
    return HOSTS_OWN if owner == HOST else OTHERS


LATER = "the scan had no time left for it; it is read in the next ones"
OVER = "more than what may be read of one user or container; it is read later"


@dataclass(slots=True)
class _Account:
    """What one owner has cost."""

    debt: float = 0.0
    """Processor seconds that time has not paid for yet."""
    kept: dict[int, int] = field(default_factory=dict)
    """Bytes of lines that are kept, by namespace."""
    total: int = 0
    """Their sum, which is asked for once for each namespace that is read."""

    def keep(self, inode: int, size: int) -> None:
        self.total += size - self.kept.get(inode, 0)
        self.kept[inode] = size


class Budgets:
    """Decides which namespaces a scan reads, and what each may take."""

    def __init__(self, *, deadline: float | None, burst: float = BURST) -> None:
        """`deadline` of each scan, and `burst` of each owner, in seconds."""
        self._deadline, self._burst = deadline, burst
        self._accounts: dict[Owner, _Account] = {}
        self._paid = time.monotonic()
        self._until = float("inf")
        self._free = FREE
        self.excess = 0.0
        """Processor seconds up to now that users and containers had to pay for."""

    def begin(self, owners: Iterable[Owner]) -> None:
        """A scan begins; accounts of owners that have no namespace any more, and owe nothing, are closed."""
        now, there = time.monotonic(), frozenset(owner for owner in owners if owner is not HOST)
        self._until = float("inf") if self._deadline is None else now + self._deadline
        owing = [account for account in self._accounts.values() if account.debt > 0]
        for account in owing:
            account.debt = max(0.0, account.debt - (now - self._paid) / (COST_FACTOR * len(owing)))
        self._paid, self._free = now, FREE
        self._accounts = {o: account for o, account in self._accounts.items() if o in there or account.debt > 0}

    def refusal(self, owner: Owner) -> str | None:
        """Why no further namespace of the owner is read in this scan; None where it is."""
        if time.monotonic() > self._until:
            return LATER
        account = self._accounts.get(owner)
        return OVER if owner != HOST and account is not None and account.debt > self._burst else None

    def limits(self, owner: Owner, inode: int) -> ReadingLimits:
        """What the reading of this namespace may take."""
        limits, account = limits_of(owner), self._accounts.get(owner)
        if account is None:
            return limits
        others = account.total - account.kept.get(inode, 0)
        return replace(limits, kept=max(0, min(limits.kept, KEPT - others)))

    @contextmanager
    def charged(self, owner: Owner) -> Iterator[None]:
        """What is done meanwhile is for this owner."""
        began = _cpu()
        try:
            yield
        finally:
            if owner != HOST:
                self._charge(owner, max(0.0, _cpu() - began))

    def _charge(self, owner: Owner, cost: float) -> None:
        beyond = max(0.0, cost - self._free)
        self._free = max(0.0, self._free - cost)
        self._accounts.setdefault(owner, _Account()).debt += beyond
        self.excess += beyond

    def share(self, cost: float, owners: Iterable[Owner]) -> None:
        """So many processor seconds of a scan, beside what was charged, are for the namespaces of all owners alike."""
        owners = tuple(owners)
        others = [owner for owner in owners if owner is not HOST]  # most often none, and then nothing is hashed
        for owner, number in Counter(others).items() if cost > 0 else ():
            if owner != HOST:
                self._charge(owner, cost * number / len(owners))

    def keeps(self, owner: Owner, inode: int, size: int) -> None:
        """So many bytes of lines of a namespace are kept now."""
        if owner != HOST:
            self._accounts.setdefault(owner, _Account()).keep(inode, size)

    def forget(self, owners: Mapping[int, Owner]) -> None:
        """Nothing is kept of namespaces but these, by their inodes, which are reused at once."""
        for owner, account in self._accounts.items():
            account.kept = {inode: size for inode, size in account.kept.items() if owners.get(inode) == owner}
            account.total = sum(account.kept.values())


def _cpu() -> float:
    """Processor seconds of this process, and of the child that enters namespaces for it."""
    return read_ahead.cpu_seconds() + entries.cpu_seconds()


def in_turn(due: Mapping[int, Owner]) -> Iterator[int]:
    """The namespaces in such an order that each owner has a turn after the other."""
    queues: dict[Owner, list[int]] = {}
    for inode, owner in due.items():
        queues.setdefault(owner, []).append(inode)
    waiting = [list(reversed(queue)) for queue in queues.values()]
    while waiting:
        yield from (queue.pop() for queue in waiting)
        waiting = [queue for queue in waiting if queue]
