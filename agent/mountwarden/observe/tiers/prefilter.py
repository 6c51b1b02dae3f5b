"""Which lines of a namespace's mountinfo may be leaked copies.

Most lines that could be copies are copies of what home has mounted, on the same spot, and home's umounts reach them
("reached copies"). Of these only the mount ids are kept. Others are dropped that are on no spot of a root, of nothing
that home has or had, and claim nothing. Both are recognized by the raw bytes, before anything is parsed, so that a scan
of many thousand mounts costs little more than reading them, and what is kept of a namespace is not up to who owns it.
"""

import errno
import os
from array import array
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ...model import Candidate, Mount
from ...mounts import mountinfo
from ...mounts.mountinfo import Lines, Rest
from ...mounts.table import spot_of
from ..mount_lines import TOO_LONG, MountLines
from .live_at_home import Identity, LiveAtHome, key_of
from .needles import Needles
from .parent_mount import Key, ParentMount, with_parent
from .unique_ids import UniqueIds

MUCH = 1 << 18
"""Bytes of text that are not read once more where that can be avoided."""

NOTHING: Key = ()


class ReachedCopies(Protocol):
    """The copies in one namespace that an umount at home takes with it."""

    def ids(self, identity: Identity) -> tuple[int, ...]:
        """The small mount ids of the copies of that device and root."""


class ReachedIds:
    """Small ids of reached copies by what they are copies of. There are many of them, and few are ever asked for.

    What there are copies of is the same in most namespaces, and these share it; the ids stay text until one is asked
    for.
    """

    __slots__ = ("_ids", "_places")

    def __init__(self, filtered: "Filtered", common: "Common") -> None:
        keys = tuple(filtered.keys)
        places = common.places.get(keys)
        if places is None:
            places = common.places[keys] = {}
            for place, key in enumerate(keys):
                places[key] = (*places.get(key, ()), place)
        self._places: Mapping[Key, tuple[int, ...]] = places
        self._ids: bytes | array[int] = b" ".join(filtered.smalls)

    def ids(self, identity: Identity) -> tuple[int, ...]:
        """The mount ids of the copies of that device and root."""
        places = self._places.get(key_of(identity))
        if places is None:
            return ()
        if isinstance(self._ids, bytes):
            self._ids = array("Q", map(int, self._ids.split()))
        return tuple(self._ids[place] for place in places)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reading of a namespace gave."""

    mounts: int
    """How many mounts the namespace has."""
    candidates: tuple[Candidate, ...]
    reached: ReachedCopies
    """The copies that need no judgement."""
    unreadable: tuple[tuple[str, int], ...] = ()
    """How many lines were unreadable, by reason."""
    kept: int = 0
    """Bytes of the lines of the candidates, and of what they are mounted on."""
    binds: bool = True
    """Whether what lies below a root may be mounted elsewhere; it is only looked for where there is much to read."""

    def keeps_any(self, identities: Container[Identity]) -> bool:
        """Whether the namespace has a copy of such a device and root that an umount at home need not reach."""
        return any(one.mount.identity in identities for one in self.candidates)

    @classmethod
    def of(cls, filtered: "Filtered", common: "Common") -> "Reading":
        """The reading of all lines of a namespace; `common` is what they were filtered with."""
        reached = ReachedIds(filtered, common)
        return cls(filtered.mounts, filtered.candidates, reached, filtered.unreadable, filtered.kept, filtered.binds)


@dataclass(frozen=True, slots=True)
class Filtered:
    """What is left of a text after the filter."""

    candidates: tuple[Candidate, ...]
    keys: list[Key]
    """What each reached copy is a copy of."""
    smalls: list[bytes]
    """Their small ids, as written."""
    parents: tuple[bytes, ...]
    """Small ids, as written, of what candidates and reached copies are mounted on."""
    mounts: int = 0
    """How many lines there are."""
    unreadable: tuple[tuple[str, int], ...] = ()
    kept: int = 0
    """Bytes of the lines of the candidates, and of what they are mounted on."""
    binds: bool = True
    views: Mapping[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    """The mounts that show where spots are, by small id, as `Views.shown` says."""


@dataclass(slots=True)
class Common:
    """What the namespaces of one scan have in common: most lines are the same in all but for their ids."""

    live: LiveAtHome
    watched: frozenset[Key] = frozenset()
    """What is a candidate wherever it is mounted, beside what is live at home."""
    rests: dict[bytes, Rest] = field(default_factory=dict)
    """The parsed rest of a line."""
    copy_of: dict[tuple[bytes, bytes, int, frozenset[int]], dict[bytes, Key | None]] = field(default_factory=dict)
    """By what a line's mount is mounted on, then by the rest of the line: what it is a reached copy of, else None;
    `NOTHING` where it is of no interest."""
    places: dict[tuple[Key, ...], Mapping[Key, tuple[int, ...]]] = field(default_factory=dict)
    """By what the reached copies of a namespace are copies of, in their order: the places of each."""
    room: int = 8 << 20
    """Bytes of lines that may still be kept here: who owns a namespace decides what its lines are."""

    def has_room(self, line: bytes) -> bool:
        """Whether one more line may be kept; it counts then."""
        self.room -= len(line)
        return self.room > 0


def filter_lines(lines: MountLines, needles: Needles, common: Common, uniques: UniqueIds | None = None) -> Filtered:
    """Filter the lines that may be copies by the `needles`, or by their place.

    Raises: OSError as reading does; EFBIG where the candidates are more than the limits of `lines` let it keep.
    """
    return _Filter(lines, common, UniqueIds() if uniques is None else uniques).filter(needles)


@dataclass(slots=True)
class _Filter:
    lines: MountLines
    common: Common
    uniques: UniqueIds
    parents: dict[bytes, ParentMount] = field(default_factory=dict)
    keys: list[Key] = field(default_factory=list)
    smalls: list[bytes] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    kept: int = 0
    unreadable: dict[str, int] = field(default_factory=dict)
    noted: dict[bytes, ParentMount] = field(default_factory=dict)
    """Of a text that is not in hand as a whole: the mounts of devices on which roots are, by small id."""
    absent: set[bytes] = field(default_factory=set)
    """Small ids of what lines are mounted on that was not noted before them."""
    late: set[bytes] = field(default_factory=set)
    """Those that were noted after all, and what shows a place that earlier blocks were not searched for."""
    views: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    is_again: bool = False

    def filter(self, needles: Needles) -> Filtered:
        whole = self.lines.whole()
        mounts, binds = 0, whole is not None and len(whole) < MUCH
        for block in self.lines.blocks():
            mounts += block.count(b"\n")
            binds = binds or self.common.live.shows_below(block)
            self.uniques.take(block)
            if whole is None:
                self._note_parents(block)
            self._note_views(block, is_first=mounts == block.count(b"\n"))
            self._filter(block, needles)
        if self.late and not self.is_again:
            return self._once_more(needles)
        if self.lines.too_long:
            self.unreadable[TOO_LONG] = self.lines.too_long
        if not mountinfo.are_numbers(self.smalls):
            self._drop_nameless()
        self._add_beneath()
        self._find_parents()
        unreadable = tuple(self.unreadable.items())
        candidates, parents = tuple(self.candidates), tuple(self.parents)
        return Filtered(candidates, self.keys, self.smalls, parents, mounts, unreadable, self.kept, binds, self.views)

    def _note_parents(self, block: bytes) -> None:
        """Of a text that is not in hand as a whole: the mounts of devices on which roots are. What decides on a line is
        mounted on one of these, and most often comes after it.
        """
        for line in Lines(block).holding(b" %s /" % device for device in self.common.live.bases):
            small = line.partition(b" ")[0]
            self.noted[small] = self._as_parent(line)
            self.late |= {small} & self.absent

    def _note_views(self, block: bytes, *, is_first: bool) -> None:
        """The mounts that show where spots are; what is on them most often comes after them."""
        shown = self.common.live.views.shown(block)
        if not is_first:
            self.late |= shown.keys() - self.views.keys()
        self.views |= shown

    def _once_more(self, needles: Needles) -> Filtered:
        """A mount was moved below a newer one: its children come before it. This time it is known from the start."""
        self.uniques.restart()
        again = _Filter(self.lines, self.common, self.uniques, noted=self.noted, views=self.views, is_again=True)
        return again.filter(needles)

    def _find_parents(self) -> None:
        """Of candidates of a text that is not in hand as a whole, what they are mounted on elsewhere."""
        asked = {b"%d" % one.mount.parent for one in self.candidates if one.parent is None}
        found = self.lines.find(asked) if self.lines.whole() is None else {}
        if found:
            known = {identity: self._as_parent(line).mount for identity, line in found.items()}
            self.candidates = [with_parent(one, known.get(b"%d" % one.mount.parent)) for one in self.candidates]

    def _filter(self, block: bytes, needles: Needles) -> None:
        known, keys, smalls = self.parents.get, self.keys, self.smalls
        places = {place for places in self.views.values() for place in places}
        for line in needles.lines(block, places):  # with the reading, this loop is what a first scan costs
            fields = line.split(b" ", 2)
            key, parent = None, None
            if len(fields) == 3:
                small, on, rest = fields
                parent = known(on) or self._parent(on)
                try:
                    key = parent.copy_of[rest]
                except KeyError:
                    key = self._copy_of(parent, rest)
                    if self.common.has_room(rest):
                        parent.copy_of[rest] = key
            if key:
                keys.append(key)
                smalls.append(small)
            elif key is None:
                self._add_candidate(line)

    def _drop_nameless(self) -> None:
        """Drop lines whose id is no number, which no kernel writes; so they are tested for here only."""
        for place in reversed(range(len(self.smalls))):
            if not mountinfo.is_number(self.smalls[place]):
                self._count_unreadable(mountinfo.NO_NUMBER)
                del self.smalls[place], self.keys[place]

    def _copy_of(self, parent: ParentMount, rest: bytes) -> Key | None:
        """What the line is a reached copy of; None where an umount at home may not reach it, so that the judge must see
        it; `NOTHING` where it is certainly of no interest.
        """
        fields = rest.split(b" ", 3)
        if len(fields) < 4:
            return None
        key, live = (fields[0], fields[1]), self.common.live
        spot = (parent.device, parent.root + fields[2][parent.cut :])
        if parent.mount is not None and live.groups.get(key, {}).get(spot) in parent.groups:
            return key
        return None if self._is_wanted(parent, key, spot, rest) else NOTHING

    def _is_wanted(self, parent: ParentMount, key: Key, spot: Key, rest: bytes) -> bool:
        live = self.common.live
        try:
            return (
                key in live.identities
                or key in self.common.watched
                or key == parent.key
                or (parent.mount is not None and live.has_spot(*spot))
                or live.has_claim(rest)
            )
        except mountinfo.Unreadable:
            return True

    def _add_beneath(self) -> None:
        """Reached copies of what is also a candidate here, as in a stack: the judge must see all of them."""
        repeated = {key_of(candidate.mount.identity) for candidate in self.candidates}
        if repeated.isdisjoint(self.keys):
            return
        places = [place for place, key in enumerate(self.keys) if key in repeated]
        beneath = {self.smalls[place] for place in places}
        for place in reversed(places):
            del self.keys[place], self.smalls[place]
        for line in self.lines.find(beneath).values():
            self._add_candidate(line)

    def _add_candidate(self, line: bytes) -> None:
        self._keep(line)
        try:
            mount = self._mount(line)
        except mountinfo.Unreadable as error:
            self._count_unreadable(str(error))
            return
        identity = b"%d" % mount.parent
        parent = (self.parents.get(identity) or self._parent(identity)).mount
        self.candidates.append(Candidate(mount, parent, spot_of(mount, parent)))
        if self.lines.whole() is None:  # what is stacked on it is one too
            self.noted.setdefault(b"%d" % mount.id, self._parent_of(mount))

    def _keep(self, line: bytes) -> None:
        self.kept += len(line)
        if self.kept > self.lines.limits.kept:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    def _count_unreadable(self, reason: str) -> None:
        self.unreadable[reason] = self.unreadable.get(reason, 0) + 1

    def _parent(self, identity: bytes) -> ParentMount:
        """The mount with that small id; none where it was not noted yet, in a text that is not in hand as a whole."""
        made = self.noted.get(identity)
        if made is None and self.lines.whole() is None:
            self.absent.add(identity)
            made = ParentMount(None)
        elif made is None:
            found = self.lines.find((identity,)) if mountinfo.is_number(identity) else {}
            made = self._as_parent(found.get(identity))
        self.parents[identity] = made
        return made

    def _as_parent(self, line: bytes | None) -> ParentMount:
        self._keep(line or b"")
        try:
            mount = None if line is None else self._mount(line)
        except mountinfo.Unreadable:
            mount = None
        return ParentMount(None) if mount is None else self._parent_of(mount)

    def _parent_of(self, mount: Mount) -> ParentMount:
        point, root = mountinfo.escape(mount.point), mountinfo.escape(mount.root)
        groups = frozenset((mount.shared, mount.master, mount.propagate_from)) - {0}
        # "/" ends in a slash and "/a" does not: the child's path is cut so that it begins with one.
        place = (mount.device.encode(), root.rstrip(b"/"), len(point.rstrip(b"/")), groups)
        return ParentMount(mount, *place, self.common.copy_of.setdefault(place, {}), key_of(mount.identity))

    def _mount(self, line: bytes) -> Mount:
        identity, parent, text = mountinfo.split(line)
        rest = self.common.rests.get(text)
        if rest is None:
            rest = mountinfo.parse_rest(text)
            if self.common.has_room(text):
                self.common.rests[text] = rest
        return mountinfo.build(identity, parent, rest, self.uniques.get(line[: line.index(b" ")]))
