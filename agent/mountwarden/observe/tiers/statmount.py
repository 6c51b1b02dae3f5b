"""The statmount tier: a namespace is its list of unique mount ids, kept as the bytes of the kernel's answer.

Warm, a namespace costs one listmount(2), a comparison of bytes and one statmount(2) for each mount that copies are
mounted on; of the rest only what is new is asked for. Cold, its text is read, which is three times cheaper than
statmount(2) of each mount; the text's lines and the list come from the same ordered tree of the kernel, so that they
also give the unique ids. Where the two don't fit together, the namespace is read as text each time.

A list does not change when a mount is moved, made shared or remounted: what candidates and settled copies are mounted
on, and the candidates themselves, are compared each time, everything else at a resync.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ...mounts.table import Table
from ..namespaces import read_mountinfo
from .delta import CantTell, Packed, catch_up, checksums
from .listed_text import fit, identify, ids_or_none, list_ids, read_listed
from .listing import Lister, Vanished
from .observer import Home, KeptNamespace, Observer
from .prefilter import Filtered, Key, LiveAtHome, Reading, filter_text


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
            both = read_listed(self._lister, inode, pids, self.doors.get(inode))
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
        now = identify(inode, pids)
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
        identified = identify(inode, pids)
        listing = ids_or_none(self._lister, identified)
        text = read_mountinfo(inode, pids, self.doors.get(inode))
        if text is None:
            return None
        sifted = filter_text(text, wanted, self._common)
        if sifted.candidates:
            if identified is None or listing is None or listing != ids_or_none(self._lister, identified):
                return self._read_again(inode, pids, wanted, settled)
            both = fit(self._lister, identified, listing, text)
            identified = both.identified
            sifted = filter_text(text, wanted, self._common, uniques=both.uniques())
        return KeptNamespace(wanted, settled, Reading.of(text, sifted, self._common), identified)

    def _read_again(
        self, inode: int, pids: tuple[int, ...], wanted: tuple[bytes, ...], settled: LiveAtHome
    ) -> KeptNamespace | None:
        both = read_listed(self._lister, inode, pids, self.doors.get(inode))
        if both is None:
            return None
        signature = len(both.text), hash(both.text)
        known = self._known.get(inode)
        as_before = (wanted, settled, both.identified, both.ids, signature)
        if known is not None and as_before == known.read_from():
            return replace(known, trusted=True)
        uniques = both.uniques()
        sifted = filter_text(both.text, wanted, self._common, uniques=uniques)
        checked = None if both.identified is None else self._checked(both.identified.id, uniques, sifted)
        if checked is None:
            return KeptNamespace(wanted, settled, Reading.of(both.text, sifted, self._common), both.identified)
        packed = Packed.of(sifted, uniques)
        now = Reading(both.text.count(b"\n"), sifted.candidates, packed, sifted.unreadable)
        return KeptNamespace(wanted, settled, now, both.identified, both.ids, checked, signature)

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
            identified = identify(inode, pids) or identified  # before the list: what comes later is told next time
            if identified.id != known.identified.id:
                raise Vanished
        listing = list_ids(self._lister, identified.id)
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
