"""What every tier does: the interface by which a scan reads namespaces, and what the tiers share.

In a scan the calls come in this order: `resync` (where nothing read before is to be trusted), `begin_scan`, `table`
and `guard` for each home, `changed` and `read` for the other namespaces, `forget`, `end_scan`. What a scan asks later
(`masters`) may come after its end.
"""

import contextlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from ...model import Door, Missed, Mount, Namespace
from ...mounts import mountinfo
from ...mounts.mountinfo import Lines
from ...mounts.table import Table
from ..budgets import Budgets
from ..every_namespace import read_each
from ..mount_lines import USUAL, MountLines
from .listing import Identified
from .live_at_home import LiveAtHome
from .needles import Needles
from .parent_mount import Key
from .prefilter import Common, Reading


@dataclass(frozen=True, slots=True)
class Home:
    """What is kept of a home between scans."""

    read_from: tuple[tuple[int, bytes | int], tuple[bytes, ...]]
    """Length and hash of the text, and the paths of the roots that it was read for."""
    table: Table
    identified: Identified | None = None
    listing: bytes | None = None
    """Its unique mount ids, where they fit."""
    parsed: dict[bytes, Mount] = field(default_factory=dict, compare=False, repr=False)
    """Its mounts by line of the text."""

    def parsed_for(self, paths: tuple[bytes, ...]) -> dict[bytes, Mount]:
        """The mounts that another reading for these paths may take over."""
        return self.parsed if self.read_from[1] == paths else {}


@dataclass(frozen=True, slots=True)
class KeptNamespace:
    """What is kept of another namespace between scans."""

    needles: Needles
    """What its text was searched for."""
    live: LiveAtHome
    """What home had mounted then."""
    reading: Reading
    identified: Identified | None = None
    """None: the tier needs no id, or it can't be had, or the list of ids and the text do not fit together."""
    listing: bytes | None = None
    """Its unique mount ids. None after the first reading: most namespaces are read once, or not for a long time."""
    checked: Mapping[int, int] = field(default_factory=dict)
    """A hash of statmount's answer for each mount that decides what the candidates are, by unique id."""
    views: Mapping[int, tuple[bytes, ...]] = field(default_factory=dict)
    """The mounts that show where spots are, by unique id, as `Views.shown` says."""
    signature: tuple[int, bytes | int] | None = None
    """Length and hash of the text that it was read from; None where it was brought up to date without one."""
    trusted: bool = True
    """False: it is to be read again."""

    def read_from(self) -> tuple[object, ...]:
        """What must be the same for a reading to be the same."""
        return self.needles, self.live, self.identified, self.listing, self.signature


class Beside(Protocol):
    """Something else that looks at the texts of namespaces, so that no text is read twice in one scan."""

    def take(self, inode: int, lines: MountLines) -> None:
        """Look at the text of a namespace, once or more often: the last time counts. Raises: OSError as read(2)."""


class Observer:
    """Reads the mounts of namespaces. Each call is for one namespace, and leaves no descriptor of it open.

    Of a namespace, `inode` is that of its nsfs file and `pids` are its processes; with neither a process nor one of
    `doors` it can't be read.
    """

    def __init__(self) -> None:
        self.doors: Mapping[int, Door] = {}
        """The way into each namespace that has no process; set by the scan."""
        self._tables: dict[int, Home] = {}
        self._kept: dict[int, KeptNamespace] = {}
        self._common = Common(LiveAtHome())
        self.watched: frozenset[Key] = frozenset()
        """What is looked for wherever it is mounted, beside what is live at home; set by the scan."""
        self.paths: tuple[bytes, ...] = ()
        """The roots' paths in the next home; set by the scan."""
        self.in_part = False
        """Whether a scan does not ask for all that may have changed; set by the scan."""
        self.limits = USUAL
        """What the reading of the next namespace may take; set by the scan."""
        self.beside: tuple[Beside, ...] = ()
        """What else looks at each text of `read`; set by the scan."""

    @property
    def wake(self) -> int | None:
        """A descriptor that is readable when a home's mounts changed, until the next look; None: the tier has none."""
        return None

    def begin_peek(self) -> None:
        """The homes alone are read next, between two scans. Raises: OSError as read(2) of a fanotify group does."""

    def begin_scan(self, members: Mapping[int, tuple[int, ...]]) -> tuple[Missed, ...]:
        """A scan of these namespaces (processes by inode) begins. Returns the mount events missed since the last one.

        Raises: OSError as read(2) of a fanotify group does.
        """
        return ()

    def table(self, inode: int, pids: Iterable[int]) -> Table | None:
        """The whole table of a home; the same object as before while nothing changed. None when it has no process.

        Raises: OSError where it may not be read; NoAnswer where a child that entered it hung.
        """
        raise NotImplementedError

    def guard(self, inode: int, mounts: Iterable[Mount]) -> None:
        """Compare these mounts of that home at each scan: no event tells that their propagation changed.

        A tier that reads a home's whole text each time has nothing to do. Raises: OSError as statmount(2) does.
        """

    def seen(self, inode: int) -> Reading | None:
        """What was last read of a namespace."""
        known = self._kept.get(inode)
        return None if known is None else known.reading

    def changed(self, inode: int, pids: Iterable[int]) -> bool:
        """Whether a namespace may be otherwise than it was last read; False also where nothing would say so.

        Raises: OSError as open(2) and the ioctls of nsfs do.
        """
        known = self._kept.get(inode)
        return known is not None and not known.trusted

    def read(self, inode: int, pids: Iterable[int], needles: Needles, live: LiveAtHome) -> Reading | None:
        """Read a namespace now: its lines that `needles` or their place tell. None when nothing keeps it any more.

        Raises: OSError where it may not be read (EFBIG, ETIME: it takes more than the `limits`); NoAnswer where what
        entered it hung.
        """
        raise NotImplementedError

    def resync(self, inodes: Container[int]) -> None:
        """Do not trust what was read before of these namespaces: what is to be read again has `changed`."""
        self._kept = {
            inode: replace(known, trusted=False) if inode in inodes else known for inode, known in self._kept.items()
        }

    def forget(self, living: Iterable[int]) -> None:
        """Keep what is known of `living` namespaces only."""
        alive = set(living)
        self._kept = {inode: known for inode, known in self._kept.items() if inode in alive}
        self._tables = {inode: home for inode, home in self._tables.items() if inode in alive}

    def end_scan(self) -> None:
        """Drop what only serves to read many namespaces at once."""
        self._common = Common(LiveAtHome())

    def masters(
        self, groups: Iterable[int], spaces: Iterable[Namespace], budgets: Budgets | None = None
    ) -> dict[int, int]:
        """The master of each peer group that any of the namespaces shows a member of; 0: it has none.

        A namespace that can't be read is passed over.
        """
        asked, found = set(groups), dict[int, int]()
        for _inode, some in read_each(spaces, lambda _inode, lines: _masters(asked, lines), budgets=budgets):
            found |= some if isinstance(some, dict) else {}
            if asked <= found.keys():
                break
        return found

    def close(self) -> None:
        """Give back what is open; the observer is not used afterwards."""

    def _hand_over(self, inode: int, lines: MountLines) -> None:
        for one in self.beside:
            one.take(inode, lines)

    def _shared_with(self, live: LiveAtHome) -> Common:
        """What this scan's namespaces have in common; begun anew where they are compared with another LiveAtHome."""
        if self._common.live is not live:
            self._common = Common(live, self.watched)
        return self._common


def _masters(groups: Iterable[int], lines: MountLines) -> dict[int, int]:
    """The master of each of these peer groups of which a namespace shows a member."""
    found: dict[int, int] = {}
    needles = tuple(b" shared:%d " % group for group in groups)
    for block in lines.blocks():
        for line in Lines(block).holding(needles):
            with contextlib.suppress(mountinfo.Unreadable):
                mount = mountinfo.parse_line(line)
                found[mount.shared] = mount.master
    return found
