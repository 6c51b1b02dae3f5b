"""Which mounts are locked (MNT_LOCKED): inferred, since no interface of the kernel shows it. Pure.

The kernel locks a mount in two places (fs/namespace.c: lock_mnt_tree), both for a tree that is copied across user
namespaces: when a namespace is copied from one with another owner (copy_mnt_ns), and when a tree of several mounts
propagates into a namespace with another owner than that where it was mounted (attach_recursive_mnt). In both, all but
the tree's top are locked. A copy within one user namespace takes the locks along (clone_mnt). So a mount is locked
where it came *together with its parent*, in one copy of a tree that another owner had, or that was locked before.

What came together can be told from unique ids (Linux 6.8), which are handed out one after the other: copy_tree() takes
a parent, then its children with all that is below them. So nothing but descendants of the parent was made between
the two. What it was copied from is older, and has the same on the same dentry: where nothing such is left to be seen,
a mount is taken for the namespace's own, not locked. An umount elsewhere never asks for such a one: what it reaches
has a counterpart where the umount is.
"""

from collections.abc import Mapping

from .graph import Dentry, Graph, Place
from .model import Mount
from .observe.mountinfo import Table

_What = tuple[Dentry, tuple[str, bytes]]
"""What is mounted where: the dentry that the stack stands on, and (device, mnt_root)."""


def locked_mounts(tables: Mapping[int, Table], owners: Mapping[int, int]) -> frozenset[int]:
    """Small ids of the mounts that are locked.

    `owners` has the inode of the user namespace that owns each mount namespace (ioctl_ns(2): NS_GET_USERNS). Mounts
    without a unique id count as locked where another owner's namespace has the same on the same dentry.
    """
    if len({owners.get(inode) for inode in tables}) < 2:
        return frozenset()
    return _Locks(tables, owners).all()


class _Locks:
    def __init__(self, tables: Mapping[int, Table], owners: Mapping[int, int]) -> None:
        self._graph = Graph(tables)
        self._owners = owners
        self._locked: set[int] = set()
        self._by_age = sorted(self._graph.places.values(), key=_age)
        self._at = {place.mount.id: at for at, place in enumerate(self._by_age)}
        self._last: dict[int, int] = {}
        self._same: dict[_What, list[Place]] = {}
        self._first_root: dict[int | None, Mount] = {}
        """The oldest namespace of each owner, by its root: it was copied from another owner's."""
        for place in self._by_age:
            if self._graph.parent(place.mount) is None:
                self._first_root.setdefault(self._owner(place), place.mount)
            if (what := self._what(place.mount)) is not None:
                self._same.setdefault(what, []).append(place)

    def all(self) -> frozenset[int]:
        """Oldest first: whether what a mount was copied from was locked must be known before."""
        for place in self._by_age:
            if self._is_locked(place):
                self._locked.add(place.mount.id)
        return frozenset(self._locked)

    def _what(self, mount: Mount) -> _What | None:
        bottom = self._stack(mount)[-1]
        dentry = self._graph.dentry(bottom)
        return None if dentry is None else (dentry, mount.identity)

    def _stack(self, mount: Mount) -> list[Mount]:
        """The mount, and what it covers down to the bottom."""
        stack = [mount]
        while self._graph.is_overmount(stack[-1]) and (parent := self._graph.parent(stack[-1])) is not None:
            stack.append(parent)
        return stack

    def _spot(self, mount: Mount) -> tuple[Dentry | None, int]:
        """Its dentry, and how high it is in its stack: a directory bound on itself is the same dentry again."""
        return self._graph.dentry(mount), len(self._stack(mount))

    def _is_locked(self, place: Place) -> bool:
        parent = self._came_with(place.mount)
        if parent is None:
            return False
        top = parent
        while (above := self._came_with(top)) is not None:
            top = above
        if self._graph.parent(top) is None:
            return self._locked_with_namespace(place, top)
        return self._locked_with_tree(place, parent, top)

    def _locked_with_namespace(self, place: Place, root: Mount) -> bool:
        """A mount that came when its namespace was copied: from one of the same owner where there was one."""
        sources = self._sources(place, root)
        near = [source for source in sources if self._owner(source) == self._owner(place)]
        if near:
            alike = [source for source in near if source.mount.point == place.mount.point]
            return any(source.mount.id in self._locked for source in alike or near)
        first = self._first_root[self._owner(place)]
        return any(_older(source.mount, first) for source in sources)

    def _locked_with_tree(self, place: Place, parent: Mount, top: Mount) -> bool:
        """A mount below the top of a tree that was mounted here, or propagated from where it was mounted."""
        origin = self._origin(Place(place.namespace, top))
        if origin is not None and self._owner(origin) != self._owner(place):
            return bool(self._sources(place, place.mount))
        here = origin.namespace if origin is not None else place.namespace
        return any(
            source.mount.id in self._locked and source.namespace == here for source in self._sources(place, place.mount)
        )

    def _sources(self, place: Place, before: Mount) -> list[Place]:
        """What it may have been copied from, among what was there before that mount."""
        what = self._what(place.mount)
        same = self._same.get(what, []) if what is not None else []
        others = [s for s in same if s.mount.id != place.mount.id and _older(s.mount, before)]
        exact = [source for source in others if self._spot(source.mount) == self._spot(place.mount)]
        # One that slid down a stack since is no longer on the spot, but in the same stack.
        return exact or [source for source in others if not self._is_copied(source.mount, same, place.namespace)]

    def _is_copied(self, source: Mount, same: list[Place], namespace: int) -> bool:
        """Whether the namespace has the same on the very spot."""
        spot = self._spot(source)
        return any(other.namespace == namespace and self._spot(other.mount) == spot for other in same)

    def _owner(self, place: Place) -> int | None:
        return self._owners.get(place.namespace)

    def _origin(self, top: Place) -> Place | None:
        """Where a tree was mounted that propagated to `top`: the oldest on the same dentry; None if it was here."""
        dentry = self._graph.dentry(top.mount)
        on = self._graph.on_dentry(dentry) if dentry is not None else []
        same = [mount for mount in on if mount.identity == top.mount.identity]
        found = [mount for mount in same if mount.id != top.mount.id and self._spread(mount, top.mount, same)]
        return self._graph.places[min(found, key=lambda mount: mount.unique or 0).id] if found else None

    def _spread(self, origin: Mount, copy: Mount, same: list[Mount]) -> bool:
        """Whether `copy` came of mounting `origin`: the copies are made at once; those of a moved one, later."""
        if not _older(origin, copy):
            return False
        others = [m for m in same if m.id != origin.id and _older(origin, m) and self._follows(origin, m, same)]
        return copy in others if others else self._receives(origin, copy)

    def _receives(self, origin: Mount, copy: Mount) -> bool:
        here, there = self._graph.parent(origin), self._graph.parent(copy)
        return here is not None and there is not None and there in self._graph.receivers(here)

    def _follows(self, origin: Mount, copy: Mount, same: list[Mount]) -> bool:
        """Whether nothing but trees on the same dentry was made between the two."""
        ids = {mount.id for mount in same}
        between = self._by_age[self._at[origin.id] : self._at[copy.id]]
        return all(any(self._descends(place.mount, self._graph.places[i].mount) for i in ids) for place in between)

    def _came_with(self, mount: Mount) -> Mount | None:
        """The parent that it came together with."""
        parent = self._graph.parent(mount)
        while parent is not None and _older(mount, parent) and parent.unique and self._graph.is_overmount(mount):
            parent = self._graph.parent(parent)  # it was tucked beneath later
        return parent if parent is not None and self._together(parent, mount) else None

    def _together(self, parent: Mount, mount: Mount) -> bool:
        """Whether no mount but the parent's descendants was made between the two."""
        if parent.unique is None or mount.unique is None:
            return True
        return self._at[parent.id] < self._at[mount.id] <= self._last_in_row(parent)

    def _last_in_row(self, parent: Mount) -> int:
        """Where the row of mounts that follow the parent and are below it ends."""
        if parent.id not in self._last:
            at = self._at[parent.id]
            while at + 1 < len(self._by_age) and self._descends(self._by_age[at + 1].mount, parent):
                at += 1
            self._last[parent.id] = at
        return self._last[parent.id]

    def _descends(self, mount: Mount | None, ancestor: Mount) -> bool:
        while mount is not None and mount.id != ancestor.id:
            mount = self._graph.parent(mount)
        return mount is not None


def _age(place: Place) -> int:
    return place.mount.unique or 0


def _older(one: Mount, other: Mount) -> bool:
    return one.unique is None or other.unique is None or one.unique < other.unique
