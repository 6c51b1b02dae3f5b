"""Superblocks of guarded roots that no namespace has mounted and that something keeps: found without a history.

A search of all that every process has open is dear. The first scan looks at all processes; a later one that trusts
nothing at the next few of them in turn, and between these what was found is asked for again now and then.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import NoAnswer
from ..model import Gap, Kept, Namespace, RootKind, RootState
from ..mounts.roots import Spots
from ..mounts.table import Table
from ..observe.budgets import Budgets
from ..observe.mount_lines import MountLines
from ..observe.open_files import AttachedMounts
from ..observe.unmounted import Mounted, Search, Unmounted
from .homes import reason

SLICE = 64
"""Processes that one search after the first looks at: all of them cost 0.6 ms each, more than all else of a scan."""

PERIOD = 10.0
"""Seconds after which what was found is asked for again, or more where that is dear. It is reported after 30 s."""

COST_FACTOR = 1000.0
"""That is not before so many times the processor time that it took the last time: 0.1 % of a core. That a superblock
has ended is noticed without it.
"""

TURN = 30.0
"""Seconds at least between two searches of further processes: actions scan in full as often as there are leaks."""

_CONTAINERD = b"/var/lib/containerd"
"""Where containerd has its snapshots, which is not where it mounts."""


class MountedElsewhere:
    """Ids of mounts on which processes had something when they were searched, by the namespaces that have them.

    A process in another namespace has its root there. A namespace that had such a mount when it was last read, some
    minutes ago at most, is not read again for each search. And some are in none, such as the kernel's own of nsfs.
    """

    LASTS = 300.0
    """Seconds. What is read of namespaces anyway comes round sooner."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, set[int]]] = {}
        self._nowhere: tuple[float, set[int]] = (0.0, set())

    def take(self, inode: int, lines: MountLines) -> None:
        """Look at the text of a namespace that is read. Raises: OSError as reading does."""
        if inode in self._known:
            here = lines.find({b"%d" % one for one in self._known[inode][1]})
            self._known[inode] = time.monotonic(), {int(one) for one in here}

    def note(self, shown: Mapping[int, set[int]], nowhere: set[int]) -> None:
        """What a search saw in the texts of these namespaces, and `nowhere`, though it is not to be told."""
        now = time.monotonic()
        if now - self._nowhere[0] >= self.LASTS:
            self._nowhere = now, set()
        self._nowhere[1].update(nowhere)
        for inode, ids in shown.items():
            self._known[inode] = now, ids | self._known.get(inode, (now, set()))[1]

    def ids(self, spaces: Iterable[Namespace]) -> set[int]:
        """Those that are still known, of namespaces that there still are."""
        since, inodes = time.monotonic() - self.LASTS, {space.inode for space in spaces}
        self._known = {inode: one for inode, one in self._known.items() if inode in inodes and one[0] > since}
        nowhere = self._nowhere[1] if self._nowhere[0] > since else set[int]()
        return nowhere.union(*(ids for _at, ids in self._known.values()))


class KeptSuperblocks:
    """What the last search found."""

    def __init__(self) -> None:
        self.kept: tuple[Kept, ...] = ()
        self.gaps: tuple[Gap, ...] = ()
        """What that search could not read."""
        self._unmounted = Unmounted()
        self._elsewhere = MountedElsewhere()
        self._begun: _Begun | None = None
        self._searched = self._turned = float("-inf")
        self._cost = 0.0
        """Seconds of processor time of the last search."""
        self._last: int | None = None
        """The process that the last search ended with; None before the first."""

    def update(
        self,
        pids: Sequence[int],
        spaces: Callable[[], Collection[Namespace]],
        budgets: Budgets,
        tables: Mapping[int, Table],
        states: Iterable[RootState],
        *,
        everywhere: bool,
    ) -> None:
        """Begin to search `everywhere`, or to ask again for what is known; `end` goes on.

        `spaces` gives all mount namespaces, which is not asked for at each tick; `tables` are those of the homes.
        """
        self.end()
        states = tuple(states)
        everywhere = everywhere and (self._last is None or time.monotonic() - self._turned >= TURN)
        if not (everywhere or self.kept):
            return
        held = {use.pid for one in self.kept for use in one.uses if use.pid}
        period = max(PERIOD, COST_FACTOR * self._cost)
        if not everywhere and time.monotonic() - self._searched < period and held.issubset(pids):
            return
        pids = sorted(held & set(pids) | set(self._next(pids) if everywhere else ()))
        self._searched, began = time.monotonic(), time.thread_time()
        self._turned = self._searched if everywhere else self._turned
        try:
            all_spaces = spaces()
            known = self._elsewhere.ids(all_spaces)
            search = self._unmounted.begin(pids, _mounted(tables.values()), _places(states), known)
            self._begun = _Begun(search, all_spaces, budgets, Spots(states))
            self._cost = time.thread_time() - began
        except (OSError, NoAnswer) as error:
            self._is_over((), (Gap("what is kept open and mounted nowhere", reason(error)),), Spots(states))

    @property
    def looking(self) -> tuple[Mounted | MountedElsewhere, ...]:
        """What looks at each text that is read until `end`: a mount that was made since the search began is seen."""
        return (self._elsewhere, *((self._begun.search.mounted,) if self._begun else ()))

    def ended(self, devices: Collection[str]) -> None:
        """The superblocks of these devices have ended."""
        if devices:
            self.kept = tuple(one for one in self.kept if one.device not in devices)

    def end(self) -> None:
        """End the search that was begun, if any, by the texts that were read since and by those that were not."""
        begun, self._begun, began = self._begun, None, time.thread_time()
        if begun is None:
            return
        try:
            found, gaps = self._unmounted.end(begun.search, begun.spaces, begun.budgets)
        except (OSError, NoAnswer) as error:
            found, gaps = (), (Gap("what is kept open and mounted nowhere", reason(error)),)
        self._elsewhere.note(begun.search.mounted.shown, begun.search.others)
        self._cost += time.thread_time() - began
        self._is_over(found, gaps, begun.spots)

    def _is_over(self, found: Iterable[Kept], gaps: tuple[Gap, ...], spots: Spots) -> None:
        self.gaps = gaps
        self.kept = tuple(known for one in found if (known := spots.of_kept(one)) is not None)

    def _next(self, pids: Sequence[int]) -> Sequence[int]:
        """All of them at first, then those after the last one."""
        if self._last is None:
            self._last = 0
            return pids
        later = [pid for pid in pids if pid > (self._last or 0)][:SLICE]
        self._last = later[-1] if len(later) == SLICE else 0
        return later


@dataclass(frozen=True, slots=True)
class _Begun:
    search: Search
    spaces: Collection[Namespace]
    budgets: Budgets
    spots: Spots


def _mounted(tables: Iterable[Table]) -> AttachedMounts:
    mounts = [mount for table in tables for mount in table.mounts]
    return AttachedMounts(frozenset(mount.id for mount in mounts), frozenset(mount.device for mount in mounts))


def _places(states: Iterable[RootState]) -> list[bytes]:
    """Directories of our own namespace on the file systems that have the layers."""
    kinds = (RootKind.GRAPH, RootKind.CUSTOM)
    own = [state.root for state in states if state.root.kind in kinds and state.root.home_pid is None]
    return [*(root.path for root in own), *([_CONTAINERD] if any(root.engine == "containerd" for root in own) else [])]
