"""What the homes have mounted, as the filter of a namespace's mountinfo compares it with raw lines."""

import re
from collections.abc import Iterable, Iterator, Mapping

from ...model import RootState, Spot
from ...mounts import mountinfo
from ...mounts.roots import ANYWHERE, Spots
from .parent_mount import Key
from .views import Views

Identity = tuple[str, bytes]
_LiveState = tuple[RootState, tuple[tuple[Key, Key, int], ...]]


class LiveAtHome:
    """What the homes have mounted on which spots, and the peer groups by which an umount there propagates.

    Two objects are equal only if they are the same object."""

    def __init__(self, states: Iterable[RootState] = (), before: "LiveAtHome | None" = None) -> None:
        """`before` is that of the reading before: most states are the same ones."""
        self.groups: dict[Key, dict[Key, int]] = {}
        self.bases: dict[bytes, set[bytes]] = {}
        """By device: the directories below which roots have their spots, without a slash at the end."""
        self.uppers: tuple[bytes, ...] = ()
        """What an overlay's options hold that claims to be a layer of a root."""
        self.identities: set[Key] = set()
        """Of every live mount."""
        states = tuple(states)
        self._spots = Spots(states)
        self.views = Views.of(states)
        """Where spots are that are found by their place alone."""
        known: Mapping[int, _LiveState] = before._live if before is not None else {}
        self._live: dict[int, _LiveState] = {
            id(state): known.get(id(state)) or (state, tuple(_live_of(state))) for state in states
        }
        """By id() of a state, which is kept so that its id() is not used again."""
        for state, live in self._live.values():
            self._add_places(state)
            self.identities.update(key for key, _spot, _group in live)
            for key, spot, group in live:
                if group:
                    self.groups.setdefault(key, {})[spot] = group
        self.bases = {device: _outermost(paths) for device, paths in self.bases.items()}

    def _add_places(self, state: RootState) -> None:
        if all(layout.pattern == ANYWHERE for layout in state.root.layout):
            return
        for base in state.bases:
            path = mountinfo.escape(base.spot.path).rstrip(b"/")
            self.bases.setdefault(base.spot.device.encode(), set()).add(path)
        if state.bases and any(layout.fstype == "overlay" for layout in state.root.layout):
            self.uppers += (b"upperdir=%s/" % mountinfo.escape(state.root.path).rstrip(b"/"),)

    def has_spot(self, device: bytes, path: bytes) -> bool:
        """Whether that path of a file system, as mountinfo writes it, is a root's spot."""
        bases = self.bases.get(device)
        near = bases is not None and any(path.startswith(base + b"/") for base in bases)
        return near and self._spots.has(Spot(device.decode(), mountinfo.unescape(path)))

    def has_claim(self, rest: bytes) -> bool:
        """Whether a line without its two ids claims by its options that it is a layer of a root.

        Raises: mountinfo.Unreadable.
        """
        if not any(upper in rest for upper in self.uppers):
            return False
        *_fields, fstype, _source, options = mountinfo.parse_rest(rest)
        return fstype == "overlay" and self._spots.claimed_by(options) is not None

    def shows_below(self, text: bytes) -> bool:
        """Whether a line of a text shows what is below a root's directory by its mnt_root."""
        return any(
            b" %s %s/" % (device, path) in text if path else re.search(rb" %s /[^ ]" % re.escape(device), text)
            for device, paths in self.bases.items()
            for path in paths
        )

    def differs(self, other: "LiveAtHome") -> frozenset[Key]:
        """What home has on other spots, or in other peer groups, than in `other`."""
        if self is other:
            return frozenset()
        both = self.groups.keys() | other.groups.keys()
        return frozenset(key for key in both if self.groups.get(key) != other.groups.get(key))


def _outermost(paths: set[bytes]) -> set[bytes]:
    """Those that lie below no other: roots lie within each other, as volumes do in a data-root."""
    kept = set[bytes]()
    for path in sorted(paths, key=len):
        if not any(path.startswith(other + b"/") for other in kept):
            kept.add(path)
    return kept


def _live_of(state: RootState) -> Iterator[tuple[Key, Key, int]]:
    """Of each live mount its identity and spot, as mountinfo writes them, and the peer group of what it is on."""
    for spot, mounts in state.live.items():
        place = spot.device.encode(), mountinfo.escape(spot.path)
        for mount in mounts:
            yield key_of(mount.identity), place, state.parents[mount.id].shared


def key_of(identity: Identity) -> Key:
    """An identity as mountinfo writes it."""
    return identity[0].encode(), mountinfo.escape(identity[1])
