"""A namespace's lines of mountinfo together with its list of unique mount ids.

The kernel takes both from one ordered tree: where the lines are read between two equal lists, they are the mounts of
the list in the same order.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ...model import Door
from .. import entries
from ..mount_lines import OpenMountinfo, ReadingLimits
from ..namespaces import read
from . import listing
from .delta import TextNeeded
from .listing import Identified, Lister, Vanished
from .unique_ids import UniqueIds

T = TypeVar("T")

_TRIES = 3
"""Attempts to read lines between two equal lists."""


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """What was made of the lines, and the list that fits them."""

    made: T
    signature: tuple[int, bytes | int]
    """Length and hash of the text."""
    identified: Identified | None = None
    """None where the list can't be had, or does not fit the lines."""
    ids: bytes = b""
    unchanged: bool = True
    """False where the list changed while the lines were read."""


def read_listed(
    lister: Lister,
    inode: int,
    pids: tuple[int, ...],
    door: Door | None,
    function: Callable[[OpenMountinfo, UniqueIds], T],
    limits: ReadingLimits,
) -> Listed[T] | None:
    """What `function` makes of a namespace's lines and their unique ids; these are empty where the list can't be had.

    By its processes, or by its door where it has none. None when nothing keeps it any more. Raises: OSError where it
    may not be read; NoAnswer where what entered it hung.
    """
    made = None
    for attempt in range(_TRIES):
        listed = attempt < _TRIES - 1
        made = _read_once(lister, inode, pids, door, function, limits, with_list=listed)
        if made is None or made.unchanged:
            break
    return made


def list_ids(lister: Lister, identity: int, seconds: float) -> bytes:
    """The list of the namespace with that 64-bit id.

    Raises: TextNeeded where it may not be asked; Vanished; other OSErrors as listmount(2) does.
    """
    try:
        return lister.ids(identity, seconds)
    except PermissionError:
        raise TextNeeded from None


def ids_or_none(lister: Lister, identified: Identified | None, seconds: float) -> bytes | None:
    """The list; None where it can't be had. Raises: OSError as listmount(2) does for other reasons."""
    try:
        return None if identified is None else list_ids(lister, identified.id, seconds)
    except (TextNeeded, Vanished):
        return None


def identify(inode: int, pids: Iterable[int], door: Door | None = None) -> Identified | None:
    """The namespace's 64-bit id, by one of its processes or by its door; None where none of them gives it.

    Raises: OSError other than for a process that has ended or may not be asked; NoAnswer where the entry hung.
    """
    for pid in pids:
        try:
            if found := listing.identify(pid, inode):
                return found
        except OSError as error:
            if error.errno not in listing.UNASKED:
                raise
    return None if door is None else _identify_by(door, inode)


def _identify_by(door: Door, inode: int) -> Identified | None:
    try:
        fd = entries.open_namespace(door, inode)
    except OSError as error:
        if error.errno not in listing.UNASKED:
            raise
        return None
    try:
        return listing.identify_open(fd)
    finally:
        os.close(fd)


def _read_once(
    lister: Lister,
    inode: int,
    pids: tuple[int, ...],
    door: Door | None,
    function: Callable[[OpenMountinfo, UniqueIds], T],
    limits: ReadingLimits,
    *,
    with_list: bool,
) -> Listed[T] | None:
    """One attempt; without the list the unique ids are not known."""
    way = None if pids else door
    identified = identify(inode, pids, way) if with_list else None
    before = ids_or_none(lister, identified, limits.seconds)
    uniques = UniqueIds()

    def made_of(lines: OpenMountinfo) -> tuple[T, tuple[int, bytes | int]]:
        nonlocal uniques
        uniques = UniqueIds(listing=before or b"")
        return function(lines, uniques), lines.signature

    read_now = read(inode, pids, made_of, door, limits)
    if read_now is None:
        return None
    made = Listed(*read_now)
    if identified is None or before is None:
        return made
    if before != ids_or_none(lister, identified, limits.seconds) or not _fits(lister, identified, uniques):
        return replace(made, unchanged=False)
    return replace(made, identified=identified, ids=before)


def _fits(lister: Lister, identified: Identified, uniques: UniqueIds) -> bool:
    """Whether the lines are the mounts of the list in its order, by their number and by both ends. Raises: OSError."""
    ids = uniques.listing
    with contextlib.suppress(Vanished):
        return (
            uniques.lines == len(ids) > 0
            and b"%d" % listing.small_id(lister.answer(identified.id, ids[0])) == uniques.ends[0]
            and b"%d" % listing.small_id(lister.answer(identified.id, ids[-1])) == uniques.ends[1]
        )
    return False
