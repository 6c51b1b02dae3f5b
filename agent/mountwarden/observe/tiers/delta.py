"""The reading of a namespace, brought up to date by what is new in its list of mount ids.

Asked of statmount(2), put into lines of mountinfo and filtered are: the new mounts; and the old mounts of the same
(device, mnt_root) as a new one, as one that went, or as one that home has mounted or unmounted since. Everything else
stays as it was.
"""

import struct
from collections.abc import Iterable, Mapping

from ...model import Candidate
from ..mount_lines import LinesInHand
from .listing import ID, Lister, MountLine, NotAsText, Vanished
from .live_at_home import Identity, key_of
from .needles import EVERY_LINE, is_at
from .observer import KeptNamespace
from .parent_mount import Key
from .prefilter import Common, Filtered, Reading, filter_lines
from .unique_ids import UniqueIds

FEW = 64
"""Most mounts of one namespace that are asked for one by one: where there are more, its text is cheaper."""

_PAIR = struct.Struct("=QI")


class TextNeeded(Exception):
    """The list and statmount(2) do not give the answer: the text of the namespace is to be read."""


class PackedIds:
    """Small and unique ids of reached copies, by what they are copies of; packed, because there are many of them."""

    __slots__ = ("_packed",)

    def __init__(self, packed: dict[Key, bytes]) -> None:
        self._packed = packed

    @classmethod
    def of(cls, filtered: Filtered, uniques: Mapping[bytes, int]) -> "PackedIds":
        """Of the reached copies in a filtered text, whose mounts have these unique ids by small ones as written."""
        packed, pack = dict[Key, bytes](), _PAIR.pack
        for key, small in zip(filtered.keys, filtered.smalls, strict=True):
            packed[key] = packed.get(key, b"") + pack(uniques[small], int(small))
        return cls(packed)

    def ids(self, identity: Identity) -> tuple[int, ...]:
        """The small mount ids of the copies of that device and root."""
        return tuple(small for _unique, small in _PAIR.iter_unpack(self._packed.get(key_of(identity), b"")))

    def uniques(self, key: Key) -> list[int]:
        """Unique ids of the copies of that device and root."""
        return [unique for unique, _small in _PAIR.iter_unpack(self._packed.get(key, b""))]

    def keys(self, uniques: set[int]) -> set[Key]:
        """What the copies with these unique ids are copies of."""
        if not uniques:
            return set()
        pairs = _PAIR.iter_unpack
        return {key for key, packed in self._packed.items() if any(unique in uniques for unique, _ in pairs(packed))}

    def replaced(self, without: Iterable[Key], other: "PackedIds") -> "PackedIds":
        """The same without the copies of these keys, and with those of `other`."""
        packed = dict(self._packed)
        for key in without:
            packed.pop(key, None)
        return PackedIds(packed | other._packed)


def catch_up(
    lister: Lister,
    before: KeptNamespace,
    namespace: int,
    listing: bytes,
    common: Common,
    home_changes: frozenset[Key],
    masters: Mapping[int, int],
) -> tuple[Reading, Mapping[int, int], Mapping[int, tuple[bytes, ...]]]:
    """The reading as it is now, the hashes to compare at the next one, and the views of `KeptNamespace`.

    `listing` is the list of ids now; `home_changes` is what home mounts on other spots, or in other peer groups, than
    at the last reading; `masters` has the master of each peer group of the homes.

    Raises: TextNeeded where only the text gives the answer; Vanished where a mount or the namespace went meanwhile.
    """
    reached = before.reading.reached
    assert isinstance(reached, PackedIds)
    removed, added = difference(before.listing or b"", listing)
    candidates, stable = _compare(lister, namespace, before, removed)
    lines = {unique: _line(lister, namespace, unique, masters) for unique in _few(added)}
    views = _views(before, removed, lines, common)
    new = {unique: line for unique, line in lines.items() if _may_be_copy(line, before, views)}
    changed = home_changes | {_key(line) for line in new.values()}
    changed |= reached.keys(removed.difference(*map(reached.uniques, home_changes)))
    changed |= {
        key_of(candidate.mount.identity) for candidate in before.reading.candidates if candidate not in candidates
    }
    old = {unique for key in changed for unique in reached.uniques(key)}
    old |= {c.mount.unique for c in candidates if key_of(c.mount.identity) in changed and c.mount.unique is not None}
    lines |= {unique: _line(lister, namespace, unique, masters) for unique in _few(old - removed)}
    # In the kernel's order, as in a text: of a stack, the last one is on top.
    asked = {unique: lines[unique] for unique in sorted((old - removed) | new.keys())}
    filtered, parents = _filter(lister, namespace, asked, common, masters)
    uniques = {line.text.partition(b" ")[0]: unique for unique, line in asked.items()}
    kept = tuple(candidate for candidate in candidates if key_of(candidate.mount.identity) not in changed)
    seen = Reading(
        len(listing) // ID,
        kept + filtered.candidates,
        reached.replaced(changed, PackedIds.of(filtered, uniques)),
        before.reading.unreadable,
        before.reading.kept + filtered.kept,
        before.reading.binds or any(common.live.shows_below(line.text) for line in lines.values()),
    )
    more = parents | {candidate.mount.unique for candidate in filtered.candidates if candidate.mount.unique is not None}
    return seen, stable | checksums(lister, namespace, more - stable.keys()), views


def _views(
    before: KeptNamespace, removed: set[int], new: Mapping[int, MountLine], common: Common
) -> dict[int, tuple[bytes, ...]]:
    """What shows where spots are, now. Raises: TextNeeded where there is too much of it."""
    uniques = {line.text.partition(b" ")[0]: unique for unique, line in new.items()}
    shown = common.live.views.shown(b"".join(line.text + b"\n" for line in new.values()))
    views = {unique: places for unique, places in before.views.items() if unique not in removed}
    views |= {uniques[small]: places for small, places in shown.items()}
    _few(set(views))
    return views


def _may_be_copy(line: MountLine, before: KeptNamespace, views: Mapping[int, tuple[bytes, ...]]) -> bool:
    """By what is mounted, by its place, or because it is on something that is a candidate."""
    return (
        before.needles.has(line.text)
        or is_at(line.text, frozenset(views.get(line.parent, ())))
        or any(line.parent == candidate.mount.unique for candidate in before.reading.candidates)
    )


def difference(before: bytes, after: bytes) -> tuple[set[int], set[int]]:
    """Ids that went, and ids that came, between two lists. What both begin and end with is compared as bytes."""
    head = _common(before, after)
    rest = min(len(before), len(after)) - head
    tail = _common(before[::-1][:rest], after[::-1][:rest])
    old, new = (set(memoryview(ids[head : len(ids) - tail]).cast("Q")) for ids in (before, after))
    return old - new, new - old


def _common(one: bytes, other: bytes) -> int:
    """How many bytes both begin with, in whole ids."""
    low, high = 0, min(len(one), len(other)) // ID
    while low < high:
        middle = (low + high + 1) // 2
        if one[low * ID : middle * ID] == other[low * ID : middle * ID]:
            low = middle
        else:
            high = middle - 1
    return low * ID


def checksums(lister: Lister, namespace: int, uniques: Iterable[int]) -> dict[int, int]:
    """A hash of statmount's answer for each of these mounts.

    Raises: TextNeeded where they are more than `FEW`; Vanished; other OSErrors as statmount(2) does.
    """
    return {unique: hash(lister.answer(namespace, unique)) for unique in _few(set(uniques))}


def _few(uniques: set[int]) -> set[int]:
    if len(uniques) > FEW:
        raise TextNeeded
    return uniques


def _line(lister: Lister, namespace: int, unique: int, masters: Mapping[int, int]) -> MountLine:
    try:
        return lister.line(namespace, unique, masters)
    except NotAsText:
        raise TextNeeded from None


def _key(line: MountLine) -> Key:
    fields = line.text.split(b" ", 4)
    return fields[2], fields[3]


def _compare(
    lister: Lister, namespace: int, before: KeptNamespace, removed: set[int]
) -> tuple[tuple[Candidate, ...], dict[int, int]]:
    """The candidates that are still there, and the hashes that still hold. Raises: TextNeeded, Vanished."""
    went = {candidate.mount.unique for candidate in before.reading.candidates} & removed
    if removed & before.checked.keys() - went:
        raise TextNeeded  # copies were mounted on it: they went too, or are on another mount now
    stable = {unique: known for unique, known in before.checked.items() if unique not in removed}
    if checksums(lister, namespace, stable) != stable:
        raise TextNeeded
    return tuple(c for c in before.reading.candidates if c.mount.unique not in removed), stable


def _filter(
    lister: Lister,
    namespace: int,
    asked: Mapping[int, MountLine],
    common: Common,
    masters: Mapping[int, int],
) -> tuple[Filtered, set[int]]:
    """Filter a few lines; also the unique ids of what they are mounted on. Raises: TextNeeded."""
    tree, parents = dict(asked), set[int]()
    for unique in {line.parent for line in asked.values()}:
        try:
            tree[unique] = tree.get(unique) or _line(lister, namespace, unique, masters)
            parents.add(unique)
        except Vanished:
            continue  # the namespace's root is mounted on nothing that it shows
    uniques = {line.text.partition(b" ")[0]: unique for unique, line in tree.items()}
    text, whole = (b"".join(line.text + b"\n" for line in lines.values()) for lines in (asked, tree))
    return filter_lines(LinesInHand(text, whole), EVERY_LINE, common, UniqueIds(uniques)), parents
