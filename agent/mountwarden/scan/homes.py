"""The homes: the mount namespaces whose view of a root counts. Their mount tables, and the state of each root there."""

import errno
import operator
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import NoAnswer
from ..model import Gap, Mount, Root, RootState, Spot
from ..mounts.home_changes import HomeChange, state_after
from ..mounts.roots import ANYWHERE, root_state
from ..mounts.table import Table
from ..observe import namespaces
from ..observe.tiers.live_at_home import LiveAtHome
from ..observe.tiers.observer import Observer
from .history import HomeMount
from .home_readings import LiveChange


class Homes:
    """The homes' tables and the roots' states at the last scan.

    A root's home is the namespace of PID 1, or that of its engine where it has one of its own.
    """

    def __init__(self, home: int | None = None) -> None:
        """`home` is the inode of the namespace that counts as PID 1's; None asks for PID 1's own."""
        self._home = home
        self.tables: dict[int, Table] = {}
        self.states: tuple[RootState, ...] = ()
        self._live: LiveAtHome | None = None
        self._live_before: LiveAtHome | None = None
        self.identities: frozenset[tuple[str, bytes]] = frozenset()
        """(device, mnt_root) of every mount of every home."""
        self.change = LiveChange()
        """What the last update found otherwise than the one before, on spots of the roots."""
        self.new_devices: frozenset[str] = frozenset()
        """Devices of what a home has mounted since the update before, and no home had then."""
        self.is_moved = False
        """Whether the mounts that hold a root are others than before, or are shared otherwise."""
        self.devices = Counter[str]()
        """How many mounts of homes there are on each device."""
        self._identities = Counter[tuple[str, bytes]]()
        self._roots: tuple[Root, ...] = ()
        self._read_at = float("-inf")
        self._members: Mapping[int, tuple[int, ...]] = {}
        self._changes: dict[int, tuple[Table, Table, HomeChange]] = {}

    def update(
        self, observer: Observer, roots: Iterable[Root], members: Mapping[int, tuple[int, ...]], gaps: list[Gap]
    ) -> bool:
        """Bring the roots' states up to date; True when any home changed since the last scan.

        `members` are the processes of each namespace. What could not be read is added to `gaps`.
        """
        roots = self._roots = tuple(roots)
        self._read_at = time.monotonic()
        self._members = members
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
        self.change, self.is_moved = _live_change(self.states, states), _holders(self.states) != _holders(states)
        self.new_devices = self._count(tables)
        self.tables, self.states = tables, states
        self._changes.clear()
        if changed:
            self._live, self._live_before = None, self._live or self._live_before
            self.identities = frozenset(self._identities)
        for inode in tables:
            observer.guard(inode, _guarded(state for state in states if state.home == inode))
        return changed

    @property
    def live(self) -> LiveAtHome:
        """What the homes have mounted on which spots; the same object while nothing changed."""
        if self._live is None:
            self._live, self._live_before = LiveAtHome(self.states, self._live_before), None
        return self._live

    def is_of(self, roots: Iterable[Root], since: float) -> bool:
        """Whether the last update was of these roots, and not before that time (monotonic clock)."""
        return self._read_at >= since and self._roots == tuple(roots)

    def again(self, observer: Observer) -> bool:
        """The same for the roots and processes of the last update: True when any home changed since."""
        return self.update(observer, self._roots, self._members, [])

    def _count(self, tables: Mapping[int, Table]) -> frozenset[str]:
        """Count what the tables have, and return the devices that are new."""
        nothing, known = Table(()), frozenset[str]()
        for home in tables.keys() | self.tables.keys():
            before, now = self.tables.get(home, nothing), tables.get(home, nothing)
            if before is not now:
                change = self._change(home, before, now)
                known |= {mount.device for mount in change.added if mount.device not in self.devices}
                for counter, of in ((self.devices, _device), (self._identities, _identity)):
                    _add(counter, map(of, change.added), map(of, change.removed))
        return known

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
        known = next((state for state in self.states if state.root == root and state.home == home), None)
        before = self.tables.get(home)
        if known is None or before is None:
            return root_state(root, table, home)
        return known if before is table else state_after(known, table, self._change(home, before, table))

    def _change(self, home: int, before: Table, now: Table) -> HomeChange:
        """Between two tables of a home, found once for all roots."""
        known = self._changes.get(home)
        if known is None or known[:2] != (before, now):
            known = self._changes[home] = before, now, HomeChange.between(before, now)
        return known[2]


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


def _live_change(before: Iterable[RootState], now: Iterable[RootState]) -> LiveChange:
    """What came and went on the spots of the roots."""
    old = {(state.root.path, state.home): state for state in before if state.mount is not None}
    new = {(state.root.path, state.home): state for state in now if state.mount is not None}
    went, came = list[HomeMount](), list[HomeMount]()
    for place, state in new.items():
        known = old.get(place)
        if known is not state:
            left, here = _on_spots(known), _on_spots(state)
            went += (_home_mount(known, *left[one]) for one in left.keys() - here.keys()) if known else ()
            came += (_home_mount(state, *here[one]) for one in here.keys() - left.keys())
    return LiveChange(tuple(went), tuple(came), frozenset(old.keys() - new.keys()))


def _on_spots(state: RootState | None) -> dict[int, tuple[Spot, Mount]]:
    """By id(): a mount is the same object in two tables where it is the same."""
    if state is None:
        return {}
    return {id(mount): (spot, mount) for spot, mounts in state.live.items() for mount in mounts}


def _home_mount(state: RootState, spot: Spot, mount: Mount) -> HomeMount:
    return HomeMount(state.matches[spot], mount, frozenset({mount.id}), state.home)


_device, _identity = operator.attrgetter("device"), operator.attrgetter("identity")


def _add(counter: Counter[Any], more: Iterable[object], less: Iterable[object]) -> None:
    """Count on; what there is none of is not in it."""
    counter.update(more)
    for one in less:
        counter[one] -= 1
        if not counter[one]:
            del counter[one]


def _holders(states: Iterable[RootState]) -> list[tuple[object, ...]]:
    """Of each root, its home, and the mounts that hold it."""
    return [(state.root, state.home, state.mount, state.bases) for state in states]


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
