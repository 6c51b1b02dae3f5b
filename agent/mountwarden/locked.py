"""Which mounts are locked (MNT_LOCKED): inferred, since no interface of the kernel shows it. Pure.

The kernel locks a mount in two places (fs/namespace.c: lock_mnt_tree), both for a tree that is copied across user
namespaces: when a namespace with an owner of its own is copied from another (copy_mnt_ns), and when a tree of several
mounts propagates into one (attach_recursive_mnt). In both, all but the tree's top are locked. A copy within one user
namespace takes the locks along (clone_mnt). So a mount is locked where it came *together with its parent*, in one
copy of a tree that another owner's namespace had, or that was locked there.

That two mounts came together can be told from their unique ids (Linux 6.8), which are handed out one after the
other: copy_tree() takes a parent, then its children with all that is below them. So nothing but descendants of the
parent was made between the two; and what they were copied from was there before the parent's copy.
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
        self._what: dict[_What, list[Place]] = {}
        for place in self._by_age:
            if (what := self._what_of(place.mount)) is not None:
                self._what.setdefault(what, []).append(place)

    def all(self) -> frozenset[int]:
        """Oldest first: whether what a mount was copied from was locked must be known before."""
        for place in self._by_age:
            if self._is_locked(place):
                self._locked.add(place.mount.id)
        return frozenset(self._locked)

    def _what_of(self, mount: Mount) -> _What | None:
        bottom = mount
        while self._graph.is_overmount(bottom) and (parent := self._graph.parent(bottom)) is not None:
            bottom = parent
        dentry = self._graph.dentry(bottom)
        return None if dentry is None else (dentry, mount.identity)

    def _is_locked(self, place: Place) -> bool:
        what, parent = self._what_of(place.mount), self._first_parent(place.mount)
        if what is None or parent is None or not self._together(parent, place.mount):
            return False
        return any(
            source.mount.id in self._locked or self._owners.get(source.namespace) != self._owners.get(place.namespace)
            for source in self._what[what]
            if source.mount.id != place.mount.id and _older(source.mount, parent)
        )

    def _first_parent(self, mount: Mount) -> Mount | None:
        """The parent that it came with: one that is younger was tucked beneath it later."""
        parent = self._graph.parent(mount)
        while parent is not None and _older(mount, parent) and self._graph.is_overmount(mount):
            mount, parent = parent, self._graph.parent(parent)
        return parent

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
