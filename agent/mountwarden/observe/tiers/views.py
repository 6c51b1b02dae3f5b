"""Where a namespace shows the directories in which roots have spots that no string of a line tells.

A copy on a spot is mounted on a mount of the root's own file system, and that mount shows the directory of the spot. So
these mounts are found by their device, and the copies by how the mount points on them begin.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ...model import RootState
from ...mounts import mountinfo
from ...mounts.mountinfo import Lines
from ...mounts.roots import ANYWHERE, may_hold
from .needles import needle

_MOST_KNOWN = 4096

_STAR = b"*"


@dataclass(frozen=True, slots=True)
class _Place:
    """A directory of a file system below which spots are."""

    path: bytes
    """As mountinfo writes it, without a slash at the end."""
    below: tuple[bytes, ...]
    """The components of the layout's pattern from there on."""

    def suffix(self, root: bytes) -> bytes | None:
        """What the mount points of spots have after that of a mount whose mnt_root is `root`; None: it shows none."""
        if self.path == root or self.path.startswith(root + b"/"):
            return self.path[len(root) :] + _head(self.below)
        if not root.startswith(self.path + b"/"):
            return None
        parts = root[len(self.path) + 1 :].split(b"/")
        if len(parts) >= len(self.below) or any(p not in (_STAR, q) for p, q in zip(self.below, parts, strict=False)):
            return None
        return _head(self.below[len(parts) :])


def _head(components: tuple[bytes, ...]) -> bytes:
    """What a path has in common that matches them, up to the first `*`; with the space after it where there is none."""
    literal = components[: components.index(_STAR)] if _STAR in components else components
    return b"".join(b"/" + one for one in literal) + (b"/" if _STAR in components else b" ")


@dataclass(frozen=True, slots=True)
class Views:
    """Equal where the same is searched for."""

    places: Mapping[bytes, tuple[_Place, ...]] = field(default_factory=dict)
    """By device."""
    _known: dict[tuple[bytes, bytes], tuple[bytes, ...]] = field(default_factory=dict, compare=False, repr=False)
    """By device and mnt_root: the suffixes."""

    @classmethod
    def of(cls, states: Iterable[RootState]) -> "Views":
        """Those of these roots."""
        places: dict[bytes, set[_Place]] = {}
        for device, place in _places(states):
            places.setdefault(device, set()).add(place)
        return cls({device: tuple(sorted(some, key=repr)) for device, some in places.items()})

    def shown(self, text: bytes) -> dict[bytes, tuple[bytes, ...]]:
        """By the small id, as written, of each mount in the text that shows such a directory: its places.

        A place is what stands in a line before the names that make a mount point a spot, with a space before it.
        """
        found: dict[bytes, tuple[bytes, ...]] = {}
        # Without the space after it: a search by a rarer last byte takes half the time.
        for line in Lines(text).holding(b" %s" % device for device in self.places):
            fields = line.split(b" ", 5)
            if len(fields) == 6 and fields[2] in self.places and (suffixes := self._suffixes(fields[2], fields[3])):
                point = fields[4].rstrip(b"/")
                found[fields[0]] = tuple(b" %s%s" % (point, suffix) for suffix in suffixes)
        return found

    def _suffixes(self, device: bytes, root: bytes) -> tuple[bytes, ...]:
        known = self._known.get((device, root))
        if known is None:
            if len(self._known) >= _MOST_KNOWN:  # who owns a namespace decides what is mounted in it
                self._known.clear()
            by_path: dict[bytes, list[bytes]] = {}
            for place in self.places[device]:
                if (suffix := place.suffix(root.rstrip(b"/"))) is not None:
                    by_path.setdefault(place.path, []).append(suffix)
            known = self._known[device, root] = tuple(_shortest(map(_common, by_path.values())))
        return known


def _places(states: Iterable[RootState]) -> Iterator[tuple[bytes, _Place]]:
    for state in states:
        layouts = [one for one in state.root.layout if one.pattern != ANYWHERE and needle(one) is None]
        for base in state.bases if layouts else ():
            path = mountinfo.escape(base.spot.path).rstrip(b"/")
            depth = base.rel.count(b"/") + 1 if base.rel else 0
            for layout in layouts:
                if may_hold(layout, base.rel):
                    below = tuple(map(mountinfo.escape, layout.pattern.split(b"/")[depth:]))
                    yield base.spot.device.encode(), _Place(path, below)


def _common(suffixes: list[bytes]) -> bytes:
    """What all suffixes of one root begin with: one search, which finds little more than they do."""
    if len(suffixes) == 1:
        return suffixes[0]
    first, last = min(suffixes), max(suffixes)
    length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rindex(b"/", 0, length) + 1]


def _shortest(suffixes: Iterable[bytes]) -> Iterator[bytes]:
    """Those that begin with no other one."""
    last: bytes | None = None
    for suffix in sorted(suffixes):
        if last is None or not suffix.startswith(last):
            last = suffix
            yield suffix
