"""The events tier: namespaces are read again when the kernel reported a mount event in them.

There are two fanotify groups. That of the homes wakes the service; all other namespaces are in the other one, so that
their events never fill the homes' queue. Both are emptied when a scan begins, and that of the homes when these alone
are looked at. An event names a mount, not its namespace: a mount that went or moved is found in the lists of ids that
are kept, and one that came changes the number of mounts of its namespace. A namespace is marked before it is read, so
that nothing is missed in between. A command scans twice at most: up to then namespaces are not marked, and only their
numbers of mounts are compared.

There is no event for a change of propagation, a remount or a renamed directory. Homes' mounts whose propagation matters
are compared at each scan. The rest is found at resyncs, which compare the number of mounts of each namespace and what
candidates and reached copies are mounted on, and read the texts of some namespaces again.
"""

import errno
import sys
import time
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace

from ...model import Missed, Mount
from ...mounts import mountinfo
from ...mounts.table import Table
from . import event_budget, listing
from .delta import TextNeeded, checksums, difference
from .fanotify import Events, FanotifyGroup
from .home_table import HOME, caught_up
from .listed import list_ids
from .listing import NotAsText, Vanished
from .live_at_home import LiveAtHome
from .needles import Needles
from .observer import Home
from .prefilter import Reading
from .statmount import StatmountObserver

POLLED = 60.0
"""Seconds for which a namespace with too many events is compared at each scan instead of marked."""
RESYNC = 1.0
"""Seconds at least between two comparisons of all namespaces because events were lost."""
_UNMARKED = 2
"""Scans before the first mark."""
_ROUNDS = 16
"""Number of resyncs over which the text of each namespace is read again once."""
MOST_NEW = 256
"""Most new mounts of a home that are asked for one by one: where there are more, its text is cheaper."""
_FEW = 16
"""Most mounts that went or moved for which the lists are searched: where there are more, all lists are compared."""


class EventsObserver(StatmountObserver):
    """Reads as `StatmountObserver` does, but only the namespaces that had mount events."""

    def __init__(self, *, fields: bool = True) -> None:
        """Raises: OSError as fanotify_init(2) does."""
        super().__init__(fields=fields)
        self._homes, self._rest = FanotifyGroup(), FanotifyGroup()
        self._marked: dict[int, FanotifyGroup] = {}
        self._polled: dict[int, float] = {}
        self._members: dict[int, frozenset[int]] = {}
        self._dirty: set[int] = set()
        self._count = self._recount = False
        self._lost = False
        self._moved = False
        """Whether a mount of a home was moved since the homes were read, or may have been."""
        self._missed: tuple[Missed, ...] = ()
        """What was missed between two scans: the next one says it."""
        self._resynced = float("-inf")
        self._guards: dict[int, dict[int, int]] = {}
        self._round = self._scans = 0
        self._scanned = time.monotonic()

    @property
    def wake(self) -> int | None:
        """As `Observer` says: the fanotify group of the homes."""
        return self._homes.fd

    def close(self) -> None:
        """Close both groups, and with them all marks."""
        self._homes.close()
        self._rest.close()

    def begin_scan(self, members: Mapping[int, tuple[int, ...]]) -> tuple[Missed, ...]:
        """As `Observer` says. Empties both groups, and marks the namespaces that are new."""
        now, self.in_part = time.monotonic(), False  # an event tells which of them changed
        self._take_in_homes()
        missed, self._missed = self._missed + self._take_in_rest(members, now), ()
        self._scans += 1
        if self._scans > _UNMARKED:
            self._mark_new(members, now)
        self._members = {inode: frozenset(pids) for inode, pids in members.items()}
        return missed

    def begin_peek(self) -> None:
        """As `Observer` says."""
        self._take_in_homes()

    def table(self, inode: int, pids: Iterable[int]) -> Table | None:
        """As `Observer` says. A home without events whose guarded mounts are as before is not read."""
        pids = tuple(pids)
        known = self._tables.get(inode)
        if known is not None and self._marked.get(inode) is self._homes and self._are_guards_unchanged(inode, known):
            if inode not in self._dirty:
                return known.table
            if (now := self._caught_up_home(inode, known)) is not None:
                return now.table
        self._mark_home(inode, pids)
        self._dirty.discard(inode)
        table = super().table(inode, pids)
        if known is None or table is not known.table:
            self._guards.pop(inode, None)
        return table

    def guard(self, inode: int, mounts: Iterable[Mount]) -> None:
        """As `Observer` says. Without marks or unique ids, the home's text is read at each scan instead."""
        known = self._tables.get(inode)
        if inode in self._guards or inode not in self._marked or known is None or known.identified is None:
            return
        try:
            self._guards[inode] = self._as_guards(known.identified.id, {mount.unique: mount for mount in mounts})
        except (TextNeeded, Vanished, NotAsText):
            return

    def changed(self, inode: int, pids: Iterable[int]) -> bool:
        """As `Observer` says: it had an event, or where it is not marked, has another number of mounts."""
        if inode in self._dirty:
            return True
        return (self._count or inode not in self._marked) and super().changed(inode, pids)

    def read(self, inode: int, pids: Iterable[int], needles: Needles, live: LiveAtHome) -> Reading | None:
        """As `Observer` says."""
        reading = super().read(inode, pids, needles, live)
        self._dirty.discard(inode)
        return reading

    def resync(self, inodes: Container[int]) -> None:
        """As `Observer` says, but of all namespaces: their mounts are counted, and those that matter compared.

        Each namespace's text is read again once in `_ROUNDS` resyncs. Raises: OSError as statmount(2) does.
        """
        self._round += 1
        for inode, known in tuple(self._kept.items()):
            if inode % _ROUNDS == self._round % _ROUNDS or inode not in self._marked or not self._same_as_read(known):
                self._distrust(inode)
                self._dirty.add(inode)
        self._recount = True
        self._guards.clear()

    def forget(self, living: Iterable[int]) -> None:
        """As `Observer` says. The marks of the others went with them."""
        alive = set(living)
        super().forget(alive)
        self._dirty &= alive
        self._marked = {inode: group for inode, group in self._marked.items() if inode in alive}
        self._polled = {inode: until for inode, until in self._polled.items() if inode in alive}
        self._guards = {inode: guards for inode, guards in self._guards.items() if inode in alive}

    def _distrust(self, inode: int) -> None:
        self._kept[inode] = replace(self._kept[inode], trusted=False)

    def _caught_up_home(self, inode: int, known: Home) -> Home | None:
        """A home that had events, by its list of ids and what is new in that: its text may be of any length.

        None where a mount was moved, or only the text says what there is. Raises: OSError as listmount(2) does.
        """
        if self._moved or not self._fields or not known.listing or known.identified is None:
            return None
        identity, paths = known.identified.id, known.read_from[1]
        try:
            listing = list_ids(self._lister, identity, HOME.seconds)
            removed, added = difference(known.listing, listing)
            if paths != self.paths or len(added) > MOST_NEW:
                return None
            lines = {unique: self._lister.line(identity, unique, self._masters).text for unique in added}
            table = caught_up(known.table, removed, lines, paths)
        except (TextNeeded, Vanished, NotAsText, mountinfo.Unreadable):
            return None
        self._dirty.discard(inode)
        self._guards.pop(inode, None)
        home = replace(known, read_from=((-1, 0), paths), table=table, listing=listing)
        self._remember_home(inode, home)
        return home

    def _are_guards_unchanged(self, inode: int, known: Home) -> bool:
        """Whether the guarded mounts of a home are as they were read. Raises: OSError as statmount(2) does."""
        guards = self._guards.get(inode)
        if guards is None or known.identified is None:
            return False
        try:
            return checksums(self._lister, known.identified.id, guards) == guards
        except (TextNeeded, Vanished):
            # The new mount may have the old one's small id, and so the same text; or the namespace went.
            del self._tables[inode], self._marked[inode]
            return False

    def _as_guards(self, namespace: int, mounts: Mapping[int | None, Mount]) -> dict[int, int]:
        """Hashes of statmount's answers, which must agree with the table. Raises: TextNeeded, Vanished, NotAsText."""
        guards = {}
        for unique, mount in mounts.items():
            if unique is None:
                raise TextNeeded
            answer = self._lister.answer(namespace, unique)
            line = listing.line(answer, unique, self._masters).text
            if mountinfo.parse_line(line) != replace(mount, unique=None):
                raise TextNeeded  # it changed in between
            guards[unique] = hash(answer)
        return guards

    def _take_in_homes(self) -> None:
        events = self._homes.drain()
        unread = not self._dirty.isdisjoint(self._tables)
        self._moved = (self._moved and unread) or bool(events.moved) or events.lost
        if events:
            self._dirty |= self._tables.keys()
        if events.lost:
            self._missed += (_overflow("homes"),)

    def _take_in_rest(self, members: Mapping[int, tuple[int, ...]], now: float) -> tuple[Missed, ...]:
        events = self._rest.drain()
        over = [inode for inode in event_budget.over(events, now - self._scanned) if self._unmark(inode, members, now)]
        self._scanned = now
        self._count, self._recount = self._recount or bool(events.attached), False
        self._note(events)
        missed = tuple(map(_over_budget, over))
        self._lost = self._lost or events.lost
        if not self._lost or now - self._resynced < RESYNC:
            return missed
        self._lost, self._resynced = False, now
        self._dirty |= self._kept.keys()
        return (*missed, _overflow("other namespaces"))

    def _note(self, events: Events) -> None:
        """Find the namespaces that mounts went from, or moved in; they are to be read again."""
        left = events.detached | events.moved
        if len(left) > _FEW:
            self._dirty |= self._kept.keys()
            left = set()
        for inode, known in self._kept.items():
            if left and (known.listing is None or any(_packed(unique) in known.listing for unique in left)):
                self._dirty.add(inode)
        for inode, known in tuple(self._kept.items()) if events.moved else ():
            if known.listing is not None and (not left or any(_packed(one) in known.listing for one in events.moved)):
                self._distrust(inode)  # a moved mount is in the list as before

    def _mark_new(self, members: Mapping[int, tuple[int, ...]], now: float) -> None:
        for inode, pids in members.items():
            # Inodes are reused at once: with none of the processes of before, it is another namespace, without a mark.
            same = not self._members.get(inode, frozenset()).isdisjoint(pids)
            if inode in self._tables or not pids or (same and inode in self._marked):
                continue
            if self._polled.get(inode, now) > now and same:
                continue
            self._polled.pop(inode, None)
            self._mark(self._rest, inode, pids)

    def _mark_home(self, inode: int, pids: tuple[int, ...]) -> None:
        """Mark a home in the homes' group, and no longer in the other one."""
        if self._scans <= _UNMARKED or self._marked.get(inode) is self._homes:
            return
        if inode in self._marked:
            self._each(pids, inode, self._rest.unmark)
        self._mark(self._homes, inode, pids)

    def _mark(self, group: FanotifyGroup, inode: int, pids: tuple[int, ...]) -> None:
        """What can't be marked is compared at each scan: by its number of mounts, a home by its text."""
        self._marked.pop(inode, None)
        if self._each(pids, inode, group.mark):
            self._marked[inode] = group
            self._dirty.add(inode)

    def _unmark(self, inode: int, members: Mapping[int, tuple[int, ...]], now: float) -> bool:
        """Compare a namespace at each scan for `POLLED` seconds; False where it has no mark in the other group."""
        if self._marked.get(inode) is not self._rest or not self._each(
            members.get(inode, ()), inode, self._rest.unmark
        ):
            return False
        del self._marked[inode]
        self._polled[inode] = now + POLLED
        self._dirty.add(inode)
        return True

    def _each(self, pids: Iterable[int], inode: int, function: Callable[[int], None]) -> bool:
        """Call the function with a descriptor of the namespace, by the first process that is still in it."""
        for pid in pids:
            try:
                if listing.with_namespace(pid, inode, function):
                    return True
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESRCH):
                    return False  # the limit of marks, or a missing capability: the next scan tries again
        return False


def _packed(unique: int) -> bytes:
    return unique.to_bytes(listing.ID, sys.byteorder)


def _overflow(of: str) -> Missed:
    return Missed("overflow", f"the kernel's queue of mount events was full; {of} were compared instead")


def _over_budget(inode: int) -> Missed:
    text = f"mount namespace {inode} has too many mount events; for {POLLED:g} s it is compared at each scan instead"
    return Missed("budget", text)
