"""All namespaces that are no home: which of them are read again, and the copies of the homes' mounts in them."""

import contextlib
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field

from ..errors import NoAnswer
from ..model import HOST, UNKNOWN, Copy, Gap, Owner
from ..mounts.roots import Spots, copies_at_home, copies_elsewhere, identities
from ..observe import entries, namespaces
from ..observe.budgets import COST_FACTOR, LATER, LONGEST_PAUSE, Budgets, in_turn
from ..observe.mount_lines import MountLines
from ..observe.tiers.home_table import HOME
from ..observe.tiers.mountinfo import needles
from ..observe.tiers.observer import Observer
from ..observe.tiers.prefilter import ReachedCopies, Reading, key_of
from .history import History
from .homes import Homes, reason
from .mount_namespaces import MountNamespaces


@dataclass(slots=True)
class FoundElsewhere:
    """What one scan found in the other namespaces."""

    mounts: int
    """How many mounts there are in all namespaces, the homes included."""
    copies: list[Copy] = field(default_factory=list)
    """Copies that the judge has to see."""
    reached: list[ReachedCopies] = field(default_factory=list)
    """By namespace, the copies that the homes' umounts reach: of these only the mount ids are kept."""
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


class Elsewhere:
    """Reads the other namespaces, and remembers what decides which of them the next scan reads again."""

    def __init__(self, budgets: Budgets, alive: Callable[[], None]) -> None:
        """`alive` is called now and then while namespaces are read."""
        self.suspects: frozenset[int] = frozenset()
        """Inodes of the namespaces in which the last scan found something: they are read at each scan."""
        self._needles: tuple[bytes, ...] = ()
        """Strings by which the last readings were filtered."""
        self._absent: frozenset[tuple[str, bytes]] = frozenset()
        """(device, mnt_root) of the last scan's copies of what no home had, a second reading of the homes included."""
        self.left: frozenset[int] = frozenset()
        """Inodes of the namespaces that the last scan did not come to: they are read first in the next one."""
        self._budgets, self._alive = budgets, alive
        self._refused: dict[int, _Refused] = {}
        """What could not be read: tried again after a pause, since it costs the most."""

    def scan(
        self, observer: Observer, spaces: MountNamespaces, homes: Homes, history: History, *, reread: bool
    ) -> FoundElsewhere:
        """Read the namespaces that may have changed, with `reread` all; what was read before stands for the others."""
        strings = needles((layout for s in homes.states for layout in s.root.layout), history.volumes(homes.states))
        reread, self._needles = reread or strings != self._needles, strings
        new = spaces.to_read()
        found = FoundElsewhere(sum(len(table.mounts) for table in homes.tables.values()))
        spots, watched = Spots(homes.states), history.watched() | identities(homes.states)
        observer.watched = frozenset(map(key_of, watched))
        self._refused = {inode: one for inode, one in self._refused.items() if inode in spaces.members.keys() - new}
        reader = _Reader(observer, spaces, homes, strings, found, self._budgets, self._refused)
        order = tuple(self._in_order(reader, self.suspects | new, reread=reread))
        entries.expect([inode for inode, is_due in order if is_due and inode in spaces.doors])
        for inode, is_due in order:
            self._alive()
            reading = reader.current(inode) if is_due else observer.seen(inode)
            if reading is not None:
                reader.take(inode, reading)
                found.copies += copies_elsewhere(inode, reading.candidates, spots, watched)
        self.left = reader.left
        for inode, table in homes.tables.items():  # a home of one root may hold copies of another's
            found.copies += copies_at_home(inode, table, homes.states, spots, watched)
        observer.forget(spaces.members)
        self._budgets.forget(spaces.owners)
        observer.end_scan()
        spaces.were_read()
        found.copies = self._without_newer(found.copies, homes, spaces)
        return found

    def _in_order(self, reader: "_Reader", first: Set[int], *, reread: bool) -> Iterator[tuple[int, bool]]:
        """All that are no home, and whether each is to be read, else its last reading stands.

        Of those to be read, `first` come first, then what the last scan left, each in turn by their owners.
        """
        spaces = reader.spaces
        others = [inode for inode in spaces.members if inode not in reader.homes.tables]
        due = [inode for inode in others if reread or inode in first or inode in self.left or reader.is_due(inode)]
        ranks = (first, self.left - first, frozenset(due) - first - self.left)
        for rank in ranks:
            owners = {inode: spaces.owners.get(inode, UNKNOWN) for inode in due if inode in rank}
            yield from ((inode, True) for inode in in_turn(owners))
        asked = frozenset(due)
        yield from ((inode, False) for inode in others if inode not in asked)

    def _without_newer(self, copies: list[Copy], homes: Homes, spaces: MountNamespaces) -> list[Copy]:
        """Without copies of what a home has mounted since the homes were read: the next scan sees both.

        While containers start, every other namespace has a copy of each, and each would be suspected of being a leak.
        """
        absent = {copy.mount.identity for copy in copies if copy.match and copy.mount.identity not in homes.identities}
        if not absent <= self._absent:
            newer = _at_home_now(absent, homes, spaces)
            copies = [copy for copy in copies if copy.mount.identity not in newer]
            absent -= newer
        self._absent = frozenset(absent)
        return copies


def _at_home_now(asked: Set[tuple[str, bytes]], homes: Homes, spaces: MountNamespaces) -> frozenset[tuple[str, bytes]]:
    """Those of (device, mnt_root) that a home has mounted at this moment. One that can't be read now has none."""
    needles = {b" %s %s " % key_of(identity): identity for identity in asked}
    found = set[tuple[str, bytes]]()

    def search(lines: MountLines) -> None:
        for block in lines.blocks():
            found.update(identity for needle, identity in needles.items() if needle in block)

    for inode in homes.tables:
        with contextlib.suppress(OSError, NoAnswer):
            namespaces.read(inode, spaces.members.get(inode, ()), search, limits=HOME)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Refused:
    """A namespace that could not be read."""

    reason: str
    again: float
    """When it is tried again, in seconds of the monotonic clock."""


@dataclass(slots=True)
class _Reader:
    """Reads namespaces in one scan."""

    observer: Observer
    spaces: MountNamespaces
    homes: Homes
    needles: tuple[bytes, ...]
    found: FoundElsewhere
    budgets: Budgets
    refused: dict[int, _Refused]

    @property
    def left(self) -> frozenset[int]:
        """What is to be read first in the next scan."""
        return frozenset(self.found.unread - self.refused.keys())

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
            self.refused[inode] = _Refused(reason(error), ended + pause)
            self.found.leave(inode, reason(error), owner)
            return None

    def take(self, inode: int, reading: Reading) -> None:
        """Count a namespace's mounts, and note which copies are reached and which lines could not be read."""
        owner = owner_name(self.spaces.owners.get(inode, UNKNOWN))
        self.found.mounts += reading.mounts
        if not reading.binds:
            self.found.unbound.add(inode)
        self.found.reached.append(reading.reached)
        self.found.gaps += [Gap("lines of mountinfo", why, inode, count, owner) for why, count in reading.unreadable]
