"""Reads namespaces that are no home in one scan, each within what its owner may cost; what can't be read is a gap."""

import time
from dataclasses import dataclass, field

from ..errors import NoAnswer
from ..model import HOST, UNKNOWN, Copy, Gap, Owner, SpaceCopies
from ..observe import read_ahead
from ..observe.budgets import COST_FACTOR, LATER, LONGEST_PAUSE, Budgets, limits_of
from ..observe.tiers.needles import Needles
from ..observe.tiers.observer import Observer
from ..observe.tiers.prefilter import Reading
from .homes import Homes, reason
from .mount_namespaces import MountNamespaces


@dataclass(slots=True)
class FoundElsewhere:
    """What one scan found in the other namespaces."""

    mounts: int
    """How many mounts there are in all namespaces, the homes included."""
    spaces: list[SpaceCopies] = field(default_factory=list)
    """Copies that the judge has to see."""
    stale: list[Copy] = field(default_factory=list)
    """Copies that were there before home unmounted what they are of, in namespaces that were not read since."""
    all_since: int = 0
    """The number of the reading of the homes since which every namespace was read that can be."""
    unread: set[int] = field(default_factory=set)
    """Inodes of the namespaces that could not be read, or are to be read in a later scan."""
    gaps: list[Gap] = field(default_factory=list)
    unbound: set[int] = field(default_factory=set)
    """Inodes of namespaces with much to read in which nothing below a root is mounted elsewhere."""
    owes: bool = False
    """Whether the time was up before all were read that would be."""

    def leave(self, inode: int, reason: str, owner: Owner) -> None:
        """A namespace is not read in this scan: nothing of it is known now."""
        self.unread.add(inode)
        self.gaps.append(Gap("the mounts of a namespace", reason, inode, owner=owner_name(owner)))


def owner_name(owner: Owner) -> str | None:
    """Who a gap is of; None for the host."""
    return None if owner == HOST else str(owner)


@dataclass(frozen=True, slots=True)
class Refused:
    """A namespace that could not be read."""

    reason: str
    again: float
    """When it is tried again, in seconds of the monotonic clock."""


@dataclass(slots=True)
class Reader:
    """Reads namespaces in one scan."""

    observer: Observer
    spaces: MountNamespaces
    homes: Homes
    needles: Needles
    found: FoundElsewhere
    budgets: Budgets
    refused: dict[int, Refused]

    @property
    def left(self) -> frozenset[int]:
        """What is to be read first in the next scan."""
        return frozenset(self.found.unread - self.refused.keys())

    def limited(self, inode: int) -> read_ahead.Wanted:
        """A namespace with its processes, and what its reading may take."""
        return inode, self.spaces.members[inode], limits_of(self.spaces.owners.get(inode, UNKNOWN))

    def is_due(self, inode: int) -> bool:
        """Whether a namespace may be otherwise than it was last read, or could not be read the last time."""
        return (
            inode in self.refused
            or self.observer.seen(inode) is None
            or self.observer.changed(inode, self.spaces.members[inode])
        )

    def current(self, inode: int) -> Reading | None:
        """What is mounted in a namespace now; None where it is gone or can't be read."""
        reading = self._read_within(inode, self.spaces.members[inode])
        if reading is None and inode not in self.found.unread:
            reading = self._read_again(inode)
        return reading

    def _read_again(self, inode: int) -> Reading | None:
        """Of a namespace that has no process or door any more, unless it has ended: by a way that is found now."""
        gap = self.spaces.look_again(inode)
        if gap is not None:
            self.found.leave(inode, gap.reason, self.spaces.owners.get(inode, UNKNOWN))
        if inode not in self.spaces.doors:
            return None
        self.observer.doors = self.spaces.doors
        return self._read_within(inode, ())

    def _read_within(self, inode: int, pids: tuple[int, ...]) -> Reading | None:
        """Read it, if its owner's budget and the time of the scan allow it."""
        owner = self.spaces.owners.get(inode, UNKNOWN)
        before = self.refused.get(inode)
        why = before.reason if before and time.monotonic() < before.again else self.budgets.refusal(owner)
        if why is not None:
            self.found.owes |= why == LATER
            self.found.leave(inode, why, owner)
            return None
        self.observer.limits = self.budgets.limits(owner, inode)
        with self.budgets.charged(owner):
            reading = self._read(inode, pids, owner)
        if reading is not None:
            self.budgets.keeps(owner, inode, reading.kept)
        return reading

    def _read(self, inode: int, pids: tuple[int, ...], owner: Owner) -> Reading | None:
        began = time.monotonic()
        self.refused.pop(inode, None)
        try:
            return self.observer.read(inode, pids, self.needles, self.homes.live)
        except (OSError, NoAnswer) as error:
            ended = time.monotonic()
            pause = min(LONGEST_PAUSE, max(1.0, COST_FACTOR * (ended - began)))
            self.refused[inode] = Refused(reason(error), ended + pause)
            self.found.leave(inode, reason(error), owner)
            return None

    def take(self, inode: int, reading: Reading) -> None:
        """Count a namespace's mounts, and note which copies are reached and which lines could not be read."""
        owner = owner_name(self.spaces.owners.get(inode, UNKNOWN))
        self.found.mounts += reading.mounts
        if not reading.binds:
            self.found.unbound.add(inode)
        self.found.gaps += [Gap("lines of mountinfo", why, inode, count, owner) for why, count in reading.unreadable]
