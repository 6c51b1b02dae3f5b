"""Which other mounts show a root, and whether home's umounts reach them: leaks before they happen. Pure.

Home is the mount namespace whose view of a root counts. An umount there propagates to the peers and slaves of the mount
that has the mountpoint. A namespace that shows the root by a mount which is neither keeps each copy that it has,
whatever the configuration of its unit or container says. So does home itself, where it shows the root a second time at
another path. An exposure is such a mount.
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..model import Base, Mount, Picture, Root, RootState
from .graph import Graph
from .roots import may_hold
from .table import Table, below, join


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


def exposures(picture: Picture, tables: Mapping[int, Table]) -> tuple[Exposure, ...]:
    """Every exposure of every root in the namespaces of `tables` (by inode)."""
    graph = Graph(tables)
    copies = _copies_by_parent(picture, graph)
    found: list[Exposure] = []
    for state in picture.roots:
        if all(layout.needs_history for layout in state.root.layout):
            continue  # the whole host: no single mount shows it
        for base in state.bases:
            reached = {mount.id for mount in graph.receivers(base.mount)}
            for inode, table in tables.items():
                found += _of_namespace(inode, table, state, base, reached, copies)
    return tuple(found)


def _of_namespace(
    inode: int,
    table: Table,
    state: RootState,
    base: Base,
    reached: set[int],
    copies: Mapping[tuple[int, bytes, int], int],
) -> Iterator[Exposure]:
    own = {other.mount.id for other in state.bases}
    for mount, at, part in _showing(table, state, base):
        if mount.id in own:
            continue
        key = (inode, state.root.path, mount.id)
        relation = _relation(base.mount, mount, reached)
        above = tuple(_above(table, mount))
        at_home = inode == state.home
        yield Exposure(inode, state.root, base, mount, at, part, relation, above, copies.get(key, 0), at_home)


def _showing(table: Table, state: RootState, base: Base) -> Iterator[tuple[Mount, bytes, bytes]]:
    """(mount, path there, path below the root) of each mount by which a path leads to spots of the base."""
    for mount in table.mounts:
        if mount.device != base.spot.device or mount.root.endswith(b"//deleted"):
            continue
        if (rest := below(mount.root, base.spot.path)) is not None:
            at, part = join(mount.point, rest), base.rel
        elif (inner := below(base.spot.path, mount.root)) and _may_hold(state, base, inner):
            at, part = mount.point, join(base.rel, inner) if base.rel else inner
        else:
            continue
        if table.containing(at) is mount:
            yield mount, at, part


def _may_hold(state: RootState, base: Base, inner: bytes) -> bool:
    """Whether the engine mounts there on this base, and no other mount of home covers it."""
    rel = join(base.rel, inner) if base.rel else inner
    covered = (other.rel for other in state.bases if len(other.rel) > len(base.rel))
    if any(below(other, rel) is not None for other in covered):
        return False
    return any(may_hold(layout, rel) for layout in state.root.layout)


def _relation(home: Mount, mount: Mount, reached: set[int]) -> Relation:
    if mount.id not in reached:
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


def _copies_by_parent(picture: Picture, graph: Graph) -> dict[tuple[int, bytes, int], int]:
    """How many copies of live mounts there are, by namespace, root and the mount that holds them.

    A scan passes over copies that umounts reach, so they are counted in the tables.
    """
    found: dict[tuple[int, bytes, int], int] = {}
    for state in picture.roots:
        for spot, mounts in state.live.items():
            identities = {mount.identity for mount in mounts}
            for copy in graph.on_dentry((spot.device, spot.path)):
                inode = graph.places[copy.id].namespace
                if copy.identity in identities:
                    key = (inode, state.root.path, copy.parent)
                    found[key] = found.get(key, 0) + 1
    return found
