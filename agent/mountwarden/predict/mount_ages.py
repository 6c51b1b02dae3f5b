"""In what order mounts were made, and what was therefore copied together. Pure.

Unique ids (Linux 6.8) are handed out one after the other, and copy_tree() takes a parent, then its children with all
that is below them: nothing but descendants of the parent is made between it and a mount that came with it.
"""

from ..model import Mount
from ..mounts.graph import Graph, PlacedMount


class Ages:
    """The mounts of a graph by age. Those without a unique id are in no order, where others have one."""

    def __init__(self, graph: Graph) -> None:
        places = graph.places.values()
        self._graph = graph
        self.known = any(place.mount.unique is not None for place in places)
        """Whether the kernel has unique ids; else a mount with a smaller id is taken for the older one."""
        self.places = sorted(
            (place for place in places if self.has(place.mount)), key=lambda place: self.of(place.mount)
        )
        """Oldest first."""
        self.at = {place.mount.id: at for at, place in enumerate(self.places)}
        self._last = self._rows()

    def has(self, mount: Mount) -> bool:
        """False for one that came or went while the ids were asked for."""
        return not self.known or mount.unique is not None

    def of(self, mount: Mount) -> int:
        """A number that is smaller for an older mount."""
        return mount.unique or 0 if self.known else mount.id

    def older(self, one: Mount, other: Mount) -> bool:
        """Whether it may be the older one."""
        return not (self.known and self.has(one) and self.has(other)) or self.of(one) < self.of(other)

    def together(self, parent: Mount, mount: Mount) -> bool:
        """Whether nothing but the parent's descendants was made between the two."""
        if not self.known or not self.has(parent) or not self.has(mount):
            return True
        return self.at[parent.id] < self.at[mount.id] <= self.last_in_row(parent)

    def came_with(self, mount: Mount) -> Mount | None:
        """The parent that it came together with."""
        parent = self._graph.parent(mount)
        while parent is not None and self._is_tucked(parent, mount):
            parent = self._graph.parent(parent)
        return parent if parent is not None and self.together(parent, mount) else None

    def _is_tucked(self, parent: Mount, mount: Mount) -> bool:
        """Whether the parent was put beneath it later."""
        return parent.unique is not None and self.older(mount, parent) and self._graph.is_overmount(mount)

    def next(self, mount: Mount) -> Mount | None:
        """What was made right after it and all that is below it."""
        at = self._last[self.at[mount.id]] + 1 if mount.id in self.at else len(self.places)
        return self.places[at].mount if at < len(self.places) else None

    def last_in_row(self, parent: Mount) -> int:
        """Where the row of mounts ends that follow the parent and are below it."""
        return self._last[self.at[parent.id]]

    def _rows(self) -> list[int]:
        """From the youngest on: the row of what follows directly is a part of the parent's."""
        last = list(range(len(self.places)))
        for at in reversed(last[:]):
            end, mount = at, self.places[at].mount
            while end + 1 < len(last) and self._graph.descends(self.places[end + 1].mount, mount):
                end = last[end + 1]
            last[at] = end
        return last

    def row(self, origin: Mount, same: list[Mount]) -> frozenset[int]:
        """Ids of those of `same` that were made right after `origin`, with nothing but their trees in between."""
        if origin.id not in self.at:
            return frozenset()
        after = self.at[origin.id]
        following = sorted((m for m in same if m.id in self.at and self.at[m.id] > after), key=lambda m: self.at[m.id])
        row, end = set[int](), self.last_in_row(origin)
        for mount in following:
            if self.at[mount.id] > end + 1:
                break
            row.add(mount.id)
            end = max(end, self.last_in_row(mount))
        return frozenset(row)

    def oldest(self, places: list[PlacedMount]) -> PlacedMount:
        """The first of them that was made."""
        return min(places, key=lambda place: self.of(place.mount))
