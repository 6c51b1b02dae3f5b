"""Roots as their home shows them, and what other namespaces have on their spots. Pure.

Home is the mount namespace whose view of a root counts. A spot is what a mount is attached to: its parent's device, and
the path in that file system.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..model import (
    Base,
    Candidate,
    Copy,
    Kept,
    Layout,
    Match,
    Mount,
    Root,
    RootState,
    SpaceCopies,
    Spot,
    Stack,
    is_on_block_device,
)
from .table import Table, below, join


def match_layout(layout: Layout, rel: bytes) -> bytes | None:
    """The layer in `rel` (a path below the root), where it matches the layout's pattern; None where it does not."""
    patterns, parts = layout.pattern.split(b"/"), rel.split(b"/")
    if len(patterns) != len(parts):
        return None
    stars = []
    for pattern, part in zip(patterns, parts, strict=True):
        if pattern == b"*":
            stars.append(part)
        elif pattern != part:
            return None
    return b"/".join(stars)


def may_hold(layout: Layout, rel: bytes) -> bool:
    """Whether mountpoints of the layout can lie at or below `rel` (a path below the root, empty for the root)."""
    if not rel:
        return True
    patterns, parts = layout.pattern.split(b"/"), rel.split(b"/")
    return len(parts) < len(patterns) and all(p in (b"*", q) for p, q in zip(patterns, parts, strict=False))


ANYWHERE = b"**"
"""The pattern of a root whose spots are wherever home mounts a block device."""


def root_state(root: Root, table: Table, home: int) -> RootState:
    """The root in its home's table: the mounts that it is on, and the live mounts on its spots."""
    mount = table.containing(root.path)
    if mount is None:
        return RootState(root, home, None, status="home shows no mount that contains it")
    rest = below(mount.point, root.path) or b""
    top = Base(mount, Spot(mount.device, join(mount.root, rest)), b"")
    anywhere = next((layout for layout in root.layout if layout.pattern == ANYWHERE), None)
    bases = (top,) if anywhere else (top, *_inner_bases(root, table))
    spots = Spots((RootState(root, home, mount, bases),))
    live: dict[Spot, list[Mount]] = {}
    matches: dict[Spot, Match] = {}
    parents: dict[int, Mount] = {}
    for candidate in table.mounts:
        spot, parent = table.spot(candidate), table.get(candidate.parent)
        if spot is None or parent is None:
            continue
        match = match_live(root, spots, candidate, parent, spot)
        if match is not None:
            live.setdefault(spot, []).append(candidate)
            matches[spot] = match
            parents[candidate.id] = parent
    stacked = stacks_at_home(home, table, live, matches)
    return RootState(root, home, mount, bases, {k: tuple(v) for k, v in live.items()}, matches, parents, stacked)


def match_live(root: Root, spots: "Spots", mount: Mount, parent: Mount, spot: Spot) -> Match | None:
    """The match of a mount of home, if it is on a spot of the root; `spots` are those of the root alone."""
    anywhere = next((layout for layout in root.layout if layout.pattern == ANYWHERE), None)
    return _device_match(root, anywhere, mount, parent, spot) if anywhere else spots.match(spot)


def stacks_at_home(
    home: int, table: Table, live: Mapping[Spot, Sequence[Mount]], matches: Mapping[Spot, Match]
) -> tuple[Stack, ...]:
    """What is stacked on the live mounts of a root; `matches` has the match of each spot."""
    on_spots = ((mount, matches[spot]) for spot, mounts in live.items() for mount in mounts)
    return tuple(_stacks(home, table, on_spots))


def _device_match(root: Root, layout: Layout, mount: Mount, parent: Mount, spot: Spot) -> Match | None:
    """The match of a block device's mount, wherever it is; not of another view of the root file system."""
    if not is_on_block_device(mount) or mount.device == spot.device:
        return None
    return _anywhere(root, layout, mount.point, parent, spot)


def _anywhere(root: Root, layout: Layout, mountpoint: bytes, parent: Mount, spot: Spot) -> Match | None:
    rel = below(root.path, mountpoint)
    base = Base(parent, Spot(parent.device, parent.root), below(root.path, parent.point) or b"")
    return Match(root, base, layout, rel, mountpoint, mountpoint, spot) if rel else None


def match_anywhere(root: Root, mountpoint: bytes, parent: Mount, spot: Spot) -> Match | None:
    """The match of a mountpoint on which home has nothing now, for a root whose spots are anywhere; else None.

    `parent` is home's mount that holds the mountpoint. None too where that is another directory than `spot` by now.
    """
    layout = next((layout for layout in root.layout if layout.pattern == ANYWHERE), None)
    rest = below(parent.point, mountpoint)
    if layout is None or not rest or Spot(parent.device, join(parent.root, rest)) != spot:
        return None
    return _anywhere(root, layout, mountpoint, parent, spot)


def _inner_bases(root: Root, table: Table) -> Iterable[Base]:
    """Mounts of home below the root that are on no spot of the layout, and that can have such spots themselves."""
    for mount in table.mounts:
        rel = below(root.path, mount.point)
        if not rel or any(match_layout(layout, rel) is not None for layout in root.layout):
            continue
        if any(may_hold(layout, rel) for layout in root.layout) and table.visible(mount):
            yield Base(mount, Spot(mount.device, mount.root), rel)


def stacks(spaces: Iterable[SpaceCopies]) -> tuple[Stack, ...]:
    """Mounts of the same on one mountpoint of a namespace, the lowest of which is on a spot."""
    found: list[Stack] = []
    for space in spaces:
        if len(space.identities) < len(space.copies):
            known = {mount.id: mount for copy in space.copies for mount in (copy.parent, copy.mount) if mount}
            on_spots = ((copy.mount, copy.match) for copy in space.copies if copy.match)
            found += _stacks(space.namespace, Table(known.values()), on_spots)
    return tuple(found)


def _stacks(namespace: int, table: Table, on_spots: Iterable[tuple[Mount, Match]]) -> Iterator[Stack]:
    """For each mountpoint. The same spot by another mount, or the same path beneath another mount, is another one."""
    for lowest, match in on_spots:
        if not table.children(lowest.id):
            continue
        pile = [lowest, *table.stacked_on(lowest)]
        identity, depth = Counter(mount.identity for mount in pile).most_common(1)[0]
        if depth > 1:
            same = [mount for mount in pile if mount.identity == identity]
            yield Stack(namespace, match, same[-1], depth, bottom=same[0].unique)


_SNAPSHOT = re.compile(rb"/(?:.*/)?io\.containerd\.snapshotter\.v1\.overlayfs/snapshots/[0-9]+(?=/)")
"""A layer of containerd's, below its root directory, which is not where it mounts."""


_MOST_KNOWN = 1 << 16


class Spots:
    """Finds the root, and the layer of it, that a spot belongs to."""

    def __init__(self, states: Iterable[RootState]) -> None:
        states = tuple(states)
        self._of = [(state.root, state.home, state.bases) for state in states]
        self._bases: dict[str, list[tuple[RootState, Base]]] = {}
        self._uppers: list[tuple[RootState, Layout]] = []
        self._known: dict[Spot, Match] = {}
        self._claims: dict[bytes, Match | None] = {}
        """By the options of an overlay: hundreds of namespaces have copies of it, all with the same."""
        self._anywhere = next((s.root for s in states if any(one.pattern == ANYWHERE for one in s.root.layout)), None)
        for state in states:
            for base in state.bases:
                self._bases.setdefault(base.spot.device, []).append((state, base))
            if state.bases:
                self._uppers += [(state, layout) for layout in state.root.layout if layout.fstype == "overlay"]

    def after(self, states: Iterable[RootState]) -> "Spots":
        """Those of the states: the same object where their roots are held by the same mounts."""
        states = tuple(states)
        return self if self._of == [(state.root, state.home, state.bases) for state in states] else Spots(states)

    def match(self, spot: Spot) -> Match | None:
        """The layout that the spot is in, or None. A base that another base hides at home does not count.

        A layer may be in hundreds of namespaces, and has one match.
        """
        found = self._known.get(spot) or self._match(spot)
        if found is not None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[spot] = found
        return found

    def has(self, spot: Spot) -> bool:
        """Whether `match` finds one, of which nothing is kept."""
        return self._match(spot) is not None

    def _match(self, spot: Spot) -> Match | None:
        for state, base in self._bases.get(spot.device, ()):
            rest = below(base.spot.path, spot.path)
            if not rest:
                continue
            rel = join(base.rel, rest) if base.rel else rest
            for layout in state.root.layout:
                layer = match_layout(layout, rel) if layout.pattern != ANYWHERE else None
                if layer is not None and not _hidden(state, base, rel):
                    return Match(state.root, base, layout, rel, layer, join(state.root.path, rel), spot)
        return None

    def claimed(self, mount: Mount) -> Match | None:
        """The layer that the overlay's upperdir= option names: a claim, since whoever mounts it may name any."""
        if mount.fstype != "overlay":
            return None
        options = mount.super_options
        if options not in self._claims:
            self._claims[options] = self.claimed_by(options)
        return self._claims[options]

    def claimed_by(self, options: bytes) -> Match | None:
        """The same by an overlay's options, of which nothing is kept."""
        upper = next((o[9:] for o in options.split(b",") if o.startswith(b"upperdir=")), None)
        if upper is None:
            return None
        for state, layout in self._uppers:
            beside = upper.rpartition(b"/")[0]
            rel = below(state.root.path, join(beside, layout.pattern.rsplit(b"/", 1)[-1]))
            if rel and (match := _at(state, layout, rel)):
                return match
        return None

    def of_kept(self, kept: Kept) -> Kept | None:
        """With the root and the layer whose mount it was; None where it is of no root.

        An overlay is of the root whose layer one of its files is in: beside the mountpoint of the layout, or for
        containerd in its own snapshots. A block device is of the root that is the whole host.
        """
        if not kept.device.startswith("0:") or kept.fstype == "btrfs":
            return replace(kept, root=self._anywhere) if self._anywhere else None
        path = kept.path or b""
        for state, layout in self._uppers:
            rel = below(state.root.path, path)
            match = _beside(state, layout, rel) if rel else None
            if match is not None:
                layer = match.mountpoint.rpartition(b"/")[0]  # without the name of a file that somebody has open
                return replace(kept, root=match.root, path=layer, match=match if kept.exact else None)
        snapshot = _SNAPSHOT.match(path)
        owners = [state.root for state, _layout in self._uppers if state.root.engine in ("containerd", "docker")]
        owners.sort(key=lambda root: (below(root.path, path) is None, root.engine))
        return replace(kept, root=owners[0], path=snapshot[0]) if snapshot and owners else None


def _beside(state: RootState, layout: Layout, rel: bytes) -> Match | None:
    """The match of the mountpoint beside a file of a layer: for overlay2/X/diff/a, that of overlay2/X/merged."""
    patterns, parts = layout.pattern.split(b"/"), rel.split(b"/")
    if patterns[-1] == b"*" or len(parts) < len(patterns) - 1:
        return None
    return _at(state, layout, b"/".join((*parts[: len(patterns) - 1], patterns[-1])))


def _at(state: RootState, layout: Layout, rel: bytes) -> Match | None:
    """The match of a path below the root, whether anything is there or not."""
    layer = match_layout(layout, rel)
    if layer is None:
        return None
    base = max(state.bases, key=lambda b: len(b.rel) if below(b.rel, rel) is not None else 0)
    rest = below(base.rel, rel) if base.rel else rel
    spot = Spot(base.spot.device, join(base.spot.path, rest or b""))
    return Match(state.root, base, layout, rel, layer, join(state.root.path, rel), spot)


def _hidden(state: RootState, base: Base, rel: bytes) -> bool:
    return any(
        other.rel and len(other.rel) > len(base.rel) and below(other.rel, rel) is not None for other in state.bases
    )


def identities(states: Iterable[RootState]) -> frozenset[tuple[str, bytes]]:
    """(device, mnt_root) of every live mount on a spot of the layouts."""
    return frozenset(mount.identity for state in states for mounts in state.live.values() for mount in mounts)


def copies_elsewhere(
    inode: int, candidates: Iterable[Candidate], spots: Spots, watched: Container[tuple[str, bytes]]
) -> Iterator[Copy]:
    """Those of a namespace's candidates that are on a spot, claim to be of one, or are of a `watched` identity."""
    return placed(inode, candidates, spots).copies(watched)


@dataclass(frozen=True, slots=True)
class Placed:
    """The candidates of one reading of a namespace."""

    on: tuple[Copy, ...]
    """Those on a spot, or that claim to be of one."""
    off: tuple[Copy, ...]

    def copies(self, watched: Container[tuple[str, bytes]]) -> Iterator[Copy]:
        """Those on a spot, and the others that are of a `watched` identity."""
        yield from self.on
        yield from (copy for copy in self.off if copy.mount.identity in watched)


def placed(inode: int, candidates: Iterable[Candidate], spots: Spots) -> Placed:
    """Which of a namespace's candidates are on a spot, or claim to be of one."""
    on, off = list[Copy](), list[Copy]()
    for candidate in candidates:
        match = spots.match(candidate.spot) if candidate.spot is not None else None
        claim = spots.claimed(candidate.mount) if match is None else None
        copy = Copy(inode, candidate.mount, candidate.parent, candidate.spot, match, claim=claim)
        (off if match is None and claim is None else on).append(copy)
    return Placed(tuple(on), tuple(off))


def copies_at_home(
    inode: int,
    table: Table,
    states: Iterable[RootState],
    spots: Spots,
    watched: Container[tuple[str, bytes]],
) -> Iterator[Copy]:
    """Copies that a home of some roots has of the layers of the others."""
    if all(state.home == inode for state in states):
        return
    for mount in table.mounts:
        spot = table.spot(mount)
        match = spots.match(spot) if spot is not None else None
        if match is not None or mount.identity in watched:
            yield Copy(inode, mount, table.get(mount.parent), spot, match)
