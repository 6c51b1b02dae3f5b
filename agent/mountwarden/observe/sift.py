"""Which lines of a namespace's mountinfo are worth a judgement.

Most lines that could be copies are just that: copies of what home has mounted, on the same spot, within reach of home's
umounts. Of these only the mount ids are kept. They are told apart on the raw bytes, before anything is parsed, which
makes a look at many thousand mounts cost little more than reading them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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
_Key = tuple[bytes, bytes]
"""(device, path) as mountinfo writes them, escapes and all."""


class Settled:
    """What home has mounted on which spots, and the peer groups through which its umounts go. Compared by identity."""

    def __init__(self, states: Iterable[RootState] = ()) -> None:
        self.groups: dict[_Key, dict[_Key, int]] = {}
        for state in states:
            for spot, mounts in state.live.items():
                for mount in mounts:
                    if group := state.parents[mount.id].shared:
                        held = self.groups.setdefault((mount.device.encode(), mountinfo.escape(mount.root)), {})
                        held[spot.device.encode(), mountinfo.escape(spot.path)] = group


@dataclass(frozen=True, slots=True)
class Seen:
    """What one reading of a namespace gave."""

    signature: tuple[int, int, tuple[bytes, ...], Settled]
    mounts: int
    candidates: tuple[Candidate, ...]
    settled: Mapping[Identity, tuple[int, ...]]
    """Small ids of the copies that an umount at home takes with it, by what they are copies of."""
    unreadable: tuple[tuple[str, int], ...] = ()


def sift(text: bytes, signature: tuple[int, int, tuple[bytes, ...], Settled], rests: dict[bytes, Rest]) -> Seen:
    """Go through the lines that hold one of the signature's strings. `rests` spares parsing the same line twice."""
    return _Sieve(text, signature[3], rests).sift(signature)


@dataclass(slots=True)
class _Parent:
    """What a mount is mounted on, and where its children's spots then begin."""

    mount: Mount | None
    device: bytes = b""
    root: bytes = b""
    cut: int = 0
    """Bytes of a child's mount point that the parent's own takes up, less the slash between."""
    groups: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Sieve:
    text: bytes
    known: Settled
    rests: dict[bytes, Rest]
    parents: dict[bytes, _Parent] = field(default_factory=dict)
    settled: dict[_Key, list[bytes]] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)

    def sift(self, signature: tuple[int, int, tuple[bytes, ...], Settled]) -> Seen:
        candidates = []
        groups, settled = self.known.groups, self.settled
        for line in Lines(self.text).holding(signature[2]):
            fields = line.split(b" ", 5)
            held = groups.get((fields[2], fields[3])) if len(fields) == 6 else None
            if held is not None and self._is_settled(fields, held):
                settled.setdefault((fields[2], fields[3]), []).append(line)
            elif candidate := self._candidate(line):
                candidates.append(candidate)
        candidates += self._beneath(candidates)
        ids = {
            (device.decode(), mountinfo.unescape(root)): tuple(int(line.split(b" ", 1)[0]) for line in lines)
            for (device, root), lines in settled.items()
        }
        mounts = self.text.count(b"\n")
        return Seen(signature, mounts, tuple(candidates), ids, tuple(self.unreadable.items()))

    def _is_settled(self, fields: list[bytes], held: Mapping[_Key, int]) -> bool:
        parent = self.parents.get(fields[1]) or self._parent(fields[1])
        if parent.mount is None:
            return False
        group = held.get((parent.device, parent.root + fields[4][parent.cut :]))
        return group is not None and group in parent.groups

    def _beneath(self, candidates: list[Candidate]) -> Iterable[Candidate]:
        """Settled mounts of which there is more here, as in a stack: the judge must see all of them."""
        for candidate in tuple(candidates):
            key = (candidate.mount.device.encode(), mountinfo.escape(candidate.mount.root))
            for line in self.settled.pop(key, ()):
                if found := self._candidate(line):
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
        line = Lines(self.text).by_id(int(identity)) if identity.isdigit() else None
        try:
            mount = None if line is None else self._mount(line)
        except mountinfo.Unreadable:
            mount = None
        if mount is None:
            return _Parent(None)
        point, root = mountinfo.escape(mount.point), mountinfo.escape(mount.root)
        groups = frozenset((mount.shared, mount.master, mount.propagate_from)) - {0}
        # "/" is its own slash: below "/" and below "/a" the child's path is cut so that one slash is left.
        return _Parent(mount, mount.device.encode(), root.rstrip(b"/"), len(point.rstrip(b"/")), groups)

    def _mount(self, line: bytes) -> Mount:
        identity, parent, text = mountinfo.split(line)
        rest = self.rests.get(text)
        if rest is None:
            rest = self.rests[text] = mountinfo.parse_rest(text)
        return mountinfo.build(identity, parent, rest)
