"""All mounts of all namespaces, and how propagation joins them. Pure.

The rules are the kernel's, in terms of dentries: a mount is a child of its parent at the dentry that it is mounted on
(device and path in the file system), and mounts and umounts on a mount propagate to its peers, to their slaves, and to
those slaves' peers (Documentation/filesystems/sharedsubtree.rst, fs/pnode.c: propagation_next).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..model import Mount
from .table import Dentry, Table, dentry_of


@dataclass(frozen=True, slots=True)
class PlacedMount:
    """A mount, and the namespace (inode) that it is in."""

    namespace: int
    mount: Mount


class Graph:
    """All mounts of all namespaces, by their small ids, no two of which are equal on a host."""

    def __init__(self, tables: Mapping[int, Table]) -> None:
        """`tables` by namespace inode."""
        self.places = {m.id: PlacedMount(inode, m) for inode, table in tables.items() for m in table.mounts}
        self._parents = _parents(self.places)
        self._dentries: dict[int, Dentry | None] = {}
        self._children: dict[int, list[Mount]] = {}
        self._by_dentry: dict[tuple[int, Dentry], Mount] = {}
        self._on: dict[Dentry, list[Mount]] = {}
        self._peers: dict[int, list[Mount]] = {}
        self._slaves: dict[int, list[Mount]] = {}
        self._below_group: dict[int, set[int]] = {}
        for place in self.places.values():
            self._join(place.mount)
            self._hang(place.mount)
        self._copies: dict[tuple[str, bytes], list[PlacedMount]] = {}
        self._bottoms: dict[int, tuple[Mount, int]] = {}
        self._spans: dict[int, tuple[int, int]] = {}

    def _join(self, mount: Mount) -> None:
        if mount.shared:
            self._peers.setdefault(mount.shared, []).append(mount)
        if mount.master:
            self._slaves.setdefault(mount.master, []).append(mount)
            if mount.propagate_from:
                # The namespace has no mount of its master's group, but of one further up: a chain lies in between.
                self._below_group.setdefault(mount.propagate_from, set()).add(mount.master)

    def _hang(self, mount: Mount) -> None:
        parent = self.parent(mount)
        if parent is None:
            return
        self._children.setdefault(parent.id, []).append(mount)
        self._dentries[mount.id] = dentry = dentry_of(mount, parent)
        if dentry is not None:
            self._by_dentry[parent.id, dentry] = mount
            self._on.setdefault(dentry, []).append(mount)

    def of(self, identity: tuple[str, bytes]) -> list[PlacedMount]:
        """All mounts of that (device, mnt_root)."""
        if not self._copies:
            for place in self.places.values():
                self._copies.setdefault(place.mount.identity, []).append(place)
        return self._copies.get(identity, [])

    def parent(self, mount: Mount) -> Mount | None:
        """The mount that this one is mounted on; None for a namespace's root."""
        return self._parents.get(mount.id)

    def dentry(self, mount: Mount) -> Dentry | None:
        """What a mount is mounted on; None for a namespace's root, and where it was deleted."""
        return self._dentries.get(mount.id)

    def children(self, mount: Mount) -> list[Mount]:
        """Mounts whose parent it is."""
        return self._children.get(mount.id, [])

    def subtree(self, mount: Mount) -> Iterator[Mount]:
        """The mount and everything mounted on or below it."""
        pending = [mount]
        while pending:
            found = pending.pop()
            yield found
            pending += self.children(found)

    def is_overmount(self, mount: Mount) -> bool:
        """Whether it is mounted on the root of its parent, and so covers all of it."""
        parent = self.parent(mount)
        return parent is not None and self.dentry(mount) == (parent.device, parent.root)

    def bottom(self, mount: Mount) -> tuple[Mount, int]:
        """The lowest mount of the stack beneath it, and how many mounts that stack has."""
        above: list[Mount] = []
        while mount.id not in self._bottoms:
            parent = self.parent(mount)
            if parent is None or not self.is_overmount(mount):
                self._bottoms[mount.id] = (mount, 0)
            else:
                above.append(mount)
                mount = parent
        bottom, height = self._bottoms[mount.id]
        for one in reversed(above):
            height += 1
            self._bottoms[one.id] = (bottom, height)
        return bottom, height

    def descends(self, mount: Mount, ancestor: Mount) -> bool:
        """Whether it is `ancestor`, or mounted on or below it."""
        if not self._spans:
            self._number()
        return self._spans[ancestor.id][0] <= self._spans[mount.id][0] < self._spans[ancestor.id][1]

    def _number(self) -> None:
        """Number the mounts so that those of a subtree follow each other."""
        order: list[Mount] = []
        for place in self.places.values():
            if self.parent(place.mount) is None:
                order += self.subtree(place.mount)
        sizes = dict.fromkeys(self.places, 1)
        for mount in reversed(order):
            if (parent := self.parent(mount)) is not None:
                sizes[parent.id] += sizes[mount.id]
        self._spans = {mount.id: (at, at + sizes[mount.id]) for at, mount in enumerate(order)}

    def receivers(self, mount: Mount) -> list[Mount]:
        """Where mounts and umounts on `mount` propagate to: its peers, their slaves, those slaves' peers, and so on."""
        if not mount.shared:
            return []
        groups, seen, found = [mount.shared], {mount.shared}, dict[int, Mount]()
        while groups:
            group = groups.pop()
            members = self._peers.get(group, []) + self._slaves.get(group, [])
            for member in members:
                found[member.id] = member
            further = {member.shared for member in members if member.shared} | self._below_group.get(group, set())
            groups += further - seen
            seen |= further
        found.pop(mount.id, None)
        return list(found.values())

    def candidates(self, going: Iterable[Mount]) -> dict[int, Mount]:
        """What the receivers of each going mount's parent have on the same dentry, without the going mounts."""
        going = list(going)
        ids = {mount.id for mount in going}
        found: dict[int, Mount] = {}
        for mount in going:
            parent, dentry = self.parent(mount), self.dentry(mount)
            if parent is None or dentry is None:
                continue
            for receiver in self.receivers(parent):
                child = self._by_dentry.get((receiver.id, dentry))
                if child is not None and child.id not in ids:
                    found[child.id] = child
        return found

    def dentries(self) -> Iterable[Dentry]:
        """Everything that has a mount on it."""
        return self._on.keys()

    def on_dentry(self, dentry: Dentry) -> list[Mount]:
        """Every mount of every namespace that is mounted on that dentry."""
        return self._on.get(dentry, [])


def _parents(places: Mapping[int, PlacedMount]) -> dict[int, Mount]:
    """The parent of each mount, in the same namespace.

    Namespaces are read one after the other, and small ids are reused: a mount may seem to have a parent that it does
    not have, and such parents may even form a circle, which is cut.
    """
    parents = {
        identity: places[place.mount.parent].mount
        for identity, place in places.items()
        if place.mount.parent in places and places[place.mount.parent].namespace == place.namespace
    }
    safe = set[int]()
    for start in list(parents):
        path: dict[int, None] = {}
        at = start
        while at in parents and at not in safe and at not in path:
            path[at] = None
            at = parents[at].id
        if at in path:
            del parents[at]
        safe.update(path)
    return parents
