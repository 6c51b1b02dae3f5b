"""What was seen of a namespace, brought up to date by what is new in its list of mount ids.

The new mounts, and the old ones that are of the same thing as a new one, one that went, or one of which home changed,
are put into lines of mountinfo again, and those lines are sifted. Everything else stays as it was.
"""

import struct
from collections.abc import Iterable, Mapping

from ...model import Candidate
from .listing import ID, Lister, MountLine, NotAsText, Vanished
from .observer import KeptNamespace
from .prefilter import Common, Filtered, Identity, Key, Reading, filter_text, key_of

FEW = 64
"""Mounts of one namespace that are asked for one by one at most: beyond, its text is cheaper."""

_PAIR = struct.Struct("=QI")


class CantTell(Exception):
    """Only the text tells."""


class Packed:
    """Small ids of settled copies by what they are copies of, packed with their unique ids: there are many of them."""

    __slots__ = ("_packed",)

    def __init__(self, packed: dict[Key, bytes]) -> None:
        self._packed = packed

    @classmethod
    def of(cls, sifted: Filtered, uniques: Mapping[bytes, int]) -> "Packed":
        """From what a text was sifted to, with the unique ids of its mounts by small ones as written."""
        packed, pack = dict[Key, bytes](), _PAIR.pack
        for key, small in zip(sifted.keys, sifted.smalls, strict=True):
            packed[key] = packed.get(key, b"") + pack(uniques[small], int(small))
        return cls(packed)

    def ids(self, identity: Identity) -> tuple[int, ...]:
        """The small mount ids of the copies of that device and root."""
        return tuple(small for _unique, small in _PAIR.iter_unpack(self._packed.get(key_of(identity), b"")))

    def uniques(self, key: Key) -> list[int]:
        """Unique ids of the copies of one thing."""
        return [unique for unique, _small in _PAIR.iter_unpack(self._packed.get(key, b""))]

    def keys(self, uniques: set[int]) -> set[Key]:
        """What those of the mounts that are here are copies of."""
        if not uniques:
            return set()
        pairs = _PAIR.iter_unpack
        return {key for key, packed in self._packed.items() if any(unique in uniques for unique, _ in pairs(packed))}

    def replaced(self, without: Iterable[Key], other: "Packed") -> "Packed":
        """Without these, and with what another one has."""
        packed = dict(self._packed)
        for key in without:
            packed.pop(key, None)
        return Packed(packed | other._packed)


def catch_up(
    lister: Lister,
    before: KeptNamespace,
    namespace: int,
    listing: bytes,
    common: Common,
    delta: frozenset[Key],
    masters: Mapping[int, int],
) -> tuple[Reading, Mapping[int, int]]:
    """What is seen now, and the hashes to compare at the next reading.

    `delta`: what home mounts otherwise than at the last reading.

    Raises: CantTell where only the text tells; Gone where something went meanwhile.
    """
    held = before.seen.settled
    assert isinstance(held, Packed)
    removed, added = difference(before.listing or b"", listing)
    candidates, stable = _compare(lister, namespace, before, removed)
    lines = {unique: _line(lister, namespace, unique, masters) for unique in _few(added)}
    new = {unique: line for unique, line in lines.items() if any(needle in line.text for needle in before.wanted)}
    again = delta | {_key(line) for line in new.values()}
    again |= held.keys(removed.difference(*map(held.uniques, delta)))
    again |= {key_of(candidate.mount.identity) for candidate in before.seen.candidates if candidate not in candidates}
    old = {unique for key in again for unique in held.uniques(key)}
    old |= {c.mount.unique for c in candidates if key_of(c.mount.identity) in again and c.mount.unique is not None}
    lines |= {unique: _line(lister, namespace, unique, masters) for unique in _few(old - removed)}
    # In the kernel's order, as in a text: of a stack, the last one is on top.
    asked = {unique: lines[unique] for unique in sorted((old - removed) | new.keys())}
    sifted, parents = _sift(lister, namespace, asked, before.wanted, common, masters)
    uniques = {line.text.partition(b" ")[0]: unique for unique, line in asked.items()}
    kept = tuple(candidate for candidate in candidates if key_of(candidate.mount.identity) not in again)
    seen = Reading(
        len(listing) // ID,
        kept + sifted.candidates,
        held.replaced(again, Packed.of(sifted, uniques)),
        before.seen.unreadable,
    )
    more = parents | {candidate.mount.unique for candidate in sifted.candidates if candidate.mount.unique is not None}
    return seen, stable | checksums(lister, namespace, more - stable.keys())


def difference(before: bytes, after: bytes) -> tuple[set[int], set[int]]:
    """Ids that went, and ids that came, between two lists. What both begin and end with is not looked at one by one."""
    head = _common(before, after)
    rest = min(len(before), len(after)) - head
    tail = _common(before[::-1][:rest], after[::-1][:rest])
    old, new = (set(memoryview(ids[head : len(ids) - tail]).cast("Q")) for ids in (before, after))
    return old - new, new - old


def _common(one: bytes, other: bytes) -> int:
    """With how many bytes of whole ids both begin."""
    low, high = 0, min(len(one), len(other)) // ID
    while low < high:
        middle = (low + high + 1) // 2
        if one[low * ID : middle * ID] == other[low * ID : middle * ID]:
            low = middle
        else:
            high = middle - 1
    return low * ID


def checksums(lister: Lister, namespace: int, uniques: Iterable[int]) -> dict[int, int]:
    """A hash of statmount's answer for each of these mounts. Raises: CantTell where they are too many; Gone."""
    return {unique: hash(lister.answer(namespace, unique)) for unique in _few(set(uniques))}


def _few(uniques: set[int]) -> set[int]:
    if len(uniques) > FEW:
        raise CantTell
    return uniques


def _line(lister: Lister, namespace: int, unique: int, masters: Mapping[int, int]) -> MountLine:
    try:
        return lister.line(namespace, unique, masters)
    except NotAsText:
        raise CantTell from None


def _key(line: MountLine) -> Key:
    fields = line.text.split(b" ", 4)
    return fields[2], fields[3]


def _compare(
    lister: Lister, namespace: int, before: KeptNamespace, removed: set[int]
) -> tuple[tuple[Candidate, ...], dict[int, int]]:
    """The candidates that are still there, and the hashes that are still right."""
    went = {candidate.mount.unique for candidate in before.seen.candidates} & removed
    if removed & before.checked.keys() - went:
        raise CantTell  # what copies were mounted on: they went with it, or were handed on to another mount
    stable = {unique: known for unique, known in before.checked.items() if unique not in removed}
    if checksums(lister, namespace, stable) != stable:
        raise CantTell
    return tuple(c for c in before.seen.candidates if c.mount.unique not in removed), stable


def _sift(
    lister: Lister,
    namespace: int,
    asked: Mapping[int, MountLine],
    wanted: tuple[bytes, ...],
    common: Common,
    masters: Mapping[int, int],
) -> tuple[Filtered, set[int]]:
    """Sift a few lines; also the unique ids of what they are mounted on."""
    tree, parents = dict(asked), set[int]()
    for unique in {line.parent for line in asked.values()}:
        try:
            tree[unique] = tree.get(unique) or _line(lister, namespace, unique, masters)
            parents.add(unique)
        except Vanished:
            continue  # the namespace's root is mounted on nothing that it shows
    uniques = {line.text.partition(b" ")[0]: unique for unique, line in tree.items()}
    text, whole = (b"".join(line.text + b"\n" for line in lines.values()) for lines in (asked, tree))
    return filter_text(text, wanted, common, tree=whole, uniques=uniques), parents
