"""The mountinfo tier: one text for each namespace, of which as little as possible is parsed.

A namespace's text is read, and most often dropped whole, because it has none of the strings that the line of a copy
must have (needles.py). What is left is filtered line by line (prefilter.py). Between two scans only a hash of the
text is kept.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from ...mounts.table import Table
from ..mount_lines import OpenMountinfo
from ..namespaces import read
from .home_table import HOME, home_table
from .live_at_home import LiveAtHome
from .needles import Needles
from .observer import Home, KeptNamespace, Observer
from .prefilter import Common, Reading, filter_lines


class TextObserver(Observer):
    """Reads namespaces by their mountinfo, of which nothing says whether it changed before it is read."""

    def table(self, inode: int, pids: Iterable[int]) -> Table | None:
        """As `Observer` says; the text is read each time."""
        home = read(inode, pids, partial(self._home, self._tables.get(inode)), limits=HOME)
        if home is None:
            return None
        self._tables[inode] = home
        return home.table

    def _home(self, known: Home | None, lines: OpenMountinfo) -> Home:
        if known is not None and known.read_from == (lines.signed(), self.paths):
            return known
        parsed = {} if known is None else known.parsed_for(self.paths)
        table = home_table(lines, self.paths, parsed=parsed)
        return Home((lines.signature, self.paths), table, parsed=parsed)

    def read(self, inode: int, pids: Iterable[int], needles: Needles, live: LiveAtHome) -> Reading | None:
        """As `Observer` says; a text with the same hash is not filtered again."""
        known = self._kept.pop(inode, None)
        same = known if known is not None and (known.needles, known.live) == (needles, live) else None
        function = partial(self._read, inode, same, needles, self._shared_with(live))
        now = read(inode, pids, function, self.doors.get(inode), self.limits)
        if now is None:
            return None
        self._kept[inode] = now if now.trusted else replace(now, trusted=True)
        return now.reading

    def _read(
        self,
        inode: int,
        known: KeptNamespace | None,
        needles: Needles,
        common: Common,
        lines: OpenMountinfo,
    ) -> KeptNamespace:
        self._hand_over(inode, lines)
        if known is not None and lines.whole() is not None and lines.signature == known.signature:
            return known
        reading = Reading.of(filter_lines(lines, needles, common), common)
        return KeptNamespace(needles, common.live, reading, signature=lines.signature)
