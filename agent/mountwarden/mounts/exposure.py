"""Which other mounts show a root, and whether home's umounts reach them: leaks before they happen. Pure.

Home is the mount namespace whose view of a root counts. An umount there propagates to the peers and slaves of the mount
that has the mountpoint. A namespace that shows the root by a mount which is neither keeps each copy that it has,
whatever the configuration of its unit or container says. So does home itself, where it shows the root a second time at
another path. An exposure is such a mount.
"""

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..model import Base, Mount, Root, RootState
from .roots import may_hold
from .table import Dentry, Table, below, dentry_of, join


class Relation(enum.StrEnum):
    """How a mount is related to home's mount that has the root."""

    PEER = "peer"
    """In the same peer group: mounts and umounts propagate both ways."""
    SLAVE = "slave"
    """A slave of home's group, or of its slaves: umounts at home reach it."""
    CUT_OFF = "cut-off"
    """Neither: nothing propagates from home to it."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """A mount that shows a root, or a part of it in which its engine mounts, other than home's mount that has it."""

    namespace: int
    """Inode of the namespace that the mount is in."""
    root: Root
    base: Base
    """Home's mount that has that part."""
    mount: Mount
    at: bytes
    """Where that part is in the namespace."""
    part: bytes
    """Path of that part below the root; empty for the whole."""
    relation: Relation
    above: tuple[Mount, ...]
    """The mount, what it is mounted on, and so on up to the namespace's own "/"."""
    copies: int = 0
    """How many copies of what is mounted at home it has."""
    at_home: bool = False
    """It is in home itself, where a copy keeps the engine from removing the mountpoint (EBUSY)."""

    @property
    def on_purpose(self) -> bool:
        """Its engine keeps the root private, and removes each mountpoint itself, which detaches the copies."""
        private = self.root.wants_private and not self.base.mount.shared
        return private and self.root.rmdir_on_put and not self.at_home

    @property
    def kept(self) -> int:
        """How many copies an umount at home does not reach."""
        return self.copies if self.relation is Relation.CUT_OFF else 0

    @property
    def leaks(self) -> int:
        """How many of them are not cut off on purpose."""
        return 0 if self.on_purpose else self.kept


Copies = Mapping[tuple[bytes, int], int]
"""How many copies of live mounts a mount has: by the root's path, and the small id of the mount."""
Propagates = tuple[int, int, int]
"""Peer group, master and propagate_from of a mount."""


@dataclass(frozen=True, slots=True)
class _Showing:
    state: int
    base: int
    mount: Mount
    at: bytes
    part: bytes
    above: tuple[Mount, ...]
    copies: int


class Exposures:
    """Finds the exposures of all roots in one namespace after the other, of which it keeps nothing else."""

    def __init__(self, states: Iterable[RootState] = ()) -> None:
        # Of a root that is the whole host, no single mount shows it.
        self.states = tuple(s for s in states if not all(layout.needs_history for layout in s.root.layout))
        self.devices = frozenset(base.spot.device for state in self.states for base in state.bases)
        """Of the mounts that may be exposures, or by which umounts propagate to one."""
        self._found: dict[int, list[_Showing]] = {}
        self._propagates: set[Propagates] = set()
        self._count = 0

    @property
    def kept(self) -> int:
        """How much is kept, of what the owners of namespaces decide on."""
        return self._count + len(self._propagates)

    def propagate(self, groups: Iterable[Propagates]) -> None:
        """Note how the mounts of a namespace on the `devices` receive umounts."""
        self._propagates.update(one for one in groups if one[1])

    def add(self, inode: int, table: Table, copies: Copies) -> None:
        """Find those of a namespace, instead of any that were found there before.

        `table` has its mounts on the `devices` that show a part of a root, and all that is mounted on the way there:
        what a path leads to is mounted on nothing else.
        """
        self._found[inode] = [
            _Showing(s, b, mount, at, part, tuple(_above(table, mount)), copies.get((state.root.path, mount.id), 0))
            for s, state in enumerate(self.states)
            for b, base in enumerate(state.bases)
            for mount, at, part in _showing(table, state, base)
            if all(mount.id != own.mount.id for own in state.bases)
        ]
        self._count += len(self._found[inode])

    def add_whole(self, inode: int, table: Table) -> None:
        """The same by all mounts of the namespace."""
        self.propagate((m.shared, m.master, m.propagate_from) for m in table.mounts if m.device in self.devices)
        self.add(inode, table, self._copies(table))

    def all(self, order: Iterable[int]) -> tuple[Exposure, ...]:
        """Every exposure of every root, the namespaces in the order of these inodes; others are left out."""
        places = {inode: place for place, inode in enumerate(order)}
        found = [(inode, one) for inode, many in self._found.items() if inode in places for one in many]
        found.sort(key=lambda each: (each[1].state, each[1].base, places[each[0]]))
        below = self._below()
        reached = [[_reached(base.mount, below) for base in state.bases] for state in self.states]
        return tuple(self._exposure(inode, one, reached[one.state][one.base]) for inode, one in found)

    def _exposure(self, inode: int, one: _Showing, reached: set[int]) -> Exposure:
        state = self.states[one.state]
        base, at_home = state.bases[one.base], inode == state.home
        relation = _relation(base.mount, one.mount, reached)
        return Exposure(inode, state.root, base, one.mount, one.at, one.part, relation, one.above, one.copies, at_home)

    def _below(self) -> dict[int, set[int]]:
        """By peer group: the groups to which mounts and umounts go on from it."""
        below: dict[int, set[int]] = {}
        for shared, master, origin in self._propagates:
            if shared:
                below.setdefault(master, set()).add(shared)
            if origin:
                # The namespace has no mount of its master's group, but of one further up: a chain lies in between.
                below.setdefault(origin, set()).add(master)
        return below

    def _copies(self, table: Table) -> Counter[tuple[bytes, int]]:
        """A scan passes over copies that umounts reach, so they are counted in the tables."""
        roots: dict[tuple[Dentry, tuple[str, bytes]], list[bytes]] = {}
        for state in self.states:
            for spot, mounts in state.live.items():
                for identity in {mount.identity for mount in mounts}:
                    roots.setdefault(((spot.device, spot.path), identity), []).append(state.root.path)
        found = Counter[tuple[bytes, int]]()
        for mount in table.mounts:
            parent = table.get(mount.parent)
            dentry = dentry_of(mount, parent) if parent is not None else None
            if dentry is not None:
                found.update((root, mount.parent) for root in roots.get((dentry, mount.identity), ()))
        return found


def _reached(mount: Mount, below: Mapping[int, set[int]]) -> set[int]:
    """The peer groups whose members, and slaves, umounts on `mount` propagate to: see `Graph.receivers`."""
    groups, seen = [mount.shared], {mount.shared}
    while groups:
        further = below.get(groups.pop(), set()) - seen
        groups += further
        seen |= further
    return seen - {0}


def _showing(table: Table, state: RootState, base: Base) -> Iterator[tuple[Mount, bytes, bytes]]:
    """(mount, path there, path below the root) of each mount by which a path leads to spots of the base."""
    for mount in table.mounts:
        place = shown_at(mount, state, base)
        if place is not None and table.containing(place[0]) is mount:
            yield mount, *place


def shown_at(mount: Mount, state: RootState, base: Base) -> tuple[bytes, bytes] | None:
    """(path there, path below the root) where the mount shows spots of the base, if nothing covers them; else None."""
    if mount.device != base.spot.device or mount.root.endswith(b"//deleted"):
        return None
    if (rest := below(mount.root, base.spot.path)) is not None:
        return join(mount.point, rest), base.rel
    if (inner := below(base.spot.path, mount.root)) and _may_hold(state, base, inner):
        return mount.point, join(base.rel, inner) if base.rel else inner
    return None


def _may_hold(state: RootState, base: Base, inner: bytes) -> bool:
    """Whether the engine mounts there on this base, and no other mount of home covers it."""
    rel = join(base.rel, inner) if base.rel else inner
    covered = (other.rel for other in state.bases if len(other.rel) > len(base.rel))
    if any(below(other, rel) is not None for other in covered):
        return False
    return any(may_hold(layout, rel) for layout in state.root.layout)


def _relation(home: Mount, mount: Mount, reached: set[int]) -> Relation:
    if mount.shared not in reached and mount.master not in reached:
        return Relation.CUT_OFF
    return Relation.PEER if mount.shared == home.shared else Relation.SLAVE


def _above(table: Table, mount: Mount) -> Iterator[Mount]:
    seen: set[int] = set()
    while mount.id not in seen:
        yield mount
        seen.add(mount.id)
        parent = table.get(mount.parent)
        if parent is None:
            return
        mount = parent
