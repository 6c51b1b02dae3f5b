"""Why an umount leaves a copy of what it takes away. Pure."""

import enum
from collections.abc import Collection, Iterable

from ..model import Mount
from ..mounts.graph import Graph, PlacedMount
from ..mounts.table import Dentry


class Why(enum.StrEnum):
    """What keeps a copy; a more exact cause depends on who made its namespace (see explain/cause.py)."""

    INSIDE = "inside"
    """Something is mounted in it that stays, and what holds that stays with it."""
    LOCKED = "locked"
    """Its user namespace may not lose it without what it is mounted on, and that stays."""
    COVERED = "covered"
    """The umount takes the lowest mount on that directory, and this one is upon another."""
    SEVERED = "severed"
    """What it is mounted on is neither a peer nor a slave of what is unmounted from."""
    ELSEWHERE = "elsewhere"
    """It is mounted on another directory, which the umount does not concern."""


class Staying:
    """Says for each copy why it stays. `going` is the umounted tree, `locked` as in `predict_umount`."""

    def __init__(self, graph: Graph, going: Iterable[Mount], locked: Collection[int]) -> None:
        self._graph = graph
        self._locked = locked
        self._on: dict[tuple[Dentry, tuple[str, bytes]], Mount] = {}
        going = list(going)
        for mount in going:
            if (dentry := graph.dentry(mount)) is not None:
                self._on[dentry, mount.identity] = mount
        self._spots = graph.candidates(going)
        self._reach: dict[int, frozenset[int]] = {}

    def counterpart(self, place: PlacedMount) -> Mount | None:
        """The umounted mount on the same directory that it is a copy of."""
        bottom = self._graph.bottom(place.mount)[0]
        dentries = (self._graph.dentry(place.mount), self._graph.dentry(bottom))
        found = (self._on.get((dentry, place.mount.identity)) for dentry in dentries if dentry is not None)
        return next((mount for mount in found if mount is not None), None)

    def why(self, place: PlacedMount) -> Why:
        """What keeps it."""
        if place.mount.id in self._spots:
            return Why.LOCKED if place.mount.id in self._locked and not self._kept_inside(place.mount) else Why.INSIDE
        mount = self.counterpart(place)
        if mount is None:
            return Why.ELSEWHERE
        parent = self._graph.parent(self._graph.bottom(place.mount)[0])
        return Why.COVERED if parent is not None and parent.id in self._receivers(mount) else Why.SEVERED

    def _kept_inside(self, mount: Mount) -> bool:
        return any(not self._graph.is_overmount(child) for child in self._graph.children(mount))

    def _receivers(self, mount: Mount) -> frozenset[int]:
        parent = self._graph.parent(mount)
        if parent is None or not parent.shared:
            return frozenset()
        if parent.shared not in self._reach:
            receivers = self._graph.receivers(parent)
            self._reach[parent.shared] = frozenset(receiver.id for receiver in receivers) | {parent.id}
        return self._reach[parent.shared]
