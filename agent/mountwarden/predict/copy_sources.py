"""Which mounts may be copies of one another: the same (device, mnt_root) on the same dentry. Pure.

What is found is kept by age, so that all that is older than a mount is the beginning of a list. A host may have a
thousand namespaces with a copy each, and each copy asks for all older ones.
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from ..model import Mount
from ..mounts.graph import Graph, PlacedMount
from ..mounts.table import Dentry
from .mount_ages import Ages

MOST = 1000
"""Copies that are compared one by one, each with each; where there are more, none is taken for another's copy."""

_What = tuple[Dentry, tuple[str, bytes]]
"""What is mounted where: the dentry that the stack stands on, and (device, mnt_root)."""
_Spot = tuple[Dentry | None, int]


@dataclass(slots=True)
class Row:
    """Mounts that may be copies of one another, oldest first."""

    ages: list[int] = field(default_factory=list)
    places: list[PlacedMount] = field(default_factory=list)
    _tested: int = 0
    _found: bool = False

    def add(self, age: int, place: PlacedMount) -> None:
        """Add one that is younger than all others."""
        self.ages.append(age)
        self.places.append(place)

    def until(self, age: int) -> int:
        """How many are older."""
        return bisect_left(self.ages, age)

    def any_until(self, age: int, test: Callable[[PlacedMount], bool]) -> bool:
        """Whether the test holds for any that is older; each is tested once, whatever is asked."""
        end = self.until(age)
        while not self._found and self._tested < end:
            self._found = test(self.places[self._tested])
            self._tested += not self._found
        return self._found and self._tested < end


_NONE = Row()


class Copies:
    """Finds what a mount may have been copied from."""

    def __init__(self, graph: Graph, ages: Ages, owners: dict[int, int | None]) -> None:
        """`owners` has the user namespace of each mount namespace."""
        self._graph = graph
        self._ages = ages
        self._owners = owners
        self._rows: dict[Hashable, Row] = {}
        self._taken: dict[tuple[_What, int], frozenset[_Spot]] = {}
        for place in ages.places:
            if (what := self._what(place.mount)) is not None:
                owner, spot = owners.get(place.namespace), self._spot(place.mount)
                for key in (what, (what, spot), (what, spot, owner), (what, spot, owner, place.mount.point)):
                    self._rows.setdefault(key, Row()).add(ages.of(place.mount), place)

    def _what(self, mount: Mount) -> _What | None:
        dentry = self._graph.dentry(self._graph.bottom(mount)[0])
        return None if dentry is None else (dentry, mount.identity)

    def _spot(self, mount: Mount) -> _Spot:
        """Its dentry, and how high it is in its stack: a directory bound on itself is the same dentry again."""
        return self._graph.dentry(mount), self._graph.bottom(mount)[1]

    def age(self, place: PlacedMount, before: Mount) -> int:
        """What is older than `before` may be its source. Where no age is known, smaller ids at least end the search."""
        return self._ages.of(before if self._ages.known and self._ages.has(before) else place.mount)

    def near(self, place: PlacedMount, before: Mount) -> Row | None:
        """Those on its spot with the same owner, of which one is older; at the same path, where there is such a one."""
        owner, age = self._owners.get(place.namespace), self.age(place, before)
        what, spot = self._what(place.mount), self._spot(place.mount)
        for key in ((what, spot, owner, place.mount.point), (what, spot, owner)):
            row = self._rows.get(key, _NONE)
            if row.until(age):
                return row
        return None

    def sources(self, place: PlacedMount, before: Mount) -> list[PlacedMount]:
        """What it may have been copied from, among what was there before that mount; oldest first."""
        what, age = self._what(place.mount), self.age(place, before)
        exact = self._rows.get((what, self._spot(place.mount)), _NONE)
        if many := exact.until(age):
            return exact.places[:many]
        same = self._rows.get(what, _NONE)
        if what is None or len(same.places) > MOST:
            return []
        # One that slid down a stack since is no longer on the spot, but in the same stack.
        taken = self._taken_by(what, place.namespace)
        return [source for source in same.places[: same.until(age)] if self._spot(source.mount) not in taken]

    def _taken_by(self, what: _What, namespace: int) -> frozenset[_Spot]:
        """Where that namespace has one of its own."""
        if (what, namespace) not in self._taken:
            mine = [p.mount for p in self._rows.get(what, _NONE).places if p.namespace == namespace]
            self._taken[what, namespace] = frozenset(map(self._spot, mine))
        return self._taken[what, namespace]
