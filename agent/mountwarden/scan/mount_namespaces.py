"""Which mount namespaces there are, the processes in each, and how one without a process is entered."""

from collections.abc import Mapping, Sequence

from ..model import UNKNOWN, Door, Gap, Namespace, Owner
from ..mounts.table import Table
from ..observe import namespaces, processes, processless
from ..observe.owners import Owners


class MountNamespaces:
    """The mount namespaces of a scan, by inode.

    Threads in another namespace than their process, and namespaces without a process, are searched for in a scan that
    trusts nothing; other scans follow those that are known.
    """

    def __init__(self) -> None:
        self.members: dict[int, tuple[int, ...]] = {}
        """Processes, or thread ids where only a thread is in it; empty for a namespace without a process."""
        self.doors: dict[int, Door] = {}
        """Ways to enter the namespaces without a process: a bind of its nsfs file, or an open descriptor."""
        self.owners: Mapping[int, Owner] = {}
        """Whose each of them is."""
        self._owners = Owners()
        self._threads: tuple[int, ...] = ()
        """Ids of threads in another namespace than their process."""
        self._new = namespaces.NewNamespaces()
        self._read: dict[int, frozenset[int]] = {}
        """Namespaces at the last reading of all of them, and their processes then."""

    def update(self, pids: Sequence[int], *, search: bool) -> tuple[Gap, ...]:
        """Group the processes by namespace; returns what may not be read. With `search`, threads are searched for."""
        found = namespaces.members(pids, threads=search)
        self.members = dict(found.by_inode)
        if search:
            known = set(pids)
            self._threads = tuple(tid for tids in self.members.values() for tid in tids if tid not in known)
        else:
            self._add_threads()
        return found.gaps

    def _add_threads(self) -> None:
        for inode, tids in namespaces.members(self._threads, threads=False).by_inode.items():
            self.members[inode] = tuple(sorted({*self.members.get(inode, ()), *tids}))

    def add_processless(self, tables: Mapping[int, Table], pids: Sequence[int], *, search: bool) -> tuple[Gap, ...]:
        """Add the namespaces without a process; returns what could not be asked. `tables` are those of the homes."""
        gaps: tuple[Gap, ...] = ()
        if search:
            self.doors, gaps = processless.doors(self.members, tables, pids)
        self.doors = {inode: door for inode, door in self.doors.items() if inode not in self.members}
        self.members |= dict.fromkeys(self.doors, ())
        return gaps

    def search_doors(self, tables: Mapping[int, Table]) -> None:
        """Find the doors again: one was closed, and there may be another. Its gaps are in the scan already."""
        inhabited = {inode: pids for inode, pids in self.members.items() if pids}
        self.doors, _gaps = processless.doors(inhabited, tables, processes.pids())

    def are_same(self) -> bool:
        """Whether the namespaces are those that were last read, and none of them is to be read once more."""
        return (
            self.members.keys() == self._read.keys()
            and not any(self._is_another(*each) for each in self.members.items())
            and not self._new.due()
        )

    def to_read(self) -> frozenset[int]:
        """Inodes of the namespaces that are new, or were new a moment ago and may have been set up since.

        All but those of the first scan are to be read once more after a moment.
        """
        new = frozenset(
            inode for inode, pids in self.members.items() if inode not in self._read or self._is_another(inode, pids)
        )
        self.owners = self._owners.of(self.members, self.doors, new)
        return new | self._new.again(new if self._read else (), self.members)

    def _is_another(self, inode: int, pids: tuple[int, ...]) -> bool:
        """Inodes of namespaces are reused at once: one without a process of before is taken for another."""
        return bool(pids) and self._read.get(inode, frozenset()).isdisjoint(pids)

    def were_read(self) -> None:
        """All namespaces have been read, or did not need to be."""
        self._read = {inode: frozenset(pids) for inode, pids in self.members.items()}

    def facts(self) -> dict[int, Namespace]:
        """The namespaces as facts for the judge."""
        return {
            inode: Namespace(inode, pids, door=self.doors.get(inode), owner=self.owners.get(inode, UNKNOWN))
            for inode, pids in self.members.items()
        }
