"""Sharing groups over all namespaces, and what an umount or a detach would take away. Pure.

The rules are the kernel's, in terms of dentries: a mount is a child of its parent at the dentry that it is mounted on
(device and path in the file system), and umount propagation follows the *parent's* peers and slaves
(Documentation/filesystems/sharedsubtree.rst, fs/pnode.c). What a set of propagated umounts may hold is written down in
Documentation/filesystems/propagate_umount.txt (Linux 6.17):

- it is non-shifting: what is mounted strictly inside one of its mounts goes with it, whole;
- it is non-revealing: a locked mount goes only with its parent;
- a mount on the very root of one that goes (an overmount) slides down to where the bottom of the stack was.

Up to Linux 6.16 an overmount did not count as "mounted inside" for the mounts further out (fs/pnode.c:
__propagate_umount), so that more was taken. `Behaviour` says which of the two a kernel has; probe it, by trying.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .model import Mount
from .observe.mountinfo import Table, below, join

Dentry = tuple[str, bytes]


class Behaviour(enum.Enum):
    """Whether an overmount that stays keeps the mounts around it, or slides down through them."""

    KEEPS = "overmounts keep what they are inside of (Linux 6.17)"
    SLIDES = "overmounts slide down (Linux 4.13 to 6.16)"


class Answer(enum.StrEnum):
    """What umount(2) would say."""

    OK = "ok"
    BUSY = "busy"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Place:
    """A mount, and the namespace that it is in."""

    namespace: int
    mount: Mount


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an umount would do: its answer, because of which mounts, and which mounts would go or stay."""

    answer: Answer
    because: tuple[Place, ...] = ()
    """Mounts that make it busy: the mount itself, its children, or a busy copy that propagation reaches."""
    removed: frozenset[int] = field(default_factory=frozenset)
    """Small ids of all mounts that go, the umounted tree among them."""
    left: tuple[Place, ...] = ()
    """Copies of what was umounted that stay."""


class Graph:
    """All mounts of all namespaces, by their small ids, which are unique on a host."""

    def __init__(self, tables: Mapping[int, Table], locked: Iterable[int] = ()) -> None:
        """`locked` has the ids of mounts with MNT_LOCKED, which no interface of the kernel shows."""
        self.places = {m.id: Place(inode, m) for inode, table in tables.items() for m in table.mounts}
        self.locked = frozenset(locked)
        self._children: dict[int, list[Mount]] = {}
        self._by_dentry: dict[tuple[int, Dentry], Mount] = {}
        self._on: dict[Dentry, list[Mount]] = {}
        self._peers: dict[int, list[Mount]] = {}
        self._slaves: dict[int, list[Mount]] = {}
        self._below_group: dict[int, set[int]] = {}
        for place in self.places.values():
            self._add(place)

    def _add(self, place: Place) -> None:
        mount = place.mount
        if mount.shared:
            self._peers.setdefault(mount.shared, []).append(mount)
        if mount.master:
            self._slaves.setdefault(mount.master, []).append(mount)
            if mount.propagate_from:
                # The reader sees no member of its master's group, but one further up: there is a chain in between.
                self._below_group.setdefault(mount.propagate_from, set()).add(mount.master)
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

    def children(self, mount: Mount) -> list[Mount]:
        """Mounts whose parent it is."""
        return self._children.get(mount.id, [])

    def subtree(self, mount: Mount) -> Iterable[Mount]:
        """The mount and everything mounted on or below it."""
        pending = [mount]
        while pending:
            found = pending.pop()
            yield found
            pending += self.children(found)

    def is_overmount(self, mount: Mount, parent: Mount) -> bool:
        """Whether it covers its parent whole."""
        return dentry_of(mount, parent) == (parent.device, parent.root)

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
        """For each mount that goes, what the receivers of its parent have on the same dentry."""
        going = list(going)
        ids = {mount.id for mount in going}
        found: dict[int, Mount] = {}
        for mount in going:
            parent = self.parent(mount)
            dentry = dentry_of(mount, parent) if parent is not None else None
            if parent is None or dentry is None:
                continue
            for receiver in self.receivers(parent):
                child = self._by_dentry.get((receiver.id, dentry))
                if child is not None and child.id not in ids:
                    found[child.id] = child
        return found

    def on_dentry(self, dentry: Dentry) -> list[Mount]:
        """Every mount of every namespace that is mounted on that dentry."""
        return self._on.get(dentry, [])


def dentry_of(mount: Mount, parent: Mount) -> Dentry | None:
    """What a mount is mounted on, its parent's root included; None where it was deleted or can't be told."""
    if mount.point.endswith(b"//deleted") or parent.root.endswith(b"//deleted"):
        return None
    rest = below(parent.point, mount.point)
    return None if rest is None else (parent.device, join(parent.root, rest))


def predict_umount(graph: Graph, mount: Mount, *, lazy: bool, busy: frozenset[int], behaviour: Behaviour) -> Prediction:
    """What umount(2) of `mount` in its namespace would do; with `lazy`, MNT_DETACH.

    `busy` has the ids of mounts that a process holds (working directory, root, open file).
    """
    if mount.id in graph.locked:
        return Prediction(Answer.LOCKED, (graph.places[mount.id],))
    if not lazy:
        because = _busy(graph, mount, busy)
        if because:
            return Prediction(Answer.BUSY, tuple(graph.places[m.id] for m in because))
    going = list(graph.subtree(mount)) if lazy else [mount]
    removed = _propagate(graph, mount, going, behaviour)
    return Prediction(Answer.OK, removed=removed, left=_left(graph, going, removed))


def predict_detach(graph: Graph, dentry: Dentry) -> frozenset[int]:
    """Ids of the mounts that go when the dentry's directory is removed or replaced: each one on it, whole.

    There is no propagation and no lock (fs/namespace.c: __detach_mounts).
    """
    return frozenset(m.id for mount in graph.on_dentry(dentry) for m in graph.subtree(mount))


def _busy(graph: Graph, mount: Mount, busy: frozenset[int]) -> list[Mount]:
    """propagate_mount_busy(): the mount's children or users, or users of a copy that has no children of its own.

    A copy that an exact overmount covers counts as childless: it could be pulled out from under it.
    """
    if graph.children(mount):
        return graph.children(mount)
    if mount.id in busy:
        return [mount]
    found = []
    for copy in graph.candidates([mount]).values():
        children = graph.children(copy)
        covered = len(children) == 1 and graph.is_overmount(children[0], copy)
        if copy.id in busy and (not children or covered):
            found.append(copy)
    return found


def _propagate(graph: Graph, top: Mount, going: list[Mount], behaviour: Behaviour) -> frozenset[int]:
    """The ids of all that goes: the largest set of candidates that is non-shifting and non-revealing."""
    sure = {mount.id for mount in going}
    chosen = graph.candidates(going)
    # umount_tree() unlocks the copies of the tree's top (propagate_mount_unlock), so that only inner ones are locked.
    unlocked = set(graph.candidates([top]))
    while drop := _shifting(graph, chosen, sure, behaviour):
        for identity in drop:
            del chosen[identity]
    while drop := {
        identity
        for identity, mount in chosen.items()
        if identity in graph.locked and identity not in unlocked and mount.parent not in chosen.keys() | sure
    }:
        for identity in drop:
            del chosen[identity]
    return frozenset(sure | chosen.keys())


def _shifting(graph: Graph, chosen: dict[int, Mount], sure: set[int], behaviour: Behaviour) -> set[int]:
    """Candidates with something strictly inside them that stays."""
    goes = chosen.keys() | sure
    drop = set()
    for identity, mount in chosen.items():
        for child in graph.children(mount):
            if graph.is_overmount(child, mount):
                continue
            inside = graph.subtree(child) if behaviour is Behaviour.KEEPS else (child,)
            if any(other.id not in goes for other in inside):
                drop.add(identity)
                break
    return drop


def _left(graph: Graph, going: list[Mount], removed: frozenset[int]) -> tuple[Place, ...]:
    """Copies that stay: mounts of the same file system and root, or on the same dentry with the same file system."""
    identities = {mount.identity for mount in going}
    return tuple(
        place
        for identity, place in sorted(graph.places.items())
        if place.mount.identity in identities and identity not in removed
    )
