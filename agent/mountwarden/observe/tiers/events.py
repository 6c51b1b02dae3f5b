"""The events tier: namespaces are read again when the kernel told of a mount in them.

Two fanotify groups: that of the homes wakes the service, and is never starved by the other one, which has all other
namespaces. Both are emptied when a look begins. An event names a mount, not its namespace: one that went or moved is
in the list of ids that we keep, one that came makes the number of mounts another. A namespace is marked before it is
read, so that nothing is missed between. A command looks twice at most: until then namespaces are not marked, and told
apart by their number of mounts.

Not told by events: a change of propagation, a remount, a renamed directory. Homes' mounts whose propagation matters
are compared at each look. The rest is found at resyncs: of each namespace the number of mounts is compared, and what
candidates and settled copies are mounted on; the texts of some are read again.
"""

import errno
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from ...model import Missed, Mount
from ...mounts import mountinfo
from ...mounts.table import Table
from . import event_budget
from . import listing as statmounts
from .delta import CantTell, checksums
from .fanotify import Events, FanotifyGroup
from .listing import NotAsText, Vanished
from .observer import Home
from .prefilter import LiveAtHome, Reading
from .statmount import StatmountObserver

POLLED = 60.0
"""Seconds for which a namespace with too many events is compared at each look instead of marked."""
RESYNC = 1.0
"""Seconds at least between two comparisons of everything for lost events."""
_UNMARKED = 2
"""Looks before the first mark."""
_ROUNDS = 16
"""Resyncs in which the text of each namespace is read again once."""
_FEW = 16
"""Mounts that went or moved, at most, that are searched for in the lists: beyond, all lists are compared."""


class EventsObserver(StatmountObserver):
    """Reads as `StatmountObserver` does, and only what the kernel's mount events tell."""

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
        self._resynced = float("-inf")
        self._guards: dict[int, dict[int, int]] = {}
        self._round = self._looks = 0
        self._scanned = time.monotonic()

    @property
    def wake(self) -> int | None:
        """A descriptor that is readable when a home's mounts changed, until the next look."""
        return self._homes.fd

    def close(self) -> None:
        """Give the groups back."""
        self._homes.close()
        self._rest.close()

    def begin_scan(self, members: Mapping[int, tuple[int, ...]]) -> tuple[Missed, ...]:
        """Empty both groups, mark what is new; what was missed since the last look."""
        now = time.monotonic()
        missed = self._take_in_homes() + self._take_in_rest(members, now)
        self._looks += 1
        if self._looks > _UNMARKED:
            self._mark_new(members, now)
        self._members = {inode: frozenset(pids) for inode, pids in members.items()}
        return missed

    def table(self, inode: int, pids: Iterable[int]) -> Table | None:
        """The whole table of a home; the same object as before while no event and no guarded mount tells otherwise."""
        pids = tuple(pids)
        known = self._tables.get(inode)
        if known is not None and self._marked.get(inode) is self._homes and self._is_quiet(inode, known):
            return known.table
        self._mark_home(inode, pids)
        self._dirty.discard(inode)
        table = super().table(inode, pids)
        if known is None or table is not known.table:
            self._guards.pop(inode, None)
        return table

    def guard(self, inode: int, mounts: Iterable[Mount]) -> None:
        """Compare these mounts of a home at each look from now on."""
        known = self._tables.get(inode)
        if inode in self._guards or inode not in self._marked or known is None or known.identified is None:
            return
        try:
            self._guards[inode] = self._as_guards(known.identified.id, {mount.unique: mount for mount in mounts})
        except (CantTell, Vanished, NotAsText):
            return  # its text is read at each look

    def changed(self, inode: int, pids: Iterable[int]) -> bool:
        """Whether an event told of the namespace; of one that is not marked, whether it has more mounts or fewer."""
        if inode in self._dirty:
            return True
        return (self._count or inode not in self._marked) and super().changed(inode, pids)

    def read(self, inode: int, pids: Iterable[int], wanted: tuple[bytes, ...], settled: LiveAtHome) -> Reading | None:
        """Read a namespace now. None when nothing keeps it any more."""
        seen = super().read(inode, pids, wanted, settled)
        self._dirty.discard(inode)
        return seen

    def resync(self) -> None:
        """Count all mounts, compare what decides, and read some texts again: those of all in `_ROUNDS` resyncs."""
        self._round += 1
        for inode, known in tuple(self._known.items()):
            if inode % _ROUNDS == self._round % _ROUNDS or inode not in self._marked or not self._holds(known):
                self._distrust(inode)
                self._dirty.add(inode)
        self._recount = True
        self._guards.clear()

    def forget(self, living: Iterable[int]) -> None:
        """Keep what is known of `living` namespaces only. Their marks went with those that ended."""
        alive = set(living)
        super().forget(alive)
        self._dirty &= alive
        self._marked = {inode: group for inode, group in self._marked.items() if inode in alive}
        self._polled = {inode: until for inode, until in self._polled.items() if inode in alive}
        self._guards = {inode: guards for inode, guards in self._guards.items() if inode in alive}

    def _distrust(self, inode: int) -> None:
        self._known[inode] = replace(self._known[inode], trusted=False)

    def _is_quiet(self, inode: int, known: Home) -> bool:
        """Whether a home is as it was read, by its events and its guarded mounts."""
        guards = self._guards.get(inode)
        if guards is None or known.identified is None or inode in self._dirty:
            return False
        try:
            return checksums(self._lister, known.identified.id, guards) == guards
        except (CantTell, Vanished):
            # What is there now may have the old mount's small ids, and so the same text; or the namespace went.
            del self._tables[inode], self._marked[inode]
            return False

    def _as_guards(self, namespace: int, mounts: Mapping[int | None, Mount]) -> dict[int, int]:
        """Hashes of statmount's answers that say what the table says. Raises: CantTell, Gone, NotAsText."""
        guards = {}
        for unique, mount in mounts.items():
            if unique is None:
                raise CantTell
            answer = self._lister.answer(namespace, unique)
            line = statmounts.line(answer, unique, self._masters).text
            if mountinfo.parse_line(line) != replace(mount, unique=None):
                raise CantTell  # it changed between
            guards[unique] = hash(answer)
        return guards

    def _take_in_homes(self) -> tuple[Missed, ...]:
        events = self._homes.drain()
        if events:
            self._dirty |= self._tables.keys()
        return (_overflow("homes"),) if events.lost else ()

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
        self._dirty |= self._known.keys()
        return (*missed, _overflow("other namespaces"))

    def _note(self, events: Events) -> None:
        """Find the namespaces that mounts went from, or moved in."""
        left = events.detached | events.moved
        if len(left) > _FEW:
            self._dirty |= self._known.keys()
            left = set()
        for inode, known in self._known.items():
            if left and (known.listing is None or any(_packed(unique) in known.listing for unique in left)):
                self._dirty.add(inode)
        for inode, known in tuple(self._known.items()) if events.moved else ():
            if known.listing is not None and (not left or any(_packed(one) in known.listing for one in events.moved)):
                self._distrust(inode)  # a moved mount is in the list as before

    def _mark_new(self, members: Mapping[int, tuple[int, ...]], now: float) -> None:
        for inode, pids in members.items():
            # Inodes are reused at once: a namespace without a process of before is taken for another, without a mark.
            same = not self._members.get(inode, frozenset()).isdisjoint(pids)
            if inode in self._tables or not pids or (same and inode in self._marked):
                continue
            if self._polled.get(inode, now) > now and same:
                continue
            self._polled.pop(inode, None)
            self._mark(self._rest, inode, pids)

    def _mark_home(self, inode: int, pids: tuple[int, ...]) -> None:
        """Mark it in the homes' group, and no more in the other one."""
        if self._looks <= _UNMARKED or self._marked.get(inode) is self._homes:
            return
        if inode in self._marked:
            self._each(pids, inode, self._rest.unmark)
        self._mark(self._homes, inode, pids)

    def _mark(self, group: FanotifyGroup, inode: int, pids: tuple[int, ...]) -> None:
        """What can't be marked is polled: by its number of mounts, a home by its text."""
        self._marked.pop(inode, None)
        if self._each(pids, inode, group.mark):
            self._marked[inode] = group
            self._dirty.add(inode)

    def _unmark(self, inode: int, members: Mapping[int, tuple[int, ...]], now: float) -> bool:
        """Poll a namespace for a while; False where it is no other namespace that we have marked."""
        if self._marked.get(inode) is not self._rest or not self._each(
            members.get(inode, ()), inode, self._rest.unmark
        ):
            return False
        del self._marked[inode]
        self._polled[inode] = now + POLLED
        self._dirty.add(inode)
        return True

    def _each(self, pids: Iterable[int], inode: int, function: Callable[[int], None]) -> bool:
        """Call the function with a descriptor of the namespace, by the first process that still is in it."""
        for pid in pids:
            try:
                if statmounts.with_namespace(pid, inode, function):
                    return True
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESRCH):
                    return False  # the limit of marks, or a right that we lack: the next look tries again
        return False


def _packed(unique: int) -> bytes:
    return unique.to_bytes(statmounts.ID, sys.byteorder)


def _overflow(of: str) -> Missed:
    return Missed("overflow", f"the kernel's queue of mount events was full; {of} were compared instead")


def _over_budget(inode: int) -> Missed:
    text = f"mount namespace {inode} has too many mount events; for {POLLED:g} s it is compared at each look instead"
    return Missed("budget", text)
