"""Which lines of a namespace's mountinfo may be leaked copies.

Most lines that could be copies are copies of what home has mounted, on the same spot, and home's umounts reach them
("reached copies"). Of these only the mount ids are kept. They are recognized by the raw bytes, before anything is
parsed, so that a scan of many thousand mounts costs little more than reading them.
"""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from ...model import Candidate, Mount, RootState
from ...mounts import mountinfo
from ...mounts.mountinfo import Lines, Rest
from ...mounts.table import spot_of

Identity = tuple[str, bytes]
Key = tuple[bytes, ...]
"""(device, path) as mountinfo writes them, escapes and all."""


class LiveAtHome:
    """What the homes have mounted on which spots, and the peer groups by which an umount there propagates.

    Two objects are equal only if they are the same object."""

    def __init__(self, states: Iterable[RootState] = ()) -> None:
        self.groups: dict[Key, dict[Key, int]] = {}
        for state in states:
            for spot, mounts in state.live.items():
                for mount in mounts:
                    if group := state.parents[mount.id].shared:
                        spots = self.groups.setdefault(key_of(mount.identity), {})
                        spots[spot.device.encode(), mountinfo.escape(spot.path)] = group

    def differs(self, other: "LiveAtHome") -> frozenset[Key]:
        """What home has on other spots, or in other peer groups, than in `other`."""
        if self is other:
            return frozenset()
        both = self.groups.keys() | other.groups.keys()
        return frozenset(key for key in both if self.groups.get(key) != other.groups.get(key))


def key_of(identity: Identity) -> Key:
    """An identity as mountinfo writes it."""
    return identity[0].encode(), mountinfo.escape(identity[1])


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

    @classmethod
    def of(cls, text: bytes, filtered: "Filtered", common: "Common") -> "Reading":
        """The reading of a whole text; `common` is what it was filtered with."""
        return cls(text.count(b"\n"), filtered.candidates, ReachedIds(filtered, common), filtered.unreadable)


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
    unreadable: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Common:
    """What the namespaces of one scan have in common: most lines are the same in all but for their ids."""

    live: LiveAtHome
    rests: dict[bytes, Rest] = field(default_factory=dict)
    """The parsed rest of a line."""
    copy_of: dict[tuple[bytes, bytes, int, frozenset[int]], dict[bytes, Key | None]] = field(default_factory=dict)
    """By what a line's mount is mounted on, then by the rest of the line: what it is a reached copy of."""
    places: dict[tuple[Key, ...], Mapping[Key, tuple[int, ...]]] = field(default_factory=dict)
    """By what the reached copies of a namespace are copies of, in their order: the places of each."""


def filter_text(
    text: bytes,
    needles: tuple[bytes, ...],
    common: Common,
    *,
    tree: bytes | None = None,
    uniques: Mapping[bytes, int] = MappingProxyType({}),
) -> Filtered:
    """Filter the lines that hold one of the `needles`.

    `tree` is the text in which their parents are found (None: the same); `uniques` are unique mount ids by small ones
    as written.
    """
    return _Filter(text, common, text if tree is None else tree, uniques).filter(needles)


@dataclass(slots=True)
class _Parent:
    """What a mount is mounted on, and where its children's spots then begin."""

    mount: Mount | None
    device: bytes = b""
    root: bytes = b""
    cut: int = 0
    """Bytes of a child's mount point that the parent's own takes up, less the slash between."""
    groups: frozenset[int] = frozenset()
    copy_of: dict[bytes, Key | None] = field(default_factory=dict)


@dataclass(slots=True)
class _Filter:
    text: bytes
    common: Common
    tree: bytes
    uniques: Mapping[bytes, int]
    parents: dict[bytes, _Parent] = field(default_factory=dict)
    keys: list[Key] = field(default_factory=list)
    smalls: list[bytes] = field(default_factory=list)
    unreadable: dict[str, int] = field(default_factory=dict)

    def filter(self, needles: tuple[bytes, ...]) -> Filtered:
        candidates = []
        known, keys, smalls = self.parents.get, self.keys, self.smalls
        for line in Lines(self.text).holding(needles):  # with the reading, this loop is what a first scan costs
            fields = line.split(b" ", 2)
            key = None
            if len(fields) == 3:
                small, on, rest = fields
                parent = known(on) or self._parent(on)
                try:
                    key = parent.copy_of[rest]
                except KeyError:
                    key = parent.copy_of[rest] = self._copy_of(parent, rest.split(b" ", 3))
            if key is not None:
                keys.append(key)
                smalls.append(small)
            elif candidate := self._candidate(line):
                candidates.append(candidate)
        if not mountinfo.are_numbers(smalls):
            self._drop_nameless()
        candidates += self._beneath(candidates)
        return Filtered(tuple(candidates), keys, smalls, tuple(self.parents), tuple(self.unreadable.items()))

    def _drop_nameless(self) -> None:
        """Drop lines whose id is no number, which no kernel writes; so they are tested for here only."""
        for place in reversed(range(len(self.smalls))):
            if not mountinfo.is_number(self.smalls[place]):
                self._count_unreadable(mountinfo.NO_NUMBER)
                del self.smalls[place], self.keys[place]

    def _copy_of(self, parent: _Parent, fields: list[bytes]) -> Key | None:
        """What the line is a reached copy of; None where it is not certain that an umount at home reaches it."""
        if parent.mount is None or len(fields) < 4:
            return None
        key = (fields[0], fields[1])
        group = self.common.live.groups.get(key, {}).get((parent.device, parent.root + fields[2][parent.cut :]))
        return key if group in parent.groups else None

    def _beneath(self, candidates: list[Candidate]) -> Iterable[Candidate]:
        """Reached copies of what is also a candidate here, as in a stack: the judge must see all of them."""
        repeated = {key_of(candidate.mount.identity) for candidate in candidates}
        if repeated.isdisjoint(self.keys):
            return
        places = [place for place, key in enumerate(self.keys) if key in repeated]
        beneath = [self.smalls[place] for place in places]
        for place in reversed(places):
            del self.keys[place], self.smalls[place]
        for small in beneath:
            line = Lines(self.text).by_id(int(small))
            if line is not None and (found := self._candidate(line)):
                yield found

    def _candidate(self, line: bytes) -> Candidate | None:
        try:
            mount = self._mount(line)
        except mountinfo.Unreadable as error:
            self._count_unreadable(str(error))
            return None
        identity = b"%d" % mount.parent
        parent = (self.parents.get(identity) or self._parent(identity)).mount
        return Candidate(mount, parent, spot_of(mount, parent))

    def _count_unreadable(self, reason: str) -> None:
        self.unreadable[reason] = self.unreadable.get(reason, 0) + 1

    def _parent(self, identity: bytes) -> _Parent:
        made = self.parents[identity] = self._read_parent(identity)
        return made

    def _read_parent(self, identity: bytes) -> _Parent:
        line = Lines(self.tree).by_id(int(identity)) if mountinfo.is_number(identity) else None
        try:
            mount = None if line is None else self._mount(line)
        except mountinfo.Unreadable:
            mount = None
        if mount is None:
            return _Parent(None)
        point, root = mountinfo.escape(mount.point), mountinfo.escape(mount.root)
        groups = frozenset((mount.shared, mount.master, mount.propagate_from)) - {0}
        # "/" ends in a slash and "/a" does not: the child's path is cut so that it begins with one.
        place = (mount.device.encode(), root.rstrip(b"/"), len(point.rstrip(b"/")), groups)
        return _Parent(mount, *place, self.common.copy_of.setdefault(place, {}))

    def _mount(self, line: bytes) -> Mount:
        identity, parent, text = mountinfo.split(line)
        rest = self.common.rests.get(text)
        if rest is None:
            rest = self.common.rests[text] = mountinfo.parse_rest(text)
        return mountinfo.build(identity, parent, rest, self.uniques.get(line[: line.index(b" ")]))
