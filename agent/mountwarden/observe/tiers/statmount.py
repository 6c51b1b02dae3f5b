"""The statmount tier: a namespace is its list of unique mount ids, kept as the bytes of the kernel's answer.

Warm, a namespace costs one listmount(2), a comparison of bytes and one statmount(2) for each mount that copies are
mounted on; of the rest only what is new is asked for. Cold, its text is read, which is three times cheaper than
statmount(2) of each mount; the text's lines and the list come from the same ordered tree of the kernel, so that they
also give the unique ids. Where the two don't fit together, the namespace is read as text each time.

A list does not change when a mount is moved, made shared or remounted: what candidates and settled copies are mounted
on, and the candidates themselves, are compared each time, everything else at a resync.
"""

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from ...model import Door
from ...mounts.table import Table
from .. import namespaces, processless
from ..namespaces import read_mountinfo
from . import listing as statmounts
from .delta import CantTell, Packed, catch_up, checksums
from .listing import Identified, Lister, Vanished
from .observer import Home, KeptNamespace, Observer
from .prefilter import Filtered, Key, LiveAtHome, Reading, filter_text

_TRIES = 3
"""Attempts to read a text between two equal lists."""


class StatmountObserver(Observer):
    """Reads namespaces by listmount(2) and statmount(2), with the results of `TextObserver` and unique ids."""

    def __init__(self, *, fields: bool = True) -> None:
        """`fields`: this kernel's statmount(2) tells all that mountinfo does; else what is new is read as text."""
        super().__init__()
        self._fields = fields
        self._lister = Lister()
        self._masters: dict[int, int] = {}
        self._deltas: dict[tuple[LiveAtHome, LiveAtHome], frozenset[Key]] = {}

    def table(self, inode: int, pids: Iterable[int]) -> Table | None:
        """The whole table of a home; the same object as before while nothing changed. None when it has no process."""
        known, pids = self._tables.get(inode), tuple(pids)
        text = read_mountinfo(inode, pids)
        if text is not None and (known is None or known.text != text):
            both = self._read_both(inode, pids)
            text = None if both is None else both.text
            known = (
                None if both is None else Home(both.text, Table.from_text(both.text, both.uniques()), both.identified)
            )
        if text is None or known is None:
            self._tables.pop(inode, None)
            return None
        if self._tables.get(inode) is not known:
            self._tables[inode] = known
            mounts = (mount for home in self._tables.values() for mount in home.table.mounts)
            self._masters = {mount.shared: mount.master for mount in mounts if mount.shared}
        return known.table

    def changed(self, inode: int, pids: Iterable[int]) -> bool:
        """As `Observer` says; also where the namespace has another number of mounts than when it was read."""
        if super().changed(inode, pids):
            return True
        known = self._known.get(inode)
        if known is None or known.identified is None or known.identified.mounts is None:
            return False
        now = _identify(inode, pids)
        return now is not None and now != known.identified

    def read(self, inode: int, pids: Iterable[int], wanted: tuple[bytes, ...], settled: LiveAtHome) -> Reading | None:
        """Read a namespace now. None when nothing keeps it any more."""
        known, pids = self._known.get(inode), tuple(pids)
        self._shared_with(settled)
        if known is not None and known.trusted and known.wanted == wanted and known.listing is not None:
            try:
                known = self._known[inode] = self._caught_up(inode, pids, known, settled)
                return known.seen
            except (CantTell, Vanished):
                pass  # the text tells
        read = self._read_first if known is None and pids else self._read_again
        fresh = read(inode, pids, wanted, settled)
        if fresh is None:
            self._known.pop(inode, None)
            return None
        self._known[inode] = fresh
        return fresh.seen

    def end_scan(self) -> None:
        """Drop what only serves to read many namespaces at once."""
        super().end_scan()
        self._deltas.clear()

    def _read_first(
        self, inode: int, pids: tuple[int, ...], wanted: tuple[bytes, ...], settled: LiveAtHome
    ) -> KeptNamespace | None:
        """By the text alone, but for the unique ids of candidates: they are what a history knows them by."""
        identified = _identify(inode, pids)
        listing = self._listed(identified)
        text = read_mountinfo(inode, pids, self.doors.get(inode))
        if text is None:
            return None
        sifted = filter_text(text, wanted, self._common)
        if sifted.candidates:
            if identified is None or listing is None or listing != self._listed(identified):
                return self._read_again(inode, pids, wanted, settled)
            both = self._fitted(identified, listing, text)
            identified = both.identified
            sifted = filter_text(text, wanted, self._common, uniques=both.uniques())
        return KeptNamespace(wanted, settled, Reading.of(text, sifted, self._common), identified)

    def _read_again(
        self, inode: int, pids: tuple[int, ...], wanted: tuple[bytes, ...], settled: LiveAtHome
    ) -> KeptNamespace | None:
        both = self._read_both(inode, pids)
        if both is None:
            return None
        signature = len(both.text), hash(both.text)
        known = self._known.get(inode)
        as_before = (wanted, settled, both.identified, both.listing, signature)
        if known is not None and as_before == known.read_from():
            return replace(known, trusted=True)
        uniques = both.uniques()
        sifted = filter_text(both.text, wanted, self._common, uniques=uniques)
        checked = None if both.identified is None else self._checked(both.identified.id, uniques, sifted)
        if checked is None:
            return KeptNamespace(wanted, settled, Reading.of(both.text, sifted, self._common), both.identified)
        packed = Packed.of(sifted, uniques)
        now = Reading(both.text.count(b"\n"), sifted.candidates, packed, sifted.unreadable)
        return KeptNamespace(wanted, settled, now, both.identified, both.listing, checked, signature)

    def _checked(self, identity: int, by_small: Mapping[bytes, int], sifted: Filtered) -> dict[int, int] | None:
        """What to compare at the next reading; None where it is too much, or something went meanwhile."""
        uniques = {candidate.mount.unique for candidate in sifted.candidates}
        uniques |= {by_small.get(small) for small in sifted.parents}
        try:
            return checksums(self._lister, identity, (unique for unique in uniques if unique is not None))
        except (CantTell, Vanished):
            return None

    def _caught_up(self, inode: int, pids: tuple[int, ...], known: KeptNamespace, settled: LiveAtHome) -> KeptNamespace:
        """What is known, brought up to date by the list and by what is new in it. Raises: CantTell, Gone."""
        assert known.identified is not None
        assert known.listing is not None
        identified = known.identified
        if identified.mounts is not None:
            identified = _identify(inode, pids) or identified  # before the list: what comes later is told next time
            if identified.id != known.identified.id:
                raise Vanished
        listing = self._list(identified.id)
        change = known.settled, settled
        if change not in self._deltas:
            self._deltas[change] = settled.differs(known.settled)
        delta = self._deltas[change]
        if listing == known.listing and not delta:
            if not self._holds(known):
                raise CantTell
            if settled is known.settled and identified == known.identified:
                return known
            return replace(known, settled=settled, identified=identified)
        if not self._fields:
            raise CantTell
        now, checked = catch_up(self._lister, known, identified.id, listing, self._common, delta, self._masters)
        return KeptNamespace(known.wanted, settled, now, identified, listing, checked)

    def _holds(self, known: KeptNamespace) -> bool:
        """Whether candidates, and what they and settled copies are mounted on, are as they were at the last reading."""
        if known.listing is None or known.identified is None:
            return False  # read once only: what decides is kept from the second time on
        try:
            return checksums(self._lister, known.identified.id, known.checked) == known.checked
        except (CantTell, Vanished):
            return False

    def _listed(self, identified: Identified | None) -> bytes | None:
        """The list of ids; None where it can't be had."""
        try:
            return None if identified is None else self._list(identified.id)
        except (CantTell, Vanished):
            return None

    def _list(self, identity: int) -> bytes:
        try:
            return self._lister.ids(identity)
        except PermissionError:
            raise CantTell from None

    def _read_both(self, inode: int, pids: tuple[int, ...]) -> "_Both | None":
        """A text with the list that fits it. None when nothing keeps the namespace any more."""
        both, door = None, self.doors.get(inode)
        for _ in range(_TRIES):
            if pids or door is None:
                both = self._read_once(lambda: _identify(inode, pids), lambda: read_mountinfo(inode, pids, door))
            else:
                both = self._read_from_inside(inode, door)
            if both is None or both.whole:
                break
        return both

    def _read_from_inside(self, inode: int, door: Door) -> "_Both | None":
        """By one child in a namespace without a process: once its id is known, it is listed from outside."""
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return processless.through(
                door,
                inode,
                lambda: self._read_once(lambda: statmounts.identify_self(proc), lambda: namespaces.read_self(proc)),
            )
        except (FileNotFoundError, ProcessLookupError):
            return None
        finally:
            os.close(proc)

    def _read_once(self, identify: Callable[[], Identified | None], read: Callable[[], bytes | None]) -> "_Both | None":
        """One attempt; not `whole` where the list changed while the text was read."""
        identified = identify()
        before = self._listed(identified)
        text = read()
        if text is None:
            return None
        after = self._listed(identified)
        if identified is None or before is None or after is None:
            return _Both(text, None, b"")
        return self._fitted(identified, before, text) if before == after else _Both(text, None, b"", whole=False)

    def _fitted(self, identified: Identified, listing: bytes, text: bytes) -> "_Both":
        """The two together, where the lines are the mounts of the list in its order: by number, and both ends."""
        ids = memoryview(listing).cast("Q")
        lines = text[: text.find(b"\n")], text[text.rfind(b"\n", 0, -1) + 1 :]
        try:
            if len(ids) == text.count(b"\n") and all(
                b"%d" % statmounts.small_id(self._lister.answer(identified.id, unique)) == line.partition(b" ")[0]
                for unique, line in zip((ids[0], ids[-1]), lines, strict=True)
            ):
                return _Both(text, identified, listing)
        except (Vanished, IndexError):
            pass
        return _Both(text, None, b"")


@dataclass(frozen=True, slots=True)
class _Both:
    text: bytes
    identified: Identified | None
    listing: bytes
    whole: bool = True

    def uniques(self) -> Mapping[bytes, int]:
        """Unique ids by small ones as written; none where the list does not fit."""
        if self.identified is None:
            return {}
        smalls = [line.partition(b" ")[0] for line in self.text.split(b"\n")[:-1]]
        return dict(zip(smalls, memoryview(self.listing).cast("Q"), strict=True))


def _identify(inode: int, pids: Iterable[int]) -> Identified | None:
    """The namespace's id, by one of its processes; None where it can't be told."""
    for pid in pids:
        try:
            if found := statmounts.identify(pid, inode):
                return found
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM):
                raise
    return None
