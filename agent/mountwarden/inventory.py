"""The picture: roots as home shows them, and what other namespaces hold on their spots. Pure."""

from collections.abc import Iterable

from .model import Base, Layout, Match, Mount, Root, RootState, Spot
from .observe.mountinfo import Table, below, join


def match_layout(layout: Layout, rel: bytes) -> bytes | None:
    """The layer that `rel` names where it matches the layout's pattern; None where it does not."""
    wanted, parts = layout.pattern.split(b"/"), rel.split(b"/")
    if len(wanted) != len(parts):
        return None
    stars = []
    for pattern, part in zip(wanted, parts, strict=True):
        if pattern == b"*":
            stars.append(part)
        elif pattern != part:
            return None
    return b"/".join(stars)


def may_hold(layout: Layout, rel: bytes) -> bool:
    """Whether mountpoints of the layout can lie at or below `rel` (a path below the root, empty for the root)."""
    if not rel:
        return True
    wanted, parts = layout.pattern.split(b"/"), rel.split(b"/")
    return len(parts) < len(wanted) and all(p in (b"*", q) for p, q in zip(wanted, parts, strict=False))


def root_state(root: Root, table: Table, home: int) -> RootState:
    """The root in its home's table: the mounts that hold it, and the live mounts on its spots."""
    mount = table.containing(root.path)
    if mount is None:
        return RootState(root, home, None, status="home shows no mount that contains it")
    rest = below(mount.point, root.path) or b""
    top = Base(mount, Spot(mount.device, join(mount.root, rest)), b"")
    bases = (top, *_inner_bases(root, table))
    state = RootState(root, home, mount, bases)
    live: dict[Spot, list[Mount]] = {}
    spots = Spots((state,))
    for candidate in table.mounts:
        spot = table.spot(candidate)
        if spot is not None and spots.match(spot) is not None:
            live.setdefault(spot, []).append(candidate)
    return RootState(root, home, mount, bases, {spot: tuple(mounts) for spot, mounts in live.items()})


def _inner_bases(root: Root, table: Table) -> Iterable[Base]:
    """Mounts of home below the root that are not on a spot of the layout and can themselves hold such spots."""
    for mount in table.mounts:
        rel = below(root.path, mount.point)
        if not rel or any(match_layout(layout, rel) is not None for layout in root.layout):
            continue
        if any(may_hold(layout, rel) for layout in root.layout) and table.visible(mount):
            yield Base(mount, Spot(mount.device, mount.root), rel)


class Spots:
    """Answers which root, and which layer of it, a spot belongs to."""

    def __init__(self, states: Iterable[RootState]) -> None:
        self._bases: dict[str, list[tuple[RootState, Base]]] = {}
        for state in states:
            for base in state.bases:
                self._bases.setdefault(base.spot.device, []).append((state, base))

    def devices(self) -> frozenset[str]:
        """Devices of the file systems that hold guarded spots."""
        return frozenset(self._bases)

    def match(self, spot: Spot) -> Match | None:
        """The layout that the spot is in, or None. A base that another base hides at home does not count."""
        for state, base in self._bases.get(spot.device, ()):
            rest = below(base.spot.path, spot.path)
            if not rest:
                continue
            rel = join(base.rel, rest) if base.rel else rest
            for layout in state.root.layout:
                layer = match_layout(layout, rel)
                if layer is not None and not _hidden(state, base, rel):
                    return Match(state.root, base, layout, rel, layer, join(state.root.path, rel), spot)
        return None


def _hidden(state: RootState, base: Base, rel: bytes) -> bool:
    return any(
        other.rel and len(other.rel) > len(base.rel) and below(other.rel, rel) is not None for other in state.bases
    )


def identities(states: Iterable[RootState]) -> frozenset[tuple[str, bytes]]:
    """(device, mnt_root) of every live mount on a spot of the layouts."""
    return frozenset(mount.identity for state in states for mounts in state.live.values() for mount in mounts)
