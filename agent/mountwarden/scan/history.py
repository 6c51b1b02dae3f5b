"""What earlier scans saw: which mounts home had on its spots, and which copies were left when one was unmounted. Pure.

Home is the mount namespace whose view of a root counts; a spot is a place in a file system, (device, path), where a
layout has mounts. A copy has a history when home's mount of the same (device, mnt_root) was there when home was last
read but once and gone when it was read next, and the copy was there at the first reading of its namespace after that.
Device numbers are reused at once: a new container's /dev may have the number of the layer that has just gone. So type
and options must be the same too; a copy that is not on home's spot must have been there before home's mount went, or be
an overlay with the same upper directory whose superblock lived all the time; and it must be there at every reading.
Where its namespace is not read in the first scan after home's mount went, the superblock must have been seen to live
all the time, or the very mount id must be known from before. A scan in which its namespace or its home could not be
read ends what is known. An overlay's copy that was made of a known one, which is still there, is known too. Where no
known one is there any more and the superblock lives, it is looked for as if home had unmounted it just now.

A mount that went with all its copies is kept as gone until it is known that its superblock has ended, or that no
process keeps it open: while one does, neither its device number nor its mount ids can be reused.

stored_history.py says what of it lasts over a restart, and why that is evidence still.
"""

import itertools
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..model import Copy, Gone, Match, Mount, RootState, SpaceCopies
from ..observe.tiers.needles import needle

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
    """A mount of home on one spot, with the small mount ids that it and its copies are known to have had."""

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
class Departed:
    """What home has unmounted, while namespaces that may have copies of it were not read yet."""

    mounts: tuple[HomeMount, ...]
    since: int
    """The reading of the homes at which it was missing, by their number."""
    lives: bool | None = None
    """Whether its superblock was seen to live at once, and has not been seen to have ended since; None before that."""
    complete: bool = False
    """Whether the ids are known that its copies in other namespaces had."""
    holders: bool = False
    """Whether it is time to read the namespaces that had a copy."""
    everywhere: bool = False
    """Whether it is time to read all others."""


@dataclass(frozen=True, slots=True)
class History:
    """Home's mounts now by (device, mnt_root), the copies left behind, and what is mounted nowhere now."""

    live: Mapping[Identity, tuple[HomeMount, ...]] = field(default_factory=dict)
    departed: Mapping[Identity, Departed] = field(default_factory=dict)
    left: Mapping[CopyKey, CopyOf] = field(default_factory=dict)
    gone: Mapping[Identity, Gone] = field(default_factory=dict)
    elsewhere: Mapping[CopyKey, Mount] = field(default_factory=dict)
    """Copies at the last scan that are on no spot of a layout."""
    beside: tuple[SpaceCopies, ...] = ()
    """Copies at the last scan of what home had then; its umount would leave those of `would_be_left` behind."""
    earlier: Mapping[Identity, bool] = field(default_factory=dict)
    """What the next scan looks for since an earlier run of the service saw it: whether no needle tells of it."""
    moved: Mapping[Identity, tuple[HomeMount, ...]] = field(default_factory=dict)
    """What home had on its spots, and has in other places alone."""
    scanned: int = 0
    """The number of the reading of the homes with which the last scan began."""

    def watched(self) -> frozenset[Identity]:
        """What is searched for in other namespaces wherever it is mounted, beside what home has: what it had, with a
        copy left, or perhaps.
        """
        return self.found | frozenset(self.departed) | frozenset(self.earlier)

    @property
    def found(self) -> frozenset[Identity]:
        """What copies were left of."""
        return frozenset((device, root) for _ns, _id, device, root in self.left)

    def would_be_left(self) -> Iterator[CopyOf]:
        """Copies of what home has, with the mount that each is of."""
        for copy in (copy for space in self.beside for copy in space.copies):
            if (known := at_home(copy, self.live)) is not None:
                yield CopyOf(copy, known)

    @property
    def missing(self) -> list[Departed]:
        """What home has unmounted, and is looked for everywhere, and no copy of it was found yet.

        Without network namespaces' files, of which there is nothing to tell for a long time.
        """
        found = self.found
        others = (one for i, one in self.departed.items() if one.everywhere and i not in found)
        return [one for one in others if any(known.mount.fstype != "nsfs" for known in one.mounts)]

    def unnamed(self, states: Iterable[RootState]) -> frozenset[Identity]:
        """Identities, now or before, of what no needle tells: neither a type nor a last path component does."""
        matched = [
            (mount.identity, state.matches[spot])
            for state in states
            if any(needle(layout) is None for layout in state.root.layout)
            for spot, mounts in state.live.items()
            for mount in mounts
        ]
        matched += [(identity, known.match) for identity, one in self.departed.items() for known in one.mounts]
        matched += [((device, root), held.of.match) for (_ns, _id, device, root), held in self.left.items()]
        seen = frozenset(found for found, match in matched if needle(match.layout) is None)
        return seen | {identity for identity, is_unnamed in self.earlier.items() if is_unnamed}

    def without(self, unused: Container[frozenset[int]]) -> "History":
        """The history without what is gone and was seen to be kept by no process, named by its mount ids."""
        return replace(self, gone={identity: gone for identity, gone in self.gone.items() if gone.ids not in unused})

    def ended(self, devices: Collection[str]) -> "History":
        """The history when the superblocks of these devices are known to have ended: nothing of them is anywhere."""
        if not devices:
            return self
        return replace(
            self,
            departed={identity: one for identity, one in self.departed.items() if identity[0] not in devices},
            left={copy: one for copy, one in self.left.items() if copy[2] not in devices},
            gone={identity: gone for identity, gone in self.gone.items() if identity[0] not in devices},
        )

    def asked(self, lives: Mapping[str, bool]) -> "History":
        """The history after the question which superblocks live (by device), asked after each reading of the homes.

        One that gave no answer then may be another one later.
        """
        ended = self.ended(frozenset(device for device, alive in lives.items() if not alive))
        departed = {
            identity: one if one.lives is not None else replace(one, lives=lives.get(identity[0], False))
            for identity, one in ended.departed.items()
        }
        return replace(ended, departed=departed)


def remember(
    history: History,
    states: Iterable[RootState],
    spaces: Iterable[SpaceCopies],
    unread: frozenset[int],
    number: int,
    all_since: int | None = None,
    stale: Iterable[Copy] = (),
    *,
    in_part: bool = False,
) -> tuple[History, tuple[SpaceCopies, ...]]:
    """The history after a scan, and the copies with their history filled in.

    `unread` has the inodes of the namespaces that could not be read this time. The scan began with the reading of the
    homes with that `number`; since that with the number `all_since` every other namespace has been read (None: since
    the last one). `stale` are copies in namespaces that have yet to be read since home unmounted what they are of:
    they were there then. Of a scan `in_part`, what may be mounted elsewhere is not taken for gone yet; and where the
    copies that were left are gone, others that were made of them may be in namespaces that were not read since: it is
    looked for as if home had unmounted it at the next reading.
    """
    spaces = tuple(spaces)
    readable = _Readable(state for state in states if state.mount is not None and state.home not in unread)
    all_since = number if all_since is None else all_since
    ids = _ids_not_at_home(spaces, history.live)
    found = history.found
    here = {key(copy) for space in spaces for _place, copy in space.of(found & space.identities)}
    sources = {(one[2], one[3]): held.of for one, held in history.left.items() if one in here}
    left: dict[CopyKey, CopyOf] = {}
    grown: dict[int, tuple[HomeMount, HomeMount]] = {}
    filled = tuple(_with_history(space, history, sources, readable, ids, left, grown) for space in spaces)
    over = {identity: one for identity, one in history.departed.items() if one.since <= all_since}
    lost = _lost(history, left, readable, number + 1) if in_part else {}
    anywhere = ids.keys() | lost.keys()
    gone = _gone(history, over if in_part else history.departed, anywhere, readable, everywhere=not unread)
    off_spots = itertools.chain(*(space.unmatched for space in spaces), (one for one in stale if one.match is None))
    elsewhere = {key(copy): copy.mount for copy in off_spots}
    departed = {
        identity: one for identity, one in history.departed.items() if identity not in over and _is_at(one, readable)
    }
    departed |= lost
    return History(history.live, departed, left, gone, elsewhere, spaces, moved=history.moved, scanned=number), filled


def _ids_not_at_home(
    spaces: Iterable[SpaceCopies], live: Mapping[Identity, tuple[HomeMount, ...]]
) -> dict[Identity, set[int]]:
    """The small ids of all copies of what home has not."""
    ids: dict[Identity, set[int]] = {}
    for copy in (copy for space in spaces for copy in space.beside(live)):
        ids.setdefault(copy.mount.identity, set()).add(copy.mount.id)
    return ids


def _with_history(
    space: SpaceCopies,
    history: History,
    sources: Mapping[Identity, HomeMount],
    readable: "_Readable",
    ids: Mapping[Identity, set[int]],
    left: dict[CopyKey, CopyOf],
    grown: dict[int, tuple[HomeMount, HomeMount]],
) -> SpaceCopies:
    """With the history of each that was left behind; these are added to `left`.

    `grown` has by id() what a layer's copies share, which is kept so that its id() is not used again: 300 namespaces
    have one set of ids.
    """
    found: dict[int, Match] = {}
    for place, copy in space.of(ids):
        before = _left_behind(history, copy, readable) or _of_what_was_left(history, sources, copy, readable)
        if before is not None:
            if id(before) not in grown:
                grown[id(before)] = before, replace(before, ids=before.ids | ids[copy.mount.identity])
            left[key(copy)] = CopyOf(_with_unique(copy, history), grown[id(before)][1])
            found[place] = before.match
    return _filled(space, found) if found else space


def _filled(space: SpaceCopies, histories: dict[int, Match]) -> SpaceCopies:
    """With these histories, by place; the same object as before where they are the same."""
    known = space.derived.get("filled")
    if known is None or known[0] != histories:
        copies = (copy.with_history(histories[i]) if i in histories else copy for i, copy in enumerate(space.copies))
        known = space.derived["filled"] = histories, SpaceCopies(space.namespace, tuple(copies))
    return known[1]


def _lost(history: History, left: Iterable[CopyKey], readable: "_Readable", since: int) -> dict[Identity, Departed]:
    """Of what no copy is known to be left, that whose superblock says whether there is one."""
    known = {(device, root): held.of for (_ns, _id, device, root), held in history.left.items()}
    found = {(device, root) for _ns, _id, device, root in left}
    return {
        identity: Departed((one,), since)
        for identity, one in known.items()
        if not (identity in found or identity in history.live) and _has_own_upper(one.mount) and readable.at(one)
    }


def _is_at(departed: Departed, readable: "_Readable") -> bool:
    return all(readable.at(known) for known in departed.mounts)


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


def _left_behind(history: History, copy: Copy, readable: _Readable) -> HomeMount | None:
    if copy.mount.identity in history.live:
        return None  # home has it, or has it again
    held = history.left.get(key(copy))
    if held is not None:
        same = may_be(held.copy.mount, copy.mount) and same_file_system(held.of.mount, copy.mount)
        return readable.renewed(held.of) if same and readable.has(held.of.match) else None
    departed = history.departed.get(copy.mount.identity)
    if departed is None:
        return None
    before = history.elsewhere.get(key(copy))
    elsewhere = copy.match is None and before is not None and may_be(before, copy.mount)
    elsewhere |= copy.match is None and departed.lives is True and _has_own_upper(copy.mount)
    first = departed.since > history.scanned or departed.lives is True
    for known in departed.mounts:
        there = (copy.spot == known.match.spot or elsewhere) and (first or copy.mount.id in known.ids)
        if readable.at(known) and there and same_file_system(known.mount, copy.mount):
            return readable.renewed(known)
    return None


def _of_what_was_left(
    history: History, sources: Mapping[Identity, HomeMount], copy: Copy, readable: _Readable
) -> HomeMount | None:
    """A copy that was made of one that was left and is still there: its superblock has lived all the time."""
    known = sources.get(copy.mount.identity)
    if known is None or copy.mount.identity in history.live or not _has_own_upper(copy.mount):
        return None
    there = copy.match is None or copy.spot == known.match.spot
    same = there and same_file_system(known.mount, copy.mount) and readable.has(known.match)
    return readable.renewed(known) if same and key(copy) not in history.left else None


def _has_own_upper(mount: Mount) -> bool:
    """Whether the options say which layer it is: two overlays have an upperdir one after the other only."""
    return mount.fstype == "overlay" and b"upperdir=" in mount.super_options


def at_home(copy: Copy, live: Mapping[Identity, tuple[HomeMount, ...]]) -> HomeMount | None:
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
    departed: Mapping[Identity, Departed],
    anywhere: Container[Identity],
    readable: _Readable,
    *,
    everywhere: bool,
) -> dict[Identity, Gone]:
    """What home had, or had left behind at the last scan or before, and what is mounted nowhere now.

    Where not all namespaces were read, only what holds home's own mount of it is known to hold a detached one.
    """

    def is_gone(identity: Identity, match: Match) -> bool:
        return identity not in history.live and identity not in anywhere and readable.has(match)

    before = {identity: known for identity, one in departed.items() for known in one.mounts}
    before |= {(device, root): held.of for (_ns, _id, device, root), held in history.left.items()}
    gone = {
        identity: Gone(known.match, known.mount, known.ids if everywhere else frozenset({known.mount.id}), known.home)
        for identity, known in before.items()
        if is_gone(identity, known.match)
    }
    return gone | {identity: one for identity, one in history.gone.items() if is_gone(identity, one.match)}
