"""Exposures of roots, found in the texts of namespaces while a scan reads these for its own ends.

Of a text little matters: the mounts of the file systems that hold roots, and of those that show a part of one what is
mounted on the way there and how many copies they have. So no table of a whole namespace is made.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..model import Gap, Mount, Picture, RootState
from ..mounts import mountinfo
from ..mounts.exposure import Exposure, Exposures, shown_at
from ..mounts.mountinfo import Rest
from ..mounts.table import Table
from .mount_lines import MountLines

Row = list[bytes]
"""A line of mountinfo: id, parent, device, root, mount point, and the rest."""
Place = tuple[bytes, bytes]

MOST = 10_000
"""Mounts of one namespace that are looked at: who owns it decides how many there are."""
ROOM = 100_000
"""What is kept of all namespaces together: exposures, and ways by which umounts propagate."""
TOO_MANY = "it shows the file systems of roots by too many mounts"


@dataclass(frozen=True, slots=True)
class _Parsed:
    rest: Rest
    leading: frozenset[bytes]
    """The mount points, as written, on the way to the parts of roots that it shows; empty where it shows none."""


class ShowingMount(NamedTuple):
    """A mount that shows a root, as written: a child's path is added to its root and point, which end in no slash."""

    device: bytes
    root: bytes
    point: bytes

    @classmethod
    def of(cls, rest: Rest) -> "ShowingMount":
        return cls(rest[0].encode(), *(mountinfo.escape(path).rstrip(b"/") for path in rest[1:3]))


class ExposedTexts:
    """Finds the exposures in the texts of one scan."""

    def __init__(self) -> None:
        self.mounts: dict[int, int] = {}
        """How many mounts each namespace has, by its inode."""
        self.gaps: list[Gap] = []
        self.homes: Mapping[int, Table] = {}
        """The whole tables of the homes, by their inodes."""
        self._begin(())

    def _begin(self, states: Iterable[RootState]) -> None:
        self._exposures = Exposures(states)
        self._devices = frozenset(device.encode() for device in self._exposures.devices)
        self._parsed: dict[bytes, _Parsed | None] = {}
        self._roots: dict[ShowingMount, dict[tuple[bytes, bytes, bytes], tuple[bytes, ...]]] = {}
        """By what a mount is mounted on, then by its device, root and point: the roots on whose spots it is a copy."""
        self._live: dict[Place, dict[Place, list[bytes]]] = {}
        for state in self._exposures.states:
            for spot, mounts in state.live.items():
                for device, root in {mount.identity for mount in mounts}:
                    spots = self._live.setdefault((device.encode(), mountinfo.escape(root)), {})
                    spots.setdefault((spot.device.encode(), mountinfo.escape(spot.path)), []).append(state.root.path)

    def begin(self, states: Iterable[RootState], tables: Mapping[int, Table]) -> None:
        """Begin anew, with the whole tables of the homes."""
        self._begin(states)
        self.mounts = {inode: len(table.mounts) for inode, table in tables.items()}
        self.homes = tables
        self.gaps = []
        for inode, table in tables.items():
            self._exposures.add_whole(inode, table)

    def found(self, picture: Picture) -> tuple[Exposure, ...]:
        """Every exposure of every root in the namespaces of the picture."""
        return self._exposures.all(picture.namespaces)

    def take(self, inode: int, lines: MountLines) -> None:
        """Look at the text of a namespace. Raises: OSError as reading does."""
        rows = _Rows(lines)
        own = _first(row for row in rows.each() if row[2] in self._devices)
        self.mounts[inode] = rows.count
        known = [(row, parsed) for row in own if (parsed := self._parse(row))]
        leading = frozenset[bytes]().union(*(parsed.leading for _row, parsed in known))
        near = _first(row for row in rows.each() if row[4] in leading) if leading else []
        if max(len(own), len(near)) > MOST or self._exposures.kept > ROOM:
            self.gaps.append(Gap("the mounts of a namespace", TOO_MANY, inode))
            return
        self._exposures.propagate(parsed.rest[4:7] for _row, parsed in known)
        showing = {row[0]: parsed.rest for row, parsed in known if parsed.leading}
        self._exposures.add(inode, Table(filter(None, map(self._mount, near))), self._copies(rows, showing))

    def _copies(self, rows: "_Rows", showing: Mapping[bytes, Rest]) -> dict[tuple[bytes, int], int]:
        """How many copies of live mounts are mounted on those that show a root, by their ids."""
        parents = {small: ShowingMount.of(rest) for small, rest in showing.items()}
        places = {small: self._roots.setdefault(parent, {}) for small, parent in parents.items()}
        counted: dict[tuple[bytes, tuple[bytes, ...]], int] = {}
        for row in rows.each() if places else ():  # beside the reading, this loop is most of what a map costs
            known = places.get(row[1])
            if known is not None:
                mount = (row[2], row[3], row[4])
                roots = known.get(mount)
                if roots is None:
                    roots = self._roots_of(parents[row[1]], *mount)
                    if len(known) < MOST:
                        known[mount] = roots
                if roots:
                    counted[row[1], roots] = counted.get((row[1], roots), 0) + 1
        found = Counter[tuple[bytes, int]]()
        for (small, roots), many in counted.items():
            for root in roots:
                found[root, int(small)] += many
        return found

    def _roots_of(self, parent: "ShowingMount", device: bytes, root: bytes, point: bytes) -> tuple[bytes, ...]:
        """Paths of the roots on whose spots a copy is that is mounted there; as written."""
        if not point.startswith(parent.point):
            return ()
        spots = self._live.get((device, root), {})
        return tuple(spots.get((parent.device, parent.root + point[len(parent.point) :]), ()))

    def _parse(self, row: Row) -> _Parsed | None:
        text = b" ".join(row[2:])
        if text in self._parsed:
            return self._parsed[text]
        try:
            rest = mountinfo.parse_rest(text)
            parsed = _Parsed(rest, frozenset(self._leading(mountinfo.build(0, 0, rest))))
        except mountinfo.Unreadable:
            parsed = None
        if len(self._parsed) < MOST:
            self._parsed[text] = parsed
        return parsed

    def _leading(self, mount: Mount) -> Iterator[bytes]:
        for state in self._exposures.states:
            for base in state.bases:
                if (shown := shown_at(mount, state, base)) is not None:
                    parts = shown[0].rstrip(b"/").split(b"/")
                    yield b"/"
                    yield from (mountinfo.escape(b"/".join(parts[:many])) for many in range(2, len(parts) + 1))

    def _mount(self, row: Row) -> Mount | None:
        parsed = self._parse(row)
        return None if parsed is None else mountinfo.build(int(row[0]), int(row[1]), parsed.rest)


def _first(rows: Iterable[Row]) -> list[Row]:
    """All of them, if they are not too many."""
    found: list[Row] = []
    for row in rows:
        if len(found) <= MOST:
            found.append(row)
    return found


class _Rows:
    """The lines of a text; one that is in hand as a whole is taken apart once."""

    def __init__(self, lines: MountLines) -> None:
        self.count = 0
        self._lines = lines
        self._whole: list[Row] | None = None

    def each(self) -> Iterable[Row]:
        """All lines but those that are cut. Raises: OSError as reading does."""
        if self._whole is None and (whole := self._lines.whole()) is not None:
            self._whole = _apart(whole)
            self.count = len(self._whole)
        return self._streamed() if self._whole is None else self._whole

    def _streamed(self) -> Iterator[Row]:
        count = 0
        for block in self._lines.blocks():
            rows = _apart(block)
            count += len(rows)
            yield from rows
        self.count = count


def _apart(block: bytes) -> list[Row]:
    return [row for line in block.split(b"\n") if len(row := line.split(b" ", 5)) == 6]
