"""The host as one scan found it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from .enums import Tier
from .host import Copy, Gap, Gone, Kept, Namespace, RootState, Spot, Stack, Standing


@dataclass(eq=False)
class SpaceCopies:
    """The copies in one namespace: the same object from scan to scan, while none of them is another one.

    A service with private mounts has one of each layer of the host. What is made out of them all is made once.
    """

    namespace: int
    """Its inode."""
    copies: tuple[Copy, ...]

    @cached_property
    def identities(self) -> frozenset[tuple[str, bytes]]:
        """(device, mnt_root) of each."""
        return frozenset(self._places)

    @cached_property
    def _places(self) -> dict[tuple[str, bytes], list[int]]:
        found: dict[tuple[str, bytes], list[int]] = {}
        for place, copy in enumerate(self.copies):
            found.setdefault(copy.mount.identity, []).append(place)
        return found

    def of(self, identities: Iterable[tuple[str, bytes]]) -> Iterator[tuple[int, Copy]]:
        """Those of these (device, mnt_root), each with its place, in their order."""
        places = sorted(place for identity in identities for place in self._places.get(identity, ()))
        return ((place, self.copies[place]) for place in places)

    def beside(self, identities: Iterable[tuple[str, bytes]]) -> Iterator[Copy]:
        """Those of no such (device, mnt_root)."""
        return (copy for _place, copy in self.of(self.identities.difference(identities)))

    @cached_property
    def devices(self) -> frozenset[str]:
        """The device of each."""
        return frozenset(device for device, _root in self.identities)

    @cached_property
    def own_roots(self) -> frozenset[tuple[int, str]]:
        """(namespace, device) where one is the namespace's own "/": a container, which uses its layer."""
        return frozenset((self.namespace, copy.mount.device) for copy in self.copies if copy.mount.point == b"/")

    @cached_property
    def unmatched(self) -> tuple[Copy, ...]:
        """Those that are on no spot of a layout."""
        return tuple(copy for copy in self.copies if copy.match is None)

    @cached_property
    def by_spot(self) -> dict[Spot, list[Copy]]:
        """All that are on a spot of any mount."""
        found: dict[Spot, list[Copy]] = {}
        for copy in self.copies:
            if copy.spot is not None:
                found.setdefault(copy.spot, []).append(copy)
        return found

    @cached_property
    def derived(self) -> dict[object, Any]:
        """What others make out of them and keep, each by a key of its own."""
        return {}


def grouped(copies: Iterable[Copy]) -> tuple[SpaceCopies, ...]:
    """The copies by namespace."""
    found: dict[int, list[Copy]] = {}
    for copy in copies:
        found.setdefault(copy.namespace, []).append(copy)
    return tuple(SpaceCopies(inode, tuple(many)) for inode, many in found.items())


@dataclass(frozen=True)
class Picture:
    """The host as one scan found it."""

    boot_id: str
    tier: Tier
    roots: tuple[RootState, ...]
    namespaces: Mapping[int, Namespace]
    copies: tuple[Copy, ...]
    """In namespaces that are no home, and in homes of other roots."""
    mounts: int
    """How many mounts there are, in all namespaces."""
    home_identities: frozenset[tuple[str, bytes]] = frozenset()
    """(device, mnt_root) of every mount of every home."""
    stacks: tuple[Stack, ...] = ()
    """What is stacked in namespaces that are no home; compared with earlier scans, what homes have too."""
    gone: tuple[Gone, ...] = ()
    """Mounts that a home had and that no namespace has any more."""
    kept: tuple[Kept, ...] = ()
    """Superblocks of guarded roots that no namespace has mounted, whether an earlier scan saw them mounted or not."""
    standing: tuple[Standing, ...] = ()
    """Mounts of homes whose owner this scan asks for, or of which it is known that they had none a moment ago."""
    gaps: tuple[Gap, ...] = ()

    @cached_property
    def spaces(self) -> tuple[SpaceCopies, ...]:
        """The copies by namespace."""
        return grouped(self.copies)

    def by(self, spaces: tuple[SpaceCopies, ...]) -> "Picture":
        """The same with these copies, and what was made out of them before."""
        after = replace(self, copies=tuple(copy for space in spaces for copy in space.copies))
        after.__dict__["spaces"] = spaces
        return after
