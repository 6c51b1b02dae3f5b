"""The mountinfo tier: one text for each namespace, of which as little as possible is parsed.

A namespace's text is read, and most often rejected whole, because it holds none of the strings that a copy would have
to have. What is left is sifted line by line (sift.py). Between two looks only a hash of the text is kept.
"""

import contextlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from ...errors import NoAnswer
from ...model import Door, Layout, Missed, Mount
from ...mounts import mountinfo
from ...mounts.mountinfo import Lines
from ...mounts.table import Table
from ..namespaces import read_mountinfo
from .prefilter import Common, Filtered, LiveAtHome, ReachedIds, Reading, filter_text

_TELLING_TYPES = ("overlay", "nsfs")
"""Types that are rare enough to be looked for by type; others by the last component of their layout's pattern."""

_Signature = tuple[int, int, tuple[bytes, ...], LiveAtHome]


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


class Observer(Protocol):
    """What a look needs of a tier. One namespace is read by one call; nothing stays open after it."""

    doors: Mapping[int, Door]
    """Ways into the namespaces that have no process."""

    @property
    def wake(self) -> int | None:
        """A descriptor that is readable when a home's mounts changed; None where there is none."""

    def begin_scan(self, members: Mapping[int, tuple[int, ...]]) -> tuple[Missed, ...]:
        """A look begins, at these namespaces by inode with their processes; what was missed since the last one."""

    def table(self, inode: int, pids: Iterable[int]) -> Table | None:
        """The whole table of a home; the same object as before while nothing changed. None when it has no process."""

    def guard(self, inode: int, mounts: Iterable[Mount]) -> None:
        """Mounts of that home whose propagation matters, until told otherwise."""

    def seen(self, inode: int) -> Reading | None:
        """What was last read of a namespace."""

    def changed(self, inode: int, pids: Iterable[int]) -> bool:
        """Whether something tells that a namespace is not as it was last read; False where nothing would tell."""

    def read(self, inode: int, pids: Iterable[int], wanted: tuple[bytes, ...], settled: LiveAtHome) -> Reading | None:
        """Read a namespace now. None when nothing keeps it any more."""

    def resync(self) -> None:
        """Trust nothing that was read before: what is to be read again has `changed`."""

    def forget(self, living: Iterable[int]) -> None:
        """Keep what is known of `living` namespaces only."""

    def end_scan(self) -> None:
        """Drop what only serves to parse many namespaces at once."""

    def masters(self, groups: Iterable[int], members: Mapping[int, tuple[int, ...]]) -> dict[int, int]:
        """The master of each peer group that any namespace shows a member of; 0: it has none."""

    def close(self) -> None:
        """Give back what is open."""


class Unwatched:
    """What is the same for each observer that nothing tells of mounts, and that has nothing open."""

    def __init__(self) -> None:
        self.doors: Mapping[int, Door] = {}
        self._common = Common(LiveAtHome())

    @property
    def wake(self) -> int | None:
        """Nothing tells."""
        return None

    def begin_scan(self, members: Mapping[int, tuple[int, ...]]) -> tuple[Missed, ...]:
        """Nothing is missed: nothing tells."""
        return ()

    def guard(self, inode: int, mounts: Iterable[Mount]) -> None:
        """A home's text is read whole each time."""

    def end_scan(self) -> None:
        """Drop what only serves to read many namespaces at once."""
        self._common = Common(LiveAtHome())

    def masters(self, groups: Iterable[int], members: Mapping[int, tuple[int, ...]]) -> dict[int, int]:
        """The master of each peer group that any namespace shows a member of; 0: it has none."""
        wanted, found = set(groups), dict[int, int]()
        for inode, pids in members.items():
            if wanted <= found.keys():
                break
            try:
                lines = Lines(read_mountinfo(inode, pids, self.doors.get(inode)) or b"")
            except (OSError, NoAnswer):
                continue
            for line in lines.holding(b" shared:%d " % group for group in wanted):
                with contextlib.suppress(mountinfo.Unreadable):
                    mount = mountinfo.parse_line(line)
                    found[mount.shared] = mount.master
        return found

    def close(self) -> None:
        """Nothing is open."""

    def _shared_with(self, settled: LiveAtHome) -> Common:
        """What this look's namespaces have in common; begun anew where another Settled would judge them."""
        if self._common.known is not settled:
            self._common = Common(settled)
        return self._common


class TextObserver(Unwatched):
    """Reads namespaces by their mountinfo, and remembers what it saw of each."""

    def __init__(self) -> None:
        super().__init__()
        self._tables: dict[int, tuple[bytes, Table]] = {}
        self._seen: dict[int, tuple[_Signature, Reading]] = {}
        self._stale = set[int]()

    def table(self, inode: int, pids: Iterable[int]) -> Table | None:
        """The whole table of a home; the same object as before while nothing changed. None when it has no process."""
        text = read_mountinfo(inode, pids)
        if text is None:
            return None
        known = self._tables.get(inode)
        if known is None or known[0] != text:
            known = (text, Table.from_text(text))
            self._tables[inode] = known
        return known[1]

    def seen(self, inode: int) -> Reading | None:
        """What was last read of a namespace."""
        known = self._seen.get(inode)
        return None if known is None else known[1]

    def changed(self, inode: int, pids: Iterable[int]) -> bool:
        """Only the text would tell: at a resync it is read again."""
        return inode in self._stale

    def read(self, inode: int, pids: Iterable[int], wanted: tuple[bytes, ...], settled: LiveAtHome) -> Reading | None:
        """Read a namespace now. None when nothing keeps it any more."""
        text = read_mountinfo(inode, pids, self.doors.get(inode))
        self._stale.discard(inode)
        if text is None:
            self._seen.pop(inode, None)
            return None
        signature = (len(text), hash(text), wanted, settled)
        known = self._seen.get(inode)
        if known is None or known[0] != signature:
            common = self._shared_with(settled)
            known = self._seen[inode] = signature, seen(text, filter_text(text, wanted, common), common)
        return known[1]

    def resync(self) -> None:
        """Read each text again."""
        self._stale = set(self._seen)

    def forget(self, living: Iterable[int]) -> None:
        """Keep what is known of `living` namespaces only."""
        alive = set(living)
        self._seen = {inode: known for inode, known in self._seen.items() if inode in alive}
        self._tables = {inode: known for inode, known in self._tables.items() if inode in alive}


def seen(text: bytes, sifted: Filtered, common: Common) -> Reading:
    """What a whole text was sifted to, with others that have much in common."""
    return Reading(text.count(b"\n"), sifted.candidates, ReachedIds(sifted, common), sifted.unreadable)
