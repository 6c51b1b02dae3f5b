"""Which mount namespaces there are, the processes in each, and how one without a process is entered."""

from collections.abc import Container, Iterable, Mapping

from ..errors import NoAnswer
from ..model import UNKNOWN, Door, Gap, Namespace, Owner
from ..mounts.table import Table
from ..observe import entries, living, namespaces, processes, processless
from ..observe.descriptors import Descriptors
from ..observe.ids import of_processes
from ..observe.living import Living
from ..observe.owners import Owners


class MountNamespaces:
    """The mount namespaces of a scan, by inode.

    Threads in another namespace than their process, and namespaces without a process, are searched for in a scan that
    trusts nothing; other scans follow those that are known, and see what a home keeps by a bind mount. One of which no
    process is seen any more stays until its end is proved.
    """

    def __init__(self, only: Container[int] | None = None) -> None:
        """`only`: inodes of the namespaces that are scanned; None: all."""
        self._only = only
        self.members: dict[int, tuple[int, ...]] = {}
        """Processes, or thread ids where only a thread is in it; empty for a namespace without a process."""
        self.doors: dict[int, Door] = {}
        """Ways to enter the namespaces without a process: a bind of its nsfs file, or an open descriptor; and, until
        `end_scan`, those whose processes end before they can be read."""
        self.new: frozenset[int] = frozenset()
        """Inodes of those that were not there at the last scan."""
        self.pids: list[int] = []
        """The processes of the host, as this scan listed them."""
        self.owners: Mapping[int, Owner] = {}
        """Whose each of them is."""
        self._owners = Owners()
        self._threads: tuple[int, ...] = ()
        """Ids of threads in another namespace than their process."""
        self._new = namespaces.NewNamespaces()
        self._read: dict[int, tuple[int, ...]] = {}
        """Namespaces at the last reading of all of them, and their processes then."""
        self._ids: dict[int, int] = {}
        """The 64-bit ids of namespaces, by which their end is seen; none where the walk over all shows it."""
        self._may_walk: bool | None = None
        self._descriptors = Descriptors()
        self._living = Living()
        self._unproved: set[int] = set()
        """Namespaces in which no process was seen, and which are not proved to have ended."""
        self._lent: set[int] = set()
        """Those whose door is for this scan alone."""
        self._tables: Mapping[int, Table] = {}
        self._searched = False
        """Whether the ways into namespaces without a process were searched for once more in this scan."""

    def update(self, *, search: bool) -> tuple[Gap, ...]:
        """List the processes, by namespace; returns what may not be read. With `search`, threads are searched for."""
        self.end_scan()
        self._living, self._searched = Living(), False
        self.pids = processes.pids()
        threads = set(self._threads)
        gaps = self._list(threads=search)
        if not search and any(threads.intersection(self._read[inode]) for inode in self._missing()):
            gaps = self._list(threads=True)
        self._add_newcomers(search=search)
        if self._only is not None:
            self.members = {inode: pids for inode, pids in self.members.items() if inode in self._only}
            self.pids = sorted(pid for pids in self.members.values() for pid in pids)
        if search and not self._living.sees_all:
            gaps += (Gap("mount namespaces of new processes", "they end before they can be asked"),)
        missing = self._missing()
        self._unproved = missing - self._living.ended(missing, self._ids)
        self.members |= {inode: self._read[inode] for inode in self._unproved}
        self._identify()
        return gaps

    def _list(self, *, threads: bool) -> tuple[Gap, ...]:
        found = namespaces.members(self.pids, threads=threads)
        self.members = dict(found.by_inode)
        followed = () if threads else self._threads
        for inode, tids in namespaces.members(followed, threads=False).by_inode.items():
            self._add(inode, tids)
        if threads or followed:
            listed = set(self.pids)
            self._threads = tuple(tid for tids in self.members.values() for tid in tids if tid not in listed)
        return found.gaps

    def _add(self, inode: int, ids: Iterable[int]) -> None:
        self.members[inode] = tuple(sorted({*self.members.get(inode, ()), *ids}))

    def _missing(self) -> set[int]:
        """Namespaces that had a process at the last scan, and have none in this listing."""
        return {inode for inode, pids in self._read.items() if pids and inode not in self.members}

    def _add_newcomers(self, *, search: bool) -> None:
        """Processes, and threads, that were made since the listing began."""
        self._living.newcomers.are_known(number for numbers in self.members.values() for number in numbers)
        for inode, numbers in self._living.newly_seen(self._missing(), search=search).items():
            self._add(inode, numbers)
            self._threads += tuple(numbers)  # the next listing shows which of them are processes

    def _identify(self) -> None:
        """Where there is no walk, the id of a namespace has to be known before its processes have ended."""
        if self._may_walk is None:
            self._may_walk = living.may_walk()
        if self._may_walk:
            return
        if self._are_members_of_before() and self.members.keys() == self._ids.keys():
            return
        known, self._ids = self._ids, {}
        for inode, pids in self.members.items():
            fresh = inode not in known or self._is_another(inode, pids)
            identity = (of_processes(inode, pids) if fresh else None) or known.get(inode)
            if identity is not None:
                self._ids[inode] = identity

    def add_processless(self, tables: Mapping[int, Table], *, search: bool) -> tuple[Gap, ...]:
        """Add the namespaces without a process; returns what could not be asked. `tables` are those of the homes."""
        gaps: tuple[Gap, ...] = ()
        before, self._tables = self._tables, tables
        if search and self._only is None:
            found = processless.unlisted(self.members, tables, self.pids, self._descriptors)
            self.members, self.doors, gaps = self.members | found.members, found.doors, found.gaps
        elif self._only is None and any(table is not before.get(home) for home, table in tables.items()):
            self.doors = processless.binds(self.members, tables) | self.doors
        self.doors = {inode: door for inode, door in self.doors.items() if inode not in self.members}
        self.members |= dict.fromkeys(self.doors, ())
        self.owners = self._owners.of(self.members, self.doors, self._unknown())
        return gaps

    def _unknown(self) -> frozenset[int]:
        """Namespaces that were not there at the last reading, as far as that can be told."""
        if self._are_members_of_before():
            return frozenset()
        return frozenset(
            inode for inode, pids in self.members.items() if inode not in self._read or self._is_another(inode, pids)
        )

    def look_again(self, inode: int) -> Gap | None:
        """Find a way into a namespace of which a reading found no process, or no door.

        If there is one it is in `doors` then; otherwise the namespace has ended. Returns a gap where neither is seen.
        """
        self.doors.pop(inode, None)
        if not self.members.get(inode):
            self._search_doors()
        if inode in self.doors:
            return None
        try:
            door = self._living.way(inode, self._ids.get(inode))
        except NoAnswer as error:
            self._search_doors()
            return None if inode in self.doors else Gap("the mounts of a namespace", error.message, inode)
        if door is not None:
            self.doors[inode] = door
            self._lent.add(inode)
        return None

    def _search_doors(self) -> None:
        """Find the doors again: one was closed, and there may be another. Its gaps are in the scan already."""
        if not self._searched:
            self._searched = True
            inhabited = {inode: pids for inode, pids in self.members.items() if pids and inode not in self._unproved}
            lent = {inode: self.doors[inode] for inode in self._lent if inode in self.doors}
            found = processless.unlisted(inhabited, self._tables, processes.pids(), self._descriptors)
            self.doors = found.doors | lent

    def end_scan(self) -> None:
        """Let go of what was held open for this scan."""
        self._living.close()
        self.doors = {inode: door for inode, door in self.doors.items() if inode not in self._lent}
        self._lent.clear()
        entries.let_go()

    def are_same(self) -> bool:
        """Whether the namespaces are those that were last read, and none of them is to be read once more."""
        same = self.members.keys() == self._read.keys() and not self._unknown()
        return same and not self._unproved and not self._new.due()

    def to_read(self, *, now: bool) -> frozenset[int]:
        """Inodes of the namespaces that were new a moment ago and may have been set up since; with `now` those that
        are new, too; and of those in which no process was seen.

        All but those of the first scan are to be read once more after a moment.
        """
        self.new = new = self._unknown()
        again = self._new.again(new if self._read else (), self.members)
        return again | self._unproved | (new if now or not self._read else frozenset())

    @property
    def due(self) -> float | None:
        """When the next of these is to be read (monotonic clock)."""
        return self._new.next()

    def young(self) -> frozenset[int]:
        """Inodes of those that are to be read after a moment."""
        return self._new.waiting()

    def _is_another(self, inode: int, pids: tuple[int, ...]) -> bool:
        """Inodes of namespaces are reused at once: one without a process of before is taken for another."""
        return bool(pids) and set(pids).isdisjoint(self._read.get(inode, ()))

    def _are_members_of_before(self) -> bool:
        """Whether nothing came or went since the last reading: at most ticks, and then it is told without a loop."""
        return self.members == self._read

    def were_read(self) -> None:
        """All namespaces have been read, or did not need to be."""
        self._read = dict(self.members)

    def facts(self) -> dict[int, Namespace]:
        """The namespaces as facts for the judge."""
        return {
            inode: Namespace(inode, pids, self._ids.get(inode), self.doors.get(inode), self.owners.get(inode, UNKNOWN))
            for inode, pids in self.members.items()
        }
