"""The mountinfo tier: one text for each namespace, of which as little as possible is parsed.

A namespace's text is read, and most often dropped whole, because it has none of the strings that the line of a copy
must have. What is left is filtered line by line (prefilter.py). Between two scans only a hash of the text is kept.
"""

from collections.abc import Iterable
from dataclasses import replace

from ...model import Layout
from ...mounts import mountinfo
from ...mounts.table import Table
from ..namespaces import read_mountinfo
from .observer import Home, KeptNamespace, Observer
from .prefilter import LiveAtHome, Reading, filter_text

_TELLING_TYPES = ("overlay", "nsfs")
"""Types that are rare enough to be searched for by type; others by the last component of their layout's pattern."""


def needles(layouts: Iterable[Layout], identities: Iterable[tuple[str, bytes]]) -> tuple[bytes, ...]:
    """Strings of which at least one is in the line of any copy: a type, a pattern's last component, an identity."""
    found = set[bytes]()
    for layout in layouts:
        last = layout.pattern.rsplit(b"/", 1)[-1]
        if layout.fstype in _TELLING_TYPES:
            found.add(b" - %s " % layout.fstype.encode())
        elif last != b"*":
            found.add(b"/%s " % mountinfo.escape(last))
        elif layout.fstype is not None:
            found.add(b" - %s " % layout.fstype.encode())
    for device, root in identities:
        found.add(b" %s %s " % (device.encode(), mountinfo.escape(root)))
    return tuple(sorted(found))


class TextObserver(Observer):
    """Reads namespaces by their mountinfo, of which nothing says whether it changed before it is read."""

    def table(self, inode: int, pids: Iterable[int]) -> Table | None:
        """As `Observer` says; the text is read each time."""
        text = read_mountinfo(inode, pids)
        if text is None:
            return None
        known = self._tables.get(inode)
        if known is None or known.text != text:
            known = self._tables[inode] = Home(text, Table.from_text(text))
        return known.table

    def read(self, inode: int, pids: Iterable[int], needles: tuple[bytes, ...], live: LiveAtHome) -> Reading | None:
        """As `Observer` says; a text with the same hash is not filtered again."""
        text = read_mountinfo(inode, pids, self.doors.get(inode))
        known = self._kept.pop(inode, None)
        if text is None:
            return None
        signature = len(text), hash(text)
        if known is None or (known.needles, known.live, known.signature) != (needles, live, signature):
            common = self._shared_with(live)
            known = KeptNamespace(
                needles, live, Reading.of(text, filter_text(text, needles, common), common), signature=signature
            )
        self._kept[inode] = known if known.trusted else replace(known, trusted=True)
        return known.reading
