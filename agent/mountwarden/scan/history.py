"""What earlier scans saw: which mounts home had on its spots, and which copies were left when one was unmounted. Pure.

Home is the mount namespace whose view of a root counts; a spot is a place in a file system, (device, path), where a
layout has mounts. A copy has a history when home's mount of the same (device, mnt_root) was there at one scan and gone
at the next, and the copy was there at that next scan. Device numbers are reused at once: a new container's /dev may
have the number of the layer that has just gone. So type and options must be the same too; a copy that is not on home's
spot must have been there before home's mount went; and from then on it must be there at every scan. A scan in which its
namespace or its home could not be read ends what is known.

A mount that went with all its copies is kept as gone until it is known that no process keeps it open: while one does,
neither its device number nor its mount ids can be reused.

stored_history.py says what of it lasts over a restart, and why that is evidence still.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..model import Copy, Gone, Match, Mount, MountClass, RootState, Spot
from ..observe.tiers.prefilter import ReachedCopies

Identity = tuple[str, bytes]
CopyKey = tuple[int, int, str, bytes]


def key(copy: Copy) -> CopyKey:
    """What names a copy from scan to scan: its namespace, its small mount id and its identity; see `may_be`."""
    return copy.namespace, copy.mount.id, *copy.mount.identity


def may_be(one: Mount, other: Mount) -> bool:
    """Whether two mounts of one key can be one mount: by the unique ids, where both are known.

    One may be missing: a namespace that changes while it is read is read as text alone.
    """
    return one.unique is None or other.unique is None or one.unique == other.unique


@dataclass(frozen=True, slots=True)
class HomeMount:
    """A mount of home on one spot, with the small mount ids that it and its copies had at the last scan."""

    match: Match
    mount: Mount
    ids: frozenset[int]
    home: int | None = None
    """Inode of the home that had it."""


class CopyOf(NamedTuple):
    """A copy, and the mount of home that it is of: one that home has, or had when the copy was there already."""

    copy: Copy
    of: HomeMount


@dataclass(frozen=True, slots=True)
class Lingering:
    """What home has unmounted, while namespaces that may have copies of it were not read yet."""

    mounts: tuple[HomeMount, ...]
    waiting: frozenset[int]
    """Inodes of these namespaces."""


MOST_LINGERING = 4096


@dataclass(frozen=True, slots=True)
class History:
    """Home's mounts at the last scan by (device, mnt_root), the copies left behind, and what is mounted nowhere now."""

    live: Mapping[Identity, tuple[HomeMount, ...]] = field(default_factory=dict)
    left: Mapping[CopyKey, CopyOf] = field(default_factory=dict)
    gone: Mapping[Identity, Gone] = field(default_factory=dict)
    elsewhere: Mapping[CopyKey, Mount] = field(default_factory=dict)
    """Copies at the last scan that are on no spot of a layout."""
    reached: tuple[ReachedCopies, ...] = ()
    """By namespace, the copies at the last scan that home's umounts reach."""
    beside: tuple[CopyOf, ...] = ()
    """Copies at the last scan of what home had then, which its umount would leave behind."""
    lingering: Mapping[Identity, Lingering] = field(default_factory=dict)
    """What home had when some namespaces waited to be read, and has no more."""
    earlier: Mapping[Identity, bool] = field(default_factory=dict)
    """What the next scan looks for since an earlier run of the service saw it: whether it is on a volume."""

    def watched(self) -> frozenset[Identity]:
        """What is searched for in other namespaces wherever it is mounted: what home has, or had with a copy left."""
        left = {(device, root) for _ns, _id, device, root in self.left}
        return frozenset(self.live) | left | frozenset(self.lingering) | frozenset(self.earlier)

    def volumes(self, states: Iterable[RootState]) -> frozenset[Identity]:
        """Identities on volumes, now or before: neither a type nor a last path component sets them apart."""
        matched = [(m.identity, s.matches[spot]) for s in states for spot, mounts in s.live.items() for m in mounts]
        matched += [(identity, one.match) for identity, many in self.live.items() for one in many]
        matched += [((device, root), held.of.match) for (_ns, _id, device, root), held in self.left.items()]
        seen = frozenset(found for found, match in matched if match.layout.mount_class is MountClass.VOLUME)
        return seen | {identity for identity, volume in self.earlier.items() if volume}

    def without(self, unused: Container[frozenset[int]]) -> "History":
        """The history without what is gone and was seen to be kept by no process, named by its mount ids."""
        return replace(self, gone={identity: gone for identity, gone in self.gone.items() if gone.ids not in unused})


def remember(
    history: History,
    states: Iterable[RootState],
    copies: Iterable[Copy],
    matches: Mapping[Spot, Match],
    unread: frozenset[int],
    reached: tuple[ReachedCopies, ...] = (),
    waiting: frozenset[int] = frozenset(),
) -> tuple[History, tuple[Copy, ...]]:
    """The history after a scan, and the copies with their history filled in.

    `matches` has the match of each live spot of `states`; `unread` the inodes of the namespaces that could not be read
    this time, of which those `waiting` are read in one of the next scans; `reached`, by namespace, the copies that need
    no judgement.
    """
    states, copies = tuple(states), tuple(copies)
    readable = _Readable(state for state in states if state.mount is not None and state.home not in unread)
    ids: dict[Identity, set[int]] = {}
    for copy in copies:
        ids.setdefault(copy.mount.identity, set()).add(copy.mount.id)
    live = _live(states, matches, ids)
    left: dict[CopyKey, CopyOf] = {}
    # By id() of what a layer's copies share, which is kept so that its id() is not used again: 300 namespaces, one set.
    grown: dict[int, tuple[HomeMount, HomeMount]] = {}
    filled, beside = [], []
    for copy in copies:
        before = _left_behind(history, copy, live, readable)
        if before is not None:
            if id(before) not in grown:
                grown[id(before)] = before, replace(before, ids=before.ids | ids[copy.mount.identity])
            left[key(copy)] = CopyOf(_with_unique(copy, history), grown[id(before)][1])
        elif (at_home := _at_home(copy, live)) is not None:
            beside.append(CopyOf(copy, at_home))
        filled.append(copy if before is None else copy.with_history(before.match))
    gone = _gone(history, live, ids, readable, everywhere=not unread)
    elsewhere = {key(copy): copy.mount for copy in copies if copy.match is None}
    lingering = _lingering(history, live, waiting)
    return History(live, left, gone, elsewhere, reached, tuple(beside), lingering), tuple(filled)


def _lingering(
    history: History, live: Mapping[Identity, tuple[HomeMount, ...]], waiting: frozenset[int]
) -> dict[Identity, Lingering]:
    """A namespace that is not read in the scan in which home has unmounted shows its copies in a later one."""
    before = {i: Lingering(one.mounts, one.waiting & waiting) for i, one in history.lingering.items()}
    if waiting:
        before |= {
            identity: Lingering(tuple(replace(one, ids=_ids(history, identity, one)) for one in many), waiting)
            for identity, many in history.live.items()
        }
    left = [(identity, one) for identity, one in before.items() if one.waiting and identity not in live]
    return dict(left[-MOST_LINGERING:])


def _with_unique(copy: Copy, history: History) -> Copy:
    """With the unique id that an earlier scan knew, where this one does not."""
    before = history.left.get(key(copy))
    if copy.mount.unique is not None or before is None or before.copy.mount.unique is None:
        return copy
    return replace(copy, mount=replace(copy.mount, unique=before.copy.mount.unique))


class _Readable:
    """The roots that this scan could judge."""

    def __init__(self, states: Iterable[RootState]) -> None:
        self._by_home = {(state.root.path, state.home): state.root for state in states}
        self._paths = {path: root for (path, _home), root in self._by_home.items()}

    def at(self, known: HomeMount) -> bool:
        """Whether the home that had the mount is a home of its root now: another one never had it."""
        return (known.match.root.path, known.home) in self._by_home

    def has(self, match: Match) -> bool:
        """Whether the root could be judged, in whatever home."""
        return match.root.path in self._paths

    def renewed(self, known: HomeMount) -> HomeMount:
        """With the root as it is now: its daemon may have ended since, or be another one."""
        path = known.match.root.path
        root = self._by_home.get((path, known.home), self._paths[path])
        return known if root == known.match.root else replace(known, match=replace(known.match, root=root))


def _live(
    states: Iterable[RootState], matches: Mapping[Spot, Match], ids: Mapping[Identity, set[int]]
) -> dict[Identity, tuple[HomeMount, ...]]:
    """Home's mounts now. `ids` has the small mount ids of their copies."""
    live: dict[Identity, tuple[HomeMount, ...]] = {}
    for state in states:
        for spot, mounts in state.live.items():
            for mount in mounts:
                every = frozenset({mount.id, *ids.get(mount.identity, ())})
                known = HomeMount(matches[spot], mount, every, state.home)
                live[mount.identity] = (*live.get(mount.identity, ()), known)
    return live


def _left_behind(
    history: History, copy: Copy, live: Mapping[Identity, tuple[HomeMount, ...]], readable: _Readable
) -> HomeMount | None:
    if copy.mount.identity in live:
        return None  # home has it, or has it again
    held = history.left.get(key(copy))
    if held is not None:
        same = may_be(held.copy.mount, copy.mount) and same_file_system(held.of.mount, copy.mount)
        return readable.renewed(held.of) if same and readable.has(held.of.match) else None
    before = history.elsewhere.get(key(copy))
    elsewhere = copy.match is None and before is not None and may_be(before, copy.mount)
    lingering = history.lingering.get(copy.mount.identity)
    # Of what home had at an earlier scan than the last, the very copies that there were then.
    late = [one for one in lingering.mounts if copy.mount.id in one.ids] if lingering else []
    for known in (*history.live.get(copy.mount.identity, ()), *late):
        there = copy.spot == known.match.spot or elsewhere
        if readable.at(known) and there and same_file_system(known.mount, copy.mount):
            return readable.renewed(known)
    return None


def _at_home(copy: Copy, live: Mapping[Identity, tuple[HomeMount, ...]]) -> HomeMount | None:
    """The mount of home that a copy is of, on its spot or elsewhere."""
    for known in live.get(copy.mount.identity, ()):
        if copy.match is None or copy.spot == known.match.spot:
            return known if same_file_system(known.mount, copy.mount) else None
    return None


def same_file_system(one: Mount, other: Mount) -> bool:
    """Whether two mounts of one device number can be of one superblock: it has one type and one text of options."""
    return (one.fstype, one.super_options) == (other.fstype, other.super_options)


def _gone(
    history: History,
    live: Mapping[Identity, tuple[HomeMount, ...]],
    anywhere: Mapping[Identity, set[int]],
    readable: _Readable,
    *,
    everywhere: bool,
) -> dict[Identity, Gone]:
    """What home had or had left behind at the last scan or before, and what is mounted nowhere now.

    Where not all namespaces were read, only what holds home's own mount of it is known to hold a detached one.
    """

    def is_gone(identity: Identity, match: Match) -> bool:
        return identity not in live and identity not in anywhere and readable.has(match)

    before = {identity: known for identity, many in history.live.items() for known in many}
    before |= {(device, root): held.of for (_ns, _id, device, root), held in history.left.items()}
    gone = {
        identity: Gone(
            known.match,
            known.mount,
            _ids(history, identity, known) if everywhere else frozenset({known.mount.id}),
            known.home,
        )
        for identity, known in before.items()
        if is_gone(identity, known.match)
    }
    return gone | {identity: one for identity, one in history.gone.items() if is_gone(identity, one.match)}


def _ids(history: History, identity: Identity, known: HomeMount) -> frozenset[int]:
    return known.ids.union(*(reached.ids(identity) for reached in history.reached))
