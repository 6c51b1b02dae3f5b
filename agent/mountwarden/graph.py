"""All mounts of all namespaces, and how propagation joins them. Pure.

The rules are the kernel's, in terms of dentries: a mount is a child of its parent at the dentry that it is mounted on
(device and path in the file system), and what happens on a mount happens on its peers, on their slaves, and on those
slaves' peers (Documentation/filesystems/sharedsubtree.rst, fs/pnode.c: propagation_next).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .model import Mount
from .observe.mountinfo import Table, below, join

Dentry = tuple[str, bytes]
"""A directory or file as the kernel knows it: device, and path in the file system."""


@dataclass(frozen=True, slots=True)
class Place:
    """A mount, and the namespace (inode) that it is in."""

    namespace: int
    mount: Mount


class Graph:
    """All mounts of all namespaces, by their small ids, which are unique on a host."""

    def __init__(self, tables: Mapping[int, Table], locked: Iterable[int] = ()) -> None:
        """`tables` by namespace inode; `locked` has the ids of mounts with MNT_LOCKED (see `locked.locked_mounts`)."""
        self.places = {m.id: Place(inode, m) for inode, table in tables.items() for m in table.mounts}
        self.locked = frozenset(locked)
        self._children: dict[int, list[Mount]] = {}
        self._by_dentry: dict[tuple[int, Dentry], Mount] = {}
        self._on: dict[Dentry, list[Mount]] = {}
        self._peers: dict[int, list[Mount]] = {}
        self._slaves: dict[int, list[Mount]] = {}
        self._below_group: dict[int, set[int]] = {}
        for place in self.places.values():
            self._join(place.mount)
            self._hang(place.mount)

    def _join(self, mount: Mount) -> None:
        if mount.shared:
            self._peers.setdefault(mount.shared, []).append(mount)
        if mount.master:
            self._slaves.setdefault(mount.master, []).append(mount)
            if mount.propagate_from:
                # The namespace has no member of its master's group, but one further up: there is a chain in between.
                self._below_group.setdefault(mount.propagate_from, set()).add(mount.master)

    def _hang(self, mount: Mount) -> None:
        parent = self.parent(mount)
        if parent is None:
            return
        self._children.setdefault(parent.id, []).append(mount)
        dentry = dentry_of(mount, parent)
        if dentry is not None:
            self._by_dentry[parent.id, dentry] = mount
            self._on.setdefault(dentry, []).append(mount)

    def parent(self, mount: Mount) -> Mount | None:
        """The mount that this one is mounted on; None for a namespace's root."""
        place = self.places.get(mount.parent)
        return place.mount if place is not None and mount.parent != mount.id else None

    def dentry(self, mount: Mount) -> Dentry | None:
        """What a mount is mounted on; None for a namespace's root, and where it was deleted."""
        parent = self.parent(mount)
        return None if parent is None else dentry_of(mount, parent)

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
        """Whether it covers its parent whole."""
        parent = self.parent(mount)
        return parent is not None and dentry_of(mount, parent) == (parent.device, parent.root)

    def receivers(self, mount: Mount) -> list[Mount]:
        """Mounts that get what happens on `mount`: its peers, their slaves, those slaves' peers, and so on down."""
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
        """What the receivers of each going mount's *parent* have on the same dentry, without what goes anyway."""
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


def dentry_of(mount: Mount, parent: Mount) -> Dentry | None:
    """What a mount is mounted on, its parent's root included; None where it was deleted or can't be told."""
    if mount.point.endswith(b"//deleted") or parent.root.endswith(b"//deleted"):
        return None
    rest = below(parent.point, mount.point)
    return None if rest is None else (parent.device, join(parent.root, rest))
