"""Which mounts are locked (MNT_LOCKED): inferred, since no interface of the kernel shows it. Pure.

The kernel locks a mount in two places (fs/namespace.c: lock_mnt_tree), both for a tree that is copied across user
namespaces: when a namespace is copied from one with another owner (copy_mnt_ns), and when a tree of several mounts
propagates into a namespace with another owner than that where it was mounted (attach_recursive_mnt). In both, all but
the tree's top are locked. A copy within one user namespace takes the locks along (clone_mnt). So a mount is locked
where it came *together with its parent*, in one copy of a tree that another owner had, or that was locked before.

What came together can be known from unique ids (Linux 6.8), which are handed out one after the other: copy_tree() takes
a parent, then its children with all that is below them. So nothing but descendants of the parent was made between
the two. What it was copied from is older, and has the same on the same dentry. Where nothing such is left to be seen,
but something of the same copy is younger, it is part of that; else it is taken for the namespace's own, not locked.
What can't be known: whether the very last mounts of a copy came with it, where their origin is gone; and that a process
of the host copied a container's namespace for itself (setns, then unshare): its mounts are taken for the host's copies.
"""

from collections.abc import Iterable, Mapping

from ..model import Mount
from ..mounts.graph import Graph, PlacedMount
from .copy_sources import MOST, Copies
from .mount_ages import Ages


def locked_mounts(graph: Graph, owners: Mapping[int, int], mounts: Iterable[int]) -> frozenset[int]:
    """Which of these mounts (small ids) are locked.

    `owners` has the inode of the user namespace that owns each mount namespace (ioctl_ns(2): NS_GET_USERNS). Where
    the kernel has no unique ids, what another owner's namespace has on the same dentry, too, counts as locked.
    """
    if len({owners.get(place.namespace) for place in graph.places.values()}) < 2:
        return frozenset()
    locks = _Locks(graph, owners)
    return frozenset(identity for identity in mounts if locks.is_locked(graph.places[identity]))


class _Locks:
    def __init__(self, graph: Graph, owners: Mapping[int, int]) -> None:
        self._graph = graph
        self._owners = {place.namespace: owners.get(place.namespace) for place in graph.places.values()}
        self._ages = Ages(graph)
        self._copies = Copies(graph, self._ages, self._owners)
        self._known: dict[int, bool] = {}
        self._until: dict[int, int] = {}
        self._origins: dict[int, PlacedMount | None] = {}
        self._rows: dict[int, frozenset[int]] = {}
        self._first_root: dict[int | None, Mount] = {}
        """The oldest namespace of each owner, by its root: it was copied from another owner's."""
        for place in self._ages.places:
            if graph.parent(place.mount) is None:
                self._first_root.setdefault(self._owner(place), place.mount)

    def is_locked(self, place: PlacedMount) -> bool:
        """Asked of a mount and, for that, of older ones that it may have been copied from."""
        if place.mount.id not in self._known:
            self._known[place.mount.id] = self._find_out(place)
        return self._known[place.mount.id]

    def _find_out(self, place: PlacedMount) -> bool:
        tops = [place.mount]
        while (parent := self._came_with(tops[-1])) is not None:
            tops.append(parent)
        if len(tops) == 1:
            return False
        if self._graph.parent(tops[-1]) is None:
            return self._locked_with_namespace(place, tops[-1])
        # What is a copy of nothing was mounted here: right after the rest, but not with it.
        own = (top for top in tops[1:-1] if not self._copies.sources(self._graph.places[top.id], top))
        return self._locked_with_tree(place, next(own, tops[-1]))

    def _came_with(self, mount: Mount) -> Mount | None:
        return None if self._came_later(mount) else self._ages.came_with(mount)

    def _came_later(self, mount: Mount) -> bool:
        """Whether it is of one propagation with what follows it on the same dentry, and that is not of the copy."""
        namespace = self._namespace(mount)
        for _ in range(MOST):
            other = self._ages.next(mount)
            if other is None or not self._are_alike(mount, other):
                return False
            if self._namespace(other) == namespace and self._ages.came_with(other) is None:
                return True
            mount = other
        return False

    def _namespace(self, mount: Mount) -> int:
        return self._graph.places[mount.id].namespace

    def _are_alike(self, one: Mount, other: Mount) -> bool:
        """Whether they are the same on the same dentry, below mounts that receive the same."""
        if one.identity != other.identity or self._graph.dentry(one) != self._graph.dentry(other):
            return False
        here, there = self._graph.parent(one), self._graph.parent(other)
        if here is None or there is None:
            return False
        return not {here.shared, here.master}.isdisjoint({there.shared, there.master} - {0})

    def _locked_with_namespace(self, place: PlacedMount, root: Mount) -> bool:
        """A mount that came when its namespace was copied: from one of the same owner where there was one."""
        if (near := self._copies.near(place, root)) is not None:
            return near.any_until(self._copies.age(place, root), self.is_locked)
        sources = self._copies.sources(place, root)
        if near_slid := [source for source in sources if self._owner(source) == self._owner(place)]:
            alike = [source for source in near_slid if source.mount.point == place.mount.point]
            return any(self.is_locked(source) for source in alike or near_slid)
        if not sources and self._ages.known and self._is_inherited(place, root):
            return self._owner(place) != self._owner(self._ages.places[0])
        first = self._first_root.get(self._owner(place), root)
        return any(self._ages.older(source.mount, first) for source in sources)

    def _is_inherited(self, place: PlacedMount, root: Mount) -> bool:
        """Whether it is older than the last mount that surely came with its namespace's root."""
        if root.id not in self._until and self._ages.has(root):
            at = self._ages.at[root.id]
            row = self._ages.places[at + 1 : self._ages.last_in_row(root) + 1]
            self._until[root.id] = next(
                (older.mount.unique or 0 for older in reversed(row) if self._has_origin(older, root)), 0
            )
        return place.mount.unique is not None and place.mount.unique < self._until.get(root.id, 0)

    def _has_origin(self, place: PlacedMount, root: Mount) -> bool:
        """Whether what was there before the namespace has the same on the spot, and shows it at the same path."""
        return any(source.mount.point == place.mount.point for source in self._copies.sources(place, root))

    def _locked_with_tree(self, place: PlacedMount, top: Mount) -> bool:
        """A mount below the top of a tree that was mounted here, or propagated from where it was mounted."""
        sources = self._copies.sources(place, place.mount)
        origin = self._origin(top)
        if origin is not None and self._owner(origin) != self._owner(place):
            return bool(sources)
        here = origin.namespace if origin is not None else place.namespace
        near = [source for source in sources if source.namespace == here]
        alike = [self._alike(place.mount, source.mount, top) for source in near]
        return any(self.is_locked(source) for source, many in zip(near, alike, strict=True) if many == max(alike))

    def _alike(self, mount: Mount, source: Mount, top: Mount) -> int:
        """On how many mounts in turn, up to the tree's top, a source is mounted just so: a tree may have several."""
        many = 0
        while mount.id != top.id and self._graph.dentry(mount) == self._graph.dentry(source):
            here, there = self._graph.parent(mount), self._graph.parent(source)
            if here is None or there is None or here.identity != there.identity:
                break
            mount, source, many = here, there, many + 1
        return many

    def _owner(self, place: PlacedMount) -> int | None:
        return self._owners.get(place.namespace)

    def _origin(self, top: Mount) -> PlacedMount | None:
        """Where a tree was mounted that propagated to `top`: the oldest on the same dentry; None if it was here."""
        if top.id not in self._origins:
            self._origins[top.id] = self._find_origin(top)
        return self._origins[top.id]

    def _find_origin(self, top: Mount) -> PlacedMount | None:
        dentry = self._graph.dentry(top)
        on = self._graph.on_dentry(dentry) if dentry is not None else []
        same = [mount for mount in on if mount.identity == top.identity]
        if len(same) > MOST:
            return None
        found = [mount for mount in same if mount.id != top.id and self._spread(mount, top, same)]
        return self._ages.oldest([self._graph.places[mount.id] for mount in found]) if found else None

    def _spread(self, origin: Mount, copy: Mount, same: list[Mount]) -> bool:
        """Whether `copy` came of mounting `origin`: the copies are made at once; those of a moved one, later."""
        if not self._ages.older(origin, copy):
            return False
        if origin.id not in self._rows:
            self._rows[origin.id] = self._ages.row(origin, same)
        row = self._rows[origin.id]
        return copy.id in row if row else self._receives(origin, copy)

    def _receives(self, origin: Mount, copy: Mount) -> bool:
        here, there = self._graph.parent(origin), self._graph.parent(copy)
        return here is not None and there is not None and there in self._graph.receivers(here)
