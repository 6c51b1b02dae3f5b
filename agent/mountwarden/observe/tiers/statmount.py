"""The statmount tier: a namespace is its list of unique mount ids, kept as the bytes of the kernel's answer.

A namespace that was read before costs one listmount(2), a comparison of bytes, and one statmount(2) for each mount that
copies are mounted on; of the rest only what is new is asked for. At first its text is read, which is three times
cheaper than statmount(2) of each mount, and with the list gives the unique ids too (listed.py). Where text and
list do not fit together, the namespace is read as text each time.

A list does not change when a mount is moved, made shared or remounted. So the candidates, and what they and reached
copies are mounted on, are compared each time; everything else is compared at a resync.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

from ...model import Mount
from ...mounts.table import Table
from ..mount_lines import OpenMountinfo
from ..namespaces import read
from .delta import FEW, PackedIds, TextNeeded, catch_up, checksums
from .home_table import HOME, home_table
from .listed import Listed, identify, list_ids, read_listed
from .listing import Lister, Vanished
from .live_at_home import LiveAtHome
from .needles import Needles
from .observer import Home, KeptNamespace, Observer
from .parent_mount import Key
from .prefilter import Filtered, Reading, filter_lines
from .unique_ids import UniqueIds


class StatmountObserver(Observer):
    """Reads namespaces by listmount(2) and statmount(2), with the results of `TextObserver` and unique ids."""

    def __init__(self, *, fields: bool = True) -> None:
        """`fields`: statmount(2) of this kernel has all that mountinfo has; otherwise what is new is read as text."""
        super().__init__()
        self._fields = fields
        self._lister = Lister()
        self._masters: dict[int, int] = {}
        self._home_changes: dict[tuple[LiveAtHome, LiveAtHome], frozenset[Key]] = {}

    def table(self, inode: int, pids: Iterable[int]) -> Table | None:
        """As `Observer` says; the text is read each time."""
        known, pids = self._tables.get(inode), tuple(pids)
        paths = self.paths
        signature = read(inode, pids, OpenMountinfo.signed, limits=HOME)
        if signature is not None and (known is None or known.read_from != (signature, paths)):
            parsed = {} if known is None else known.parsed_for(paths)
            function = partial(_home_table, paths, parsed)
            made = read_listed(self._lister, inode, pids, None, function, HOME)
            known = None if made is None else _home(made, paths, parsed)
        if signature is None or known is None:
            self._tables.pop(inode, None)
            return None
        if self._tables.get(inode) is not known:
            self._remember_home(inode, known)
        return known.table

    def _remember_home(self, inode: int, home: Home) -> None:
        self._tables[inode] = home
        mounts = (mount for one in self._tables.values() for mount in one.table.mounts)
        self._masters = {mount.shared: mount.master for mount in mounts if mount.shared}

    def changed(self, inode: int, pids: Iterable[int]) -> bool:
        """As `Observer` says; also where the namespace has another number of mounts than when it was read.

        It has one whenever home's mounts propagate to it, so that a scan in part does not ask for that.
        """
        if super().changed(inode, pids):
            return True
        if self.in_part:
            return False
        known = self._kept.get(inode)
        if known is None or known.identified is None or known.identified.mounts is None:
            return False
        now = identify(inode, pids)
        return now is not None and now != known.identified

    def read(self, inode: int, pids: Iterable[int], needles: Needles, live: LiveAtHome) -> Reading | None:
        """As `Observer` says; by the list of ids where it was read before and is trusted."""
        known, pids = self._kept.get(inode), tuple(pids)
        self._shared_with(live)
        if known is not None and known.trusted and known.needles == needles and known.listing is not None:
            try:
                known = self._kept[inode] = self._caught_up(inode, pids, known, live)
                return known.reading
            except (TextNeeded, Vanished):
                pass  # so the text is read
        read = self._read_first if known is None and pids else self._read_again
        now = read(inode, pids, needles, live)
        if now is None:
            self._kept.pop(inode, None)
            return None
        self._kept[inode] = now
        return now.reading

    def end_scan(self) -> None:
        """As `Observer` says."""
        super().end_scan()
        self._home_changes.clear()

    def _read_first(
        self, inode: int, pids: tuple[int, ...], needles: Needles, live: LiveAtHome
    ) -> KeptNamespace | None:
        """By the text; the list only where there are candidates, which the history knows by their unique ids."""
        identified = identify(inode, pids)
        function = partial(self._filtered, inode, needles, uniques=UniqueIds())
        made = read(inode, pids, function, self.doors.get(inode), self.limits)
        if made is None:
            return None
        filtered, _none = made
        if filtered.candidates:
            return self._read_again(inode, pids, needles, live)
        return KeptNamespace(needles, live, Reading.of(filtered, self._common), identified)

    def _read_again(
        self, inode: int, pids: tuple[int, ...], needles: Needles, live: LiveAtHome
    ) -> KeptNamespace | None:
        function = partial(self._filtered, inode, needles)
        both = read_listed(self._lister, inode, pids, self.doors.get(inode), function, self.limits)
        if both is None:
            return None
        known = self._kept.get(inode)
        as_before = (needles, live, both.identified, both.ids, both.signature)
        if known is not None and as_before == known.read_from():
            return replace(known, trusted=True)
        filtered, uniques = both.made
        checked = None if both.identified is None else self._checked(both.identified.id, uniques, filtered)
        if checked is None or len(filtered.views) > FEW:
            return KeptNamespace(needles, live, Reading.of(filtered, self._common), both.identified)
        views = {uniques[small]: places for small, places in filtered.views.items() if small in uniques}
        packed = PackedIds.of(filtered, uniques)
        now = Reading(filtered.mounts, filtered.candidates, packed, filtered.unreadable, filtered.kept, filtered.binds)
        return KeptNamespace(needles, live, now, both.identified, both.ids, checked, views, both.signature)

    def _filtered(
        self, inode: int, needles: Needles, lines: OpenMountinfo, uniques: UniqueIds
    ) -> tuple[Filtered, UniqueIds]:
        self._hand_over(inode, lines)
        return filter_lines(lines, needles, self._common, uniques), uniques

    def _checked(self, identity: int, by_small: Mapping[bytes, int], filtered: Filtered) -> dict[int, int] | None:
        """The hashes to compare at the next reading; None where they are too many, or something went meanwhile."""
        uniques = {candidate.mount.unique for candidate in filtered.candidates}
        uniques |= {by_small.get(small) for small in filtered.parents}
        try:
            return checksums(self._lister, identity, (unique for unique in uniques if unique is not None))
        except (TextNeeded, Vanished):
            return None

    def _caught_up(self, inode: int, pids: tuple[int, ...], known: KeptNamespace, live: LiveAtHome) -> KeptNamespace:
        """What is kept, brought up to date by the list and by what is new in it. Raises: TextNeeded, Vanished."""
        assert known.identified is not None
        assert known.listing is not None
        identified = known.identified
        if identified.mounts is not None:
            identified = identify(inode, pids) or identified  # before the list: what comes later is found next time
            if identified.id != known.identified.id:
                raise Vanished
        listing = list_ids(self._lister, identified.id, self.limits.seconds)
        change = known.live, live
        if change not in self._home_changes:
            self._home_changes[change] = live.differs(known.live)
        home_changes = self._home_changes[change]
        if (live.bases, live.uppers, live.views) != (known.live.bases, known.live.uppers, known.live.views):
            raise TextNeeded  # what is kept was looked for below other roots
        if listing == known.listing and not home_changes:
            if not self._same_as_read(known):
                raise TextNeeded
            if live is known.live and identified == known.identified:
                return known
            return replace(known, live=live, identified=identified)
        if not self._fields:
            raise TextNeeded
        now, checked, views = catch_up(
            self._lister, known, identified.id, listing, self._common, home_changes, self._masters
        )
        return KeptNamespace(known.needles, live, now, identified, listing, checked, views)

    def _same_as_read(self, known: KeptNamespace) -> bool:
        """Whether candidates, and what they and reached copies are mounted on, are as they were at the last reading."""
        if known.listing is None or known.identified is None:
            return False  # read once only: the hashes are kept from the second time on
        try:
            return checksums(self._lister, known.identified.id, known.checked) == known.checked
        except (TextNeeded, Vanished):
            return False


def _home_table(
    paths: tuple[bytes, ...], parsed: dict[bytes, Mount], lines: OpenMountinfo, uniques: UniqueIds
) -> Table:
    return home_table(lines, paths, uniques, parsed)


def _home(made: Listed[Table], paths: tuple[bytes, ...], parsed: dict[bytes, Mount]) -> Home:
    return Home((made.signature, paths), made.made, made.identified, made.ids or None, parsed)
