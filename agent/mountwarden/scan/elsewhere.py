"""All namespaces that are no home: which of them are read again, and the copies of the homes' mounts in them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import NoAnswer
from ..model import Copy, Gap
from ..mounts.roots import Spots, copies_at_home, copies_elsewhere, identities
from ..mounts.table import Table
from ..observe import namespaces
from ..observe.tiers.mountinfo import needles
from ..observe.tiers.observer import Observer
from ..observe.tiers.prefilter import ReachedCopies, Reading
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
    """Inodes of the namespaces that could not be read."""
    gaps: list[Gap] = field(default_factory=list)


class Elsewhere:
    """Reads the other namespaces, and remembers what decides which of them the next scan reads again."""

    def __init__(self) -> None:
        self.suspects: frozenset[int] = frozenset()
        """Inodes of the namespaces in which the last scan found something: they are read at each scan."""
        self._needles: tuple[bytes, ...] = ()
        """Strings by which the last readings were filtered."""
        self._absent: frozenset[tuple[str, bytes]] = frozenset()
        """(device, mnt_root) of the last scan's copies of what no home had, a second reading of the homes included."""

    def scan(
        self, observer: Observer, spaces: MountNamespaces, homes: Homes, history: History, *, reread: bool
    ) -> FoundElsewhere:
        """Read the namespaces that may have changed, with `reread` all; what was read before stands for the others."""
        strings = needles((layout for s in homes.states for layout in s.root.layout), history.volumes(homes.states))
        reread, self._needles = reread or strings != self._needles, strings
        again = self.suspects | spaces.to_read()
        found = FoundElsewhere(sum(len(table.mounts) for table in homes.tables.values()))
        reader = _Reader(observer, spaces, homes, strings, found)
        spots, watched = Spots(homes.states), history.watched() | identities(homes.states)
        for inode, pids in spaces.members.items():
            if inode in homes.tables:
                continue
            reading = reader.current(inode, pids, again=reread or inode in again)
            if reading is not None:
                reader.take(inode, reading)
                found.copies += copies_elsewhere(inode, reading.candidates, spots, watched)
        for inode, table in homes.tables.items():  # a home of one root may hold copies of another's
            found.copies += copies_at_home(inode, table, homes.states, spots, watched)
        observer.forget(spaces.members)
        observer.end_scan()
        spaces.were_read()
        found.copies = self._without_newer(found.copies, homes, spaces)
        return found

    def _without_newer(self, copies: list[Copy], homes: Homes, spaces: MountNamespaces) -> list[Copy]:
        """Without copies of what a home has mounted since the homes were read: the next scan sees both.

        While containers start, every other namespace has a copy of each, and each would be suspected of being a leak.
        """
        absent = {copy.mount.identity for copy in copies if copy.match and copy.mount.identity not in homes.identities}
        if not absent <= self._absent:
            newer = absent & frozenset(_identities_now(homes, spaces))
            copies = [copy for copy in copies if copy.mount.identity not in newer]
            absent -= newer
        self._absent = frozenset(absent)
        return copies


def _identities_now(homes: Homes, spaces: MountNamespaces) -> Iterator[tuple[str, bytes]]:
    """(device, mnt_root) of what the homes have mounted at this moment. One that can't be read now adds nothing."""
    for inode in homes.tables:
        try:
            text = namespaces.read_mountinfo(inode, spaces.members.get(inode, ()))
        except (OSError, NoAnswer):
            continue
        yield from (mount.identity for mount in Table.from_text(text or b"").mounts)


@dataclass(slots=True)
class _Reader:
    """Reads namespaces in one scan."""

    observer: Observer
    spaces: MountNamespaces
    homes: Homes
    needles: tuple[bytes, ...]
    found: FoundElsewhere
    searched: bool = False
    """Whether the ways into namespaces without a process were searched for in this scan."""

    def current(self, inode: int, pids: tuple[int, ...], *, again: bool) -> Reading | None:
        """What is mounted in a namespace, read now if it may have changed; None where it is gone or can't be read."""
        reading = self.observer.seen(inode)
        if reading is None or again or self.observer.changed(inode, pids):
            reading = self._read(inode, pids)
        if reading is None and inode in self.spaces.doors and inode not in self.found.unread:
            self._search_doors()
            reading = self._read(inode, ()) if inode in self.spaces.doors else None
        return reading

    def _read(self, inode: int, pids: tuple[int, ...]) -> Reading | None:
        try:
            return self.observer.read(inode, pids, self.needles, self.homes.live)
        except (OSError, NoAnswer) as error:
            self.found.unread.add(inode)
            self.found.gaps.append(Gap("the mounts of a namespace", reason(error), inode))
            return None

    def _search_doors(self) -> None:
        if not self.searched:
            self.spaces.search_doors(self.homes.tables)
            self.observer.doors = self.spaces.doors
            self.searched = True

    def take(self, inode: int, reading: Reading) -> None:
        """Count a namespace's mounts, and note which copies are reached and which lines could not be read."""
        self.found.mounts += reading.mounts
        self.found.reached.append(reading.reached)
        self.found.gaps += [Gap("lines of mountinfo", why, inode, count) for why, count in reading.unreadable]
