"""The homes: the mount namespaces whose view of a root counts. Their mount tables, and the state of each root there."""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import NoAnswer
from ..model import Gap, Mount, Root, RootState
from ..mounts.roots import ANYWHERE, root_state
from ..mounts.table import Table
from ..observe import namespaces
from ..observe.tiers.observer import Observer
from ..observe.tiers.prefilter import LiveAtHome


class Homes:
    """The homes' tables and the roots' states at the last scan.

    A root's home is the namespace of PID 1, or that of its engine where it has one of its own.
    """

    def __init__(self, home: int | None = None) -> None:
        """`home` is the inode of the namespace that counts as PID 1's; None asks for PID 1's own."""
        self._home = home
        self.tables: dict[int, Table] = {}
        self.states: tuple[RootState, ...] = ()
        self.live = LiveAtHome()
        self.identities: frozenset[tuple[str, bytes]] = frozenset()
        """(device, mnt_root) of every mount of every home."""

    def update(
        self, observer: Observer, roots: Iterable[Root], members: Mapping[int, tuple[int, ...]], gaps: list[Gap]
    ) -> bool:
        """Bring the roots' states up to date; True when any home changed since the last scan.

        `members` are the processes of each namespace. What could not be read is added to `gaps`.
        """
        roots = tuple(roots)
        # A root that is the whole host is on no way: what is of interest there is on block devices.
        observer.paths = tuple(sorted(r.path for r in roots if not all(one.pattern == ANYWHERE for one in r.layout)))
        reader = _TableReader(observer, members, gaps)
        states = tuple(self._states_of(roots, reader))
        tables = reader.tables
        changed = (
            tables.keys() != self.tables.keys()
            or any(tables[inode] is not self.tables[inode] for inode in tables)
            or [state.root for state in states] != [state.root for state in self.states]
        )
        self.tables, self.states = tables, states
        if changed:
            self.live = LiveAtHome(states)
            self.identities = frozenset(mount.identity for table in tables.values() for mount in table.mounts)
        for inode in tables:
            observer.guard(inode, _guarded(state for state in states if state.home == inode))
        return changed

    def _states_of(self, roots: Iterable[Root], reader: "_TableReader") -> Iterator[RootState]:
        for root in roots:
            home = self._home_of(root)
            table = reader.table(home)
            if home is not None and table is not None:
                yield self._state(root, table, home)
            elif not all(layout.needs_history for layout in root.layout):  # the whole host: the gap says it
                yield RootState(root, home, None, status="its home could not be read")

    def _home_of(self, root: Root) -> int | None:
        """Inode of the root's home; None where PID 1's is unknown."""
        if root.home is not None:
            return root.home
        return self._home if self._home is not None else namespaces.of_pid1()

    def _state(self, root: Root, table: Table, home: int) -> RootState:
        if self.tables.get(home) is table:
            known = next((state for state in self.states if state.root == root and state.home == home), None)
            if known is not None:
                return known
        return root_state(root, table, home)


@dataclass(slots=True)
class _TableReader:
    """Reads each home's table once in a scan."""

    observer: Observer
    members: Mapping[int, tuple[int, ...]]
    gaps: list[Gap]
    tables: dict[int, Table] = field(default_factory=dict)

    def table(self, home: int | None) -> Table | None:
        """The table of a home; None where it could not be read, which is a gap, or the home has no process."""
        if home is None:
            self.gaps.append(Gap("the mount namespace of PID 1", "it may not be read"))
            return None
        if home not in self.tables and (table := self._read(home)) is not None:
            self.gaps += [Gap("lines of mountinfo", why, home, count) for why, count in table.unreadable.items()]
            self.tables[home] = table
        return self.tables.get(home)

    def _read(self, home: int) -> Table | None:
        try:
            return self.observer.table(home, self.members.get(home, ()))
        except (OSError, NoAnswer) as error:
            self.gaps.append(Gap("the mounts of a home", reason(error), home))
            return None


def _guarded(states: Iterable[RootState]) -> Iterable[Mount]:
    """Home's mounts whose propagation decides what an umount of it reaches."""
    for state in states:
        yield from (state.mount, *(base.mount for base in state.bases)) if state.mount else ()
        yield from state.parents.values()


def reason(error: OSError | NoAnswer) -> str:
    """Why a namespace could not be read, for a gap."""
    if isinstance(error, NoAnswer):
        return error.message
    return errno.errorcode.get(error.errno or 0, "EIO") + ": " + os.strerror(error.errno or errno.EIO)
