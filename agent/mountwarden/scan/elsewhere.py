"""All namespaces that are no home: which of them are read again, and the copies of the homes' mounts in them."""

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Set

from ..errors import NoAnswer
from ..model import UNKNOWN, Copy, Mount, SpaceCopies
from ..mounts.roots import Placed, Spots, copies_at_home, placed
from ..observe import entries, namespaces, read_ahead
from ..observe.budgets import Budgets, in_turn
from ..observe.mount_lines import MountLines
from ..observe.tiers.home_table import HOME
from ..observe.tiers.live_at_home import key_of
from ..observe.tiers.needles import Needles, needles
from ..observe.tiers.observer import Observer
from ..observe.tiers.prefilter import Reading
from .departures import AnswersWhatLives, has_superblock_of_its_own
from .history import History, Identity
from .homes import Homes
from .mount_namespaces import MountNamespaces
from .part import Part
from .readings import FoundElsewhere, Reader, Refused


def _may_have_ended(mount: Mount, homes: Homes) -> bool:
    """Whether no home has the superblock, and that can be asked for."""
    return mount.device not in homes.devices and has_superblock_of_its_own(mount)


class _Either:
    """What is in either of two."""

    def __init__(self, one: Container[object], other: Container[object]) -> None:
        self._one, self._other = one, other

    def __contains__(self, item: object) -> bool:
        return item in self._one or item in self._other


class Elsewhere:
    """Reads the other namespaces, and remembers what decides which of them the next scan reads again."""

    def __init__(self, budgets: Budgets, alive: Callable[[], None], superblocks: AnswersWhatLives) -> None:
        """`alive` is called now and then while namespaces are read."""
        self._superblocks = superblocks
        self.suspects: Mapping[int, float] = {}
        """When a namespace in which something was found is to be read again (monotonic clock), by its inode."""
        self._read_at: dict[int, int] = {}
        """The number of the reading of the homes after which each namespace was last read."""
        self._died: dict[str, int] = {}
        """By device, such a number when its superblock was known to have ended: what was read before shows that one."""
        self._born: dict[int, int] = {}
        """The order in which they were first listed."""
        self._order: dict[int, int] = {}
        """The order in which they were read."""
        self._turn = itertools.count()
        self._spots = Spots(())
        self._placed: dict[int, tuple[Reading, Placed, SpaceCopies]] = {}
        self._needles = Needles()
        """What the last readings were searched for."""
        self._absent: frozenset[tuple[str, bytes]] = frozenset()
        """(device, mnt_root) of the last scan's copies of what no home had, a second reading of the homes included."""
        self.left: frozenset[int] = frozenset()
        """Inodes of the namespaces that the last scan did not come to: they are read first in the next one."""
        self.owes = False
        """Whether namespaces wait that may have a copy of what home has unmounted."""
        self._stale: tuple[int, ...] = ()
        """Inodes of namespaces that a resync has left to be read again, the longest unread first."""
        self._budgets, self._alive = budgets, alive
        self._refused: dict[int, Refused] = {}
        """What could not be read: tried again after a pause, since it costs the most."""

    def scan(
        self,
        observer: Observer,
        spaces: MountNamespaces,
        homes: Homes,
        history: History,
        number: int,
        part: Part | None,
        *,
        reread: bool,
    ) -> FoundElsewhere:
        """Read the namespaces that may have changed, with `reread` all; what was read before stands for the others.

        Of a `part` of the host only what that says. `number` is that of the reading of the homes.
        """
        strings = needles((layout for s in homes.states for layout in s.root.layout), history.unnamed(homes.states))
        reread = part is None and (reread or strings != self._needles)
        self._needles, spots = strings, self._spots.after(homes.states)
        if spots is not self._spots:
            self._spots, self._placed = spots, {}
        now = part is None or part.again
        new = spaces.to_read(now=now)
        self._note_births(spaces, history)
        found = FoundElsewhere(sum(len(table.mounts) for table in homes.tables.values()))
        watched = history.watched()
        observer.watched = frozenset(map(key_of, watched))
        self._refused = {inode: one for inode, one in self._refused.items() if inode in spaces.members.keys() - new}
        reader = Reader(observer, spaces, homes, strings, found, self._budgets, self._refused)
        first = (
            new
            | self._doubtful(observer, spaces, history)
            | self._due_suspects(now=now)
            | (self._holders(reader, history) if part else frozenset())
        )
        again = frozenset(spaces.members if reread else self._unread_since(reader, 0 if part else number))
        young = frozenset[int]() if now else spaces.young()
        readings = self._readings(reader, number, self._in_order(reader, first, again, young))
        self.owes = False
        if part is not None:
            readings |= self._read_owed(reader, history, number, part)
        both = _Either(watched, history.live)
        for inode, reading in readings.items():
            reader.take(inode, reading)
            self._sort(found, inode, self._copies(inode, reading, both), history)
        self.left = reader.left
        for inode, table in homes.tables.items():  # a home of one root may hold copies of another's
            if copies := tuple(copies_at_home(inode, table, homes.states, spots, both)):
                found.spaces.append(SpaceCopies(inode, copies))
        self._forget(observer, spaces, homes)
        found.all_since = self._all_since(spaces, homes, number)
        absent = _not_at_home(found.spaces, homes)
        over = self._ended_now(absent, homes, number)
        over |= self._newer({i for i, copy in absent.items() if copy.match and i not in over}, homes, spaces)
        found.spaces = [_without(space, over) for space in found.spaces] if over else found.spaces
        return found

    def _readings(self, reader: Reader, number: int, order: Iterable[tuple[int, bool]]) -> dict[int, Reading]:
        """The readings of all namespaces, those that are to be read as they are now."""
        order = tuple(order)
        entries.expect([inode for inode, is_due in order if is_due and inode in reader.spaces.doors])
        readings: dict[int, Reading] = {}
        with read_ahead.texts(reader.limited(inode) for inode, is_due in order if is_due):
            for inode, is_due in order:
                reading = self._reading(reader, inode, number, is_due=is_due)
                if reading is not None:
                    readings[inode] = reading
        return readings

    def _note_births(self, spaces: MountNamespaces, history: History) -> None:
        """A namespace that the last scan did not list has no copy of what home had unmounted before that.

        One without a process may have been there all the time.
        """
        for inode in spaces.new:
            self._read_at[inode] = history.scanned if spaces.members[inode] else 0
            self._born[inode] = next(self._turn)
            self._order.pop(inode, None)

    def _doubtful(self, observer: Observer, spaces: MountNamespaces, history: History) -> frozenset[int]:
        """Inodes of new namespaces that are read at once, since the last reading shows what matters there.

        It may be of another namespace, which has ended: inodes are reused at once. Or all processes of it are new ones.
        Where nothing that it shows matters, it is dropped.
        """
        seen = frozenset(filter(observer.seen, spaces.new))
        matters = history.found | {identity for identity, one in history.departed.items() if one.holders}
        placed = {inode: self._placed[inode][2] for inode in seen & self._placed.keys()}
        doubtful = frozenset(inode for inode, space in placed.items() if not matters.isdisjoint(space.identities))
        if seen - doubtful:
            observer.forget(spaces.members.keys() - (seen - doubtful))
        return doubtful

    def _reading(self, reader: Reader, inode: int, number: int, *, is_due: bool) -> Reading | None:
        if not is_due:
            return reader.observer.seen(inode)
        self._alive()
        reading = reader.current(inode)
        if reading is not None:
            self._read_at[inode] = number
            self._order[inode] = next(self._turn)
        return reading

    def _read_owed(self, reader: Reader, history: History, number: int, part: Part) -> dict[int, Reading]:
        """Of those that were not read since home unmounted what may be there, and of the stale, by the allowance.

        The newest come first: a copy that no reading shows was made since the reading, often soon after its namespace.
        """
        since = max((one.since for one in history.departed.values() if one.everywhere), default=0)
        owed = [inode for inode in self._unread_since(reader, since) if inode not in reader.found.unread]
        readings: dict[int, Reading] = {}
        owed.sort(key=lambda one: -self._born.get(one, 0))
        until = time.thread_time() + part.allowance
        may_wait = part.allowance <= 0 and not history.missing
        for inode in () if may_wait else (*owed, *self._stale_beside(reader, owed)):
            reading = self._reading(reader, inode, number, is_due=True)
            if reading is not None:
                readings[inode] = reading
            if time.thread_time() >= until:
                break
        self._stale = tuple(inode for inode in self._stale if inode not in readings)
        self.owes = not readings.keys() >= set(owed)
        return readings

    def _stale_beside(self, reader: Reader, owed: Collection[int]) -> list[int]:
        known = reader.spaces.members.keys() - reader.homes.tables.keys() - reader.found.unread - set(owed)
        return [inode for inode in self._stale if inode in known]

    def _unread_since(self, reader: Reader, since: int) -> list[int]:
        others = reader.spaces.members.keys() - reader.homes.tables.keys() - self._refused.keys()
        return [inode for inode in others if self._read_at.get(inode, 0) < since]

    def _holders(self, reader: Reader, history: History) -> frozenset[int]:
        """Namespaces that were never read, or of which umounts at home did not reach a copy when they were read."""
        asked = {identity: one.since for identity, one in history.departed.items() if one.holders}
        unread = self._unread_since(reader, max(asked.values(), default=0))
        found = set[int]()
        for inode in unread:
            reading, read_at = reader.observer.seen(inode), self._read_at.get(inode, 0)
            if reading is None or reading.keeps_any({one for one, since in asked.items() if since > read_at}):
                found.add(inode)
        return frozenset(found)

    def ids_of(self, observer: Observer, identity: tuple[str, bytes]) -> frozenset[int]:
        """Small ids of the copies of that (device, mnt_root) that home's umounts reach, by the last readings."""
        died = self._died.get(identity[0], 0)
        readings = (observer.seen(inode) for inode, read_at in self._read_at.items() if read_at >= died)
        return frozenset(number for one in readings if one is not None for number in one.reached.ids(identity))

    def ended(self, devices: Iterable[str], number: int) -> None:
        """The superblocks of these devices have ended: what was read before that reading of the homes shows those."""
        self._died |= dict.fromkeys(devices, number)

    def _copies(self, inode: int, reading: Reading, watched: Container[tuple[str, bytes]]) -> SpaceCopies:
        """What the reading has copies of; the same object as before where that is the same."""
        known = self._placed.get(inode)
        if known is None or known[0] is not reading:
            of = placed(inode, reading.candidates, self._spots)
            known = self._placed[inode] = reading, of, SpaceCopies(inode, tuple(of.copies(watched)))
        elif known[1].off:
            copies = tuple(known[1].copies(watched))
            if copies != known[2].copies:
                known = self._placed[inode] = *known[:2], SpaceCopies(inode, copies)
        return known[2]

    def _sort(self, found: FoundElsewhere, inode: int, space: SpaceCopies, history: History) -> None:
        """Take the copies that are there by the last reading: without those of superblocks that have ended since.

        What home has unmounted since is a copy only where that was read after it.
        """
        if not space.copies:
            return
        read_at = self._read_at.get(inode, 0)
        died = {device for device, at in self._died.items() if at > read_at}
        went = {identity for identity, one in history.departed.items() if one.since > read_at}
        if not died.isdisjoint(space.devices):
            space = _without(space, {one for one in space.identities if one[0] in died})
        if not went.isdisjoint(space.identities):
            found.stale += (copy for _place, copy in space.of(went))
            space = _without(space, went)
        if space.copies:
            found.spaces.append(space)

    def _due_suspects(self, *, now: bool) -> frozenset[int]:
        clock = time.monotonic()
        return frozenset(inode for inode, due in self.suspects.items() if now or due <= clock)

    def _all_since(self, spaces: MountNamespaces, homes: Homes, number: int) -> int:
        """The reading of the homes since which each of the other namespaces was read that can be."""
        others = spaces.members.keys() - homes.tables.keys() - self._refused.keys()
        return min((self._read_at.get(inode, 0) for inode in others), default=number)

    def _forget(self, observer: Observer, spaces: MountNamespaces, homes: Homes) -> None:
        observer.forget(spaces.members)
        self._budgets.forget(spaces.owners)
        observer.end_scan()
        spaces.were_read()
        self._read_at = {inode: one for inode, one in self._read_at.items() if inode in spaces.members}
        self._born = {inode: one for inode, one in self._born.items() if inode in spaces.members}
        self._order = {inode: one for inode, one in self._order.items() if inode in spaces.members}
        self._placed = {inode: one for inode, one in self._placed.items() if inode in spaces.members}
        oldest = min((self._read_at.get(i, 0) for i in spaces.members.keys() - homes.tables.keys()), default=0)
        self._died = {device: one for device, one in self._died.items() if one > oldest}

    def _in_order(
        self, reader: Reader, first: Set[int], again: Set[int], young: Set[int]
    ) -> Iterator[tuple[int, bool]]:
        """All that are no home, and whether each is to be read, else its last reading stands.

        Of those to be read, `first` come first, then what the last scan left, then what is read `again`, each in turn
        by their owners. The `young` ones wait.
        """
        spaces = reader.spaces
        others = [inode for inode in spaces.members if inode not in reader.homes.tables]
        asked = first | again | self.left
        due = [inode for inode in others if inode in asked or reader.is_due(inode)]
        due = [inode for inode in due if inode in first or inode not in young]
        ranks = (first, self.left - first, frozenset(due) - first - self.left)
        for rank in ranks:
            owners = {inode: spaces.owners.get(inode, UNKNOWN) for inode in due if inode in rank}
            yield from ((inode, True) for inode in in_turn(owners))
        read = frozenset(due)
        yield from ((inode, False) for inode in others if inode not in read)

    def _ended_now(self, absent: Mapping[Identity, Copy], homes: Homes, number: int) -> frozenset[Identity]:
        """Those whose superblock has ended while namespaces were read: an umount takes them one by one."""
        asked = frozenset(copy.mount.device for copy in absent.values() if _may_have_ended(copy.mount, homes))
        answers = self._superblocks.ask(asked) if asked else {}
        ended = frozenset(device for device, lives in answers.items() if not lives)
        self.ended(ended, number + 1)
        return frozenset(identity for identity in absent if identity[0] in ended)

    def resync(self, share: float) -> frozenset[int]:
        """That share of the namespaces, the longest unread first, is to be read again: all at once, or a part later.

        Returns those that the next scan is to read.
        """
        most = math.ceil(share * len(self._order))
        longest = tuple(sorted(self._order, key=self._order.__getitem__)[:most])
        self._stale = () if share >= 1 else longest
        return frozenset(longest) - frozenset(self._stale)

    def _newer(self, absent: Set[Identity], homes: Homes, spaces: MountNamespaces) -> frozenset[Identity]:
        """Those that a home has mounted since the homes were read: the next scan sees both.

        While containers start, every other namespace has a copy of each, and each would be suspected of being a leak.
        """
        newer = frozenset[Identity]() if absent <= self._absent else _at_home_now(absent, homes, spaces)
        self._absent = frozenset(absent - newer)
        return newer


def _not_at_home(spaces: Iterable[SpaceCopies], homes: Homes) -> dict[Identity, Copy]:
    """A copy of each that no home had when it was read: one that is on a spot, if there is one."""
    found: dict[Identity, Copy] = {}
    for copy in (copy for space in spaces for copy in space.beside(homes.identities)):
        known = found.get(copy.mount.identity)
        if known is None or (copy.match and not known.match):
            found[copy.mount.identity] = copy
    return found


def _without(space: SpaceCopies, identities: Set[Identity]) -> SpaceCopies:
    if identities.isdisjoint(space.identities):
        return space
    return SpaceCopies(space.namespace, tuple(space.beside(identities)))


def _at_home_now(asked: Set[Identity], homes: Homes, spaces: MountNamespaces) -> frozenset[Identity]:
    """Those of (device, mnt_root) that a home has mounted at this moment. One that can't be read now has none."""
    needles = {b" %s %s " % key_of(identity): identity for identity in asked}
    found = set[Identity]()

    def search(lines: MountLines) -> None:
        for block in lines.blocks():
            found.update(identity for needle, identity in needles.items() if needle in block)

    for inode in homes.tables:
        with contextlib.suppress(OSError, NoAnswer):
            namespaces.read(inode, spaces.members.get(inode, ()), search, limits=HOME)
    return frozenset(found)
