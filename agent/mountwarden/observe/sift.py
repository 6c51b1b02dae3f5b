"""Which lines of a namespace's mountinfo are worth a judgement.

Most lines that could be copies are just that: copies of what home has mounted, on the same spot, within reach of home's
umounts. Of these only the mount ids are kept. They are told apart on the raw bytes, before anything is parsed, which
makes a look at many thousand mounts cost little more than reading them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from ..model import Mount, RootState, Spot
from . import mountinfo
from .mountinfo import Lines, Rest


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mount that is worth a judgement, with its parent and spot."""

    mount: Mount
    parent: Mount | None
    spot: Spot | None


Identity = tuple[str, bytes]
Key = tuple[bytes, ...]
"""(device, path) as mountinfo writes them, escapes and all."""


class Settled:
    """What home has mounted on which spots, and the peer groups through which its umounts go. Compared by identity."""

    def __init__(self, states: Iterable[RootState] = ()) -> None:
        self.groups: dict[Key, dict[Key, int]] = {}
        for state in states:
            for spot, mounts in state.live.items():
                for mount in mounts:
                    if group := state.parents[mount.id].shared:
                        held = self.groups.setdefault(key_of(mount.identity), {})
                        held[spot.device.encode(), mountinfo.escape(spot.path)] = group

    def differs(self, other: "Settled") -> frozenset[Key]:
        """What home mounts otherwise than by `other`."""
        if self is other:
            return frozenset()
        both = self.groups.keys() | other.groups.keys()
        return frozenset(key for key in both if self.groups.get(key) != other.groups.get(key))


def key_of(identity: Identity) -> Key:
    """An identity as mountinfo writes it."""
    return identity[0].encode(), mountinfo.escape(identity[1])


class Held(Protocol):
    """The copies in one namespace that an umount at home takes with it."""

    def ids(self, identity: Identity) -> tuple[int, ...]:
        """The small mount ids of the copies of that device and root."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Small ids of mounts by what they are copies of, kept as mountinfo writes them: few of them are ever asked for."""

    by_key: Mapping[Key, list[bytes]]

    def ids(self, identity: Identity) -> tuple[int, ...]:
        """The mount ids of the copies of that device and root."""
        return tuple(map(int, self.by_key.get(key_of(identity), ())))


@dataclass(frozen=True, slots=True)
class Seen:
    """What one reading of a namespace gave."""

    mounts: int
    candidates: tuple[Candidate, ...]
    settled: Held
    unreadable: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Sifted:
    """What is left of a text."""

    candidates: tuple[Candidate, ...]
    settled: Mapping[Key, list[bytes]]
    """Small ids as written."""
    parents: tuple[bytes, ...]
    """Small ids, as written, of what candidates and settled mounts are mounted on."""
    unreadable: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Common:
    """What namespaces that are looked at together have in common: most lines are the same in all, but for their ids."""

    known: Settled
    rests: dict[bytes, Rest] = field(default_factory=dict)
    """The parsed rest of a line."""
    verdicts: dict[tuple[bytes, bytes, int, frozenset[int]], dict[bytes, Key | None]] = field(default_factory=dict)
    """By what a line's mount is mounted on, then by the rest of the line: of what it is a settled copy."""


def sift(
    text: bytes,
    wanted: tuple[bytes, ...],
    common: Common,
    *,
    tree: bytes | None = None,
    uniques: Mapping[bytes, int] = MappingProxyType({}),
) -> Sifted:
    """Go through the lines that hold one of the `wanted` strings.

    `tree` is a text that has the parents (None: this one has them); `uniques` are unique mount ids by small ones as
    written.
    """
    return _Sieve(text, common, text if tree is None else tree, uniques).sift(wanted)


@dataclass(slots=True)
class _Parent:
    """What a mount is mounted on, and where its children's spots then begin."""

    mount: Mount | None
    device: bytes = b""
    root: bytes = b""
    cut: int = 0
    """Bytes of a child's mount point that the parent's own takes up, less the slash between."""
    groups: frozenset[int] = frozenset()
    verdicts: dict[bytes, Key | None] = field(default_factory=dict)


@dataclass(slots=True)
class _Sieve:
    text: bytes
    common: Common
    tree: bytes
    uniques: Mapping[bytes, int]
    parents: dict[bytes, _Parent] = field(default_factory=dict)
    settled: dict[Key, list[bytes]] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)

    def sift(self, wanted: tuple[bytes, ...]) -> Sifted:
        candidates = []
        settled = self.settled
        for line in Lines(self.text).holding(wanted):
            head = line.split(b" ", 2)
            key = self._settled_as(head[1], head[2]) if len(head) == 3 else None
            if key is not None and mountinfo.is_number(head[0]):
                settled.setdefault(key, []).append(head[0])
            elif candidate := self._candidate(line):
                candidates.append(candidate)
        candidates += self._beneath(candidates)
        return Sifted(tuple(candidates), settled, tuple(self.parents), tuple(self.unreadable.items()))

    def _settled_as(self, parent_id: bytes, rest: bytes) -> Key | None:
        parent = self.parents.get(parent_id) or self._parent(parent_id)
        try:
            return parent.verdicts[rest]
        except KeyError:
            verdict = parent.verdicts[rest] = self._verdict(parent, rest.split(b" ", 3))
            return verdict

    def _verdict(self, parent: _Parent, fields: list[bytes]) -> Key | None:
        """What an umount at home of the same would reach; None where it is not certain that one would."""
        if parent.mount is None or len(fields) < 4:
            return None
        key = (fields[0], fields[1])
        group = self.common.known.groups.get(key, {}).get((parent.device, parent.root + fields[2][parent.cut :]))
        return key if group in parent.groups else None

    def _beneath(self, candidates: list[Candidate]) -> Iterable[Candidate]:
        """Settled mounts of which there is more here, as in a stack: the judge must see all of them."""
        for candidate in tuple(candidates):
            for identity in self.settled.pop(key_of(candidate.mount.identity), ()):
                line = Lines(self.text).by_id(int(identity))
                if line is not None and (found := self._candidate(line)):
                    yield found

    def _candidate(self, line: bytes) -> Candidate | None:
        try:
            mount = self._mount(line)
        except mountinfo.Unreadable as error:
            self.unreadable[str(error)] = self.unreadable.get(str(error), 0) + 1
            return None
        identity = b"%d" % mount.parent
        parent = (self.parents.get(identity) or self._parent(identity)).mount
        return Candidate(mount, parent, mountinfo.spot_of(mount, parent))

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
        # "/" is its own slash: below "/" and below "/a" the child's path is cut so that one slash is left.
        place = (mount.device.encode(), root.rstrip(b"/"), len(point.rstrip(b"/")), groups)
        return _Parent(mount, *place, self.common.verdicts.setdefault(place, {}))

    def _mount(self, line: bytes) -> Mount:
        identity, parent, text = mountinfo.split(line)
        rest = self.common.rests.get(text)
        if rest is None:
            rest = self.common.rests[text] = mountinfo.parse_rest(text)
        return mountinfo.build(identity, parent, rest, self.uniques.get(line[: line.index(b" ")]))
