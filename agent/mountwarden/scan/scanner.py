"""One look at the host: observe, judge, fetch what the judge wants, judge again, say who holds what.

The command line looks once or twice; the agent keeps one Looker, whose looks after the first are cheap: a namespace
is read again only when it is new, when a home changed since, when something suspicious is in it, or when the observer
says so, as it does at a resync.
"""

import errno
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .. import engines
from ..config.schema import Config
from ..engines import COMMANDS, Host
from ..errors import NoAnswer
from ..explain.attribute import attribute_all
from ..judge import Judgement, judge
from ..model import (
    Answers,
    Copy,
    Door,
    Finding,
    Gap,
    Missed,
    Mount,
    Namespace,
    PeerGroupQuestion,
    Picture,
    Question,
    RecordQuestion,
    Root,
    RootState,
    Tier,
    UsersQuestion,
)
from ..mounts import roots as inventory
from ..mounts.roots import Spots
from ..mounts.table import Table
from ..observe import namespaces, processes, processless, tiers
from ..observe.detached_users import Pins
from ..observe.ids import Ids
from ..observe.tiers.mountinfo import needles
from ..observe.tiers.prefilter import LiveAtHome, ReachedCopies, Reading
from .history import History, remember


@dataclass(frozen=True, slots=True)
class Scan:
    """What one look found. Findings are attributed but not confirmed: the ledger does that."""

    picture: Picture
    findings: tuple[Finding, ...]
    gaps: tuple[Gap, ...]
    started: float
    """Seconds since the Epoch."""
    seconds: float
    tier: Tier
    tier_reason: str
    answers: Answers = field(default_factory=Answers)
    """What the judge was told beside the picture."""
    missed: tuple[Missed, ...] = ()

    @property
    def complete(self) -> bool:
        """Nothing was left unread."""
        return not self.gaps


def boot_id() -> str:
    """The kernel's id of this boot, random(4)."""
    return processes.read("/proc/sys/kernel/random/boot_id").decode().strip()


class Scanner:
    """Looks, and remembers between looks what makes the next one cheap and its evidence better."""

    def __init__(self, config: Config, *, home: int | None = None, tier: Tier | None = None) -> None:
        """`home` is the inode of the namespace that counts as PID 1's; None asks for PID 1's own.

        `tier` is the kernel interface to use; None: the best that works here. Raises: MountwardenError where it does
        not work.
        """
        self.config = config
        self.boot_id = boot_id()
        self._fixed_home = home
        self._daemons = processes.DaemonWatch(COMMANDS)
        self._host = Host()
        self._asked = tier
        self._settings = tier or config.tier
        self.tier, self.tier_reason, self._observer = tiers.take(self._settings)
        self._history = History()
        self._pins = Pins()
        self._ids = Ids()
        self._strays: dict[int, int] = {}
        self._doors: dict[int, Door] = {}
        self._suspects: frozenset[int] = frozenset()
        self._pids: dict[int, frozenset[int]] = {}
        self._new = namespaces.New()
        self._tables: dict[int, Table] = {}
        self._states: tuple[RootState, ...] = ()
        self._wanted: tuple[bytes, ...] = ()
        self._settled = LiveAtHome()
        self._held: tuple[ReachedCopies, ...] = ()
        self._strange: frozenset[tuple[str, bytes]] = frozenset()
        """What copies were of at the last look that no home had, a second reading included."""
        self._calm: tuple[Scan, list[Gap]] | None = None
        """The last look and the gaps it began with, where it found nothing and asked nothing."""

    def scan(self, *, resync: bool = False) -> Scan:
        """Look at the host now. With `resync`, nothing that was read before is trusted."""
        started, clock = time.time(), time.monotonic()
        self._settle_tier()
        gaps: list[Gap] = []
        pids = processes.pids()
        if resync:
            self._daemons.resync()
            self._host.resync()
            self._observer.resync()
        members = self._members(pids, threads=resync or not self._tables, gaps=gaps)
        missed = self._observer.begin_scan(members)
        self._host.update(self._daemons.update(pids))
        roots, engine_gaps = engines.discover(self._host, self.config)
        gaps += engine_gaps
        fresh = resync or not self._tables
        changed = self._scan_homes(roots, members, gaps)
        self._add_bare(members, pids, fresh, gaps)
        if self._calm is not None and not (resync or changed) and self._is_same(members, gaps):
            return replace(self._calm[0], started=started, seconds=time.monotonic() - clock, missed=missed)
        begun = list(gaps)
        copies, mounts, unread = self._scan_elsewhere(members, changed, gaps)
        here = frozenset(mount.identity for table in self._tables.values() for mount in table.mounts)
        copies = self._without_newer(copies, here, members)
        picture = self._picture(members, copies, here, mounts, unread, gaps)
        judgement, answers = self._judge(picture, members)
        self._suspects = frozenset(f.namespace for f in judgement.findings if f.namespace is not None)
        picture = self._with_ids(picture)
        attributed = attribute_all(judgement.findings, picture)
        seconds = time.monotonic() - clock
        scan = Scan(picture, attributed, tuple(gaps), started, seconds, self.tier, self.tier_reason, answers, missed)
        # What was found or asked for can change though no mount does: an engine's record, a file that is closed.
        quiet = not (judgement.findings or judgement.wants or unread)
        self._calm = (scan, begun) if quiet else None
        return scan

    def _without_newer(
        self, copies: list[Copy], here: frozenset[tuple[str, bytes]], members: Mapping[int, tuple[int, ...]]
    ) -> list[Copy]:
        """Without copies of what a home has mounted since `here` was read of all homes: the next look sees both.

        While containers start, every other namespace has a copy of each, and each would be suspected of being a leak.
        """
        strange = {copy.mount.identity for copy in copies if copy.match and copy.mount.identity not in here}
        if not strange <= self._strange:
            newer = strange & frozenset(self._at_homes_now(members))
            copies = [copy for copy in copies if copy.mount.identity not in newer]
            strange -= newer
        self._strange = frozenset(strange)
        return copies

    def _at_homes_now(self, members: Mapping[int, tuple[int, ...]]) -> Iterable[tuple[str, bytes]]:
        for inode in self._tables:
            try:
                text = namespaces.read_mountinfo(inode, members.get(inode, ()))
            except (OSError, NoAnswer):
                continue  # what is strange stays so, as it was without this reading
            yield from (mount.identity for mount in Table.from_text(text or b"").mounts)

    def _is_same(self, members: Mapping[int, tuple[int, ...]], gaps: list[Gap]) -> bool:
        """Whether the namespaces are those of the last look, with the same gaps in what is known of them."""
        assert self._calm is not None
        return (
            members.keys() == self._pids.keys()
            and gaps == self._calm[1]
            and not any(self._is_another(*each) or self._observer.changed(*each) for each in members.items())
            and not self._new.due()
        )

    def _is_another(self, inode: int, pids: tuple[int, ...]) -> bool:
        """Inodes of namespaces are reused at once: one without a process of before is taken for another."""
        return bool(pids) and self._pids.get(inode, frozenset()).isdisjoint(pids)

    def _settle_tier(self) -> None:
        """Go over to another tier where a new configuration says so."""
        settings = self._asked or self.config.tier
        if settings != self._settings:
            before = self._observer
            self.tier, self.tier_reason, self._observer = tiers.take(settings)
            self._settings, self._calm = settings, None
            before.close()

    @property
    def wake(self) -> int | None:
        """A descriptor that is readable when a home's mounts changed, until the next look; None where there is none."""
        return self._observer.wake

    def close(self) -> None:
        """Give back what is open. Looks go on to work, each of them anew."""
        self._observer.close()

    def _members(self, pids: list[int], *, threads: bool, gaps: list[Gap]) -> dict[int, tuple[int, ...]]:
        """Processes by namespace. Threads in namespaces of their own are found at a resync, then kept track of."""
        found = namespaces.members(pids, threads=threads)
        gaps += found.gaps
        by_inode = dict(found.by_inode)
        if threads:
            known = set(pids)
            self._strays = {pid: inode for inode, many in by_inode.items() for pid in many if pid not in known}
            return by_inode
        for inode, tids in namespaces.members(self._strays, threads=False).by_inode.items():
            by_inode[inode] = tuple(sorted({*by_inode.get(inode, ()), *tids}))
        return by_inode

    def _add_bare(self, members: dict[int, tuple[int, ...]], pids: list[int], fresh: bool, gaps: list[Gap]) -> None:
        """Add the namespaces without a process to `members`: they are searched for at a resync, then kept track of."""
        if fresh:
            self._doors, unasked = processless.doors(members, self._tables, pids)
            gaps += unasked
        self._doors = {inode: door for inode, door in self._doors.items() if inode not in members}
        self._observer.doors = self._doors
        members |= dict.fromkeys(self._doors, ())

    def _search_doors(self, members: Mapping[int, tuple[int, ...]]) -> bool:
        """Find the ways in again: one was closed, and there may be another."""
        inhabited = {inode: pids for inode, pids in members.items() if pids}
        self._doors, _told_already = processless.doors(inhabited, self._tables, processes.pids())
        self._observer.doors = self._doors
        return True

    def home_of(self, root: Root) -> int | None:
        """Inode of the root's home; None where PID 1's can't be told."""
        if root.home is not None:
            return root.home
        return self._fixed_home if self._fixed_home is not None else namespaces.of_pid1()

    def _scan_homes(self, roots: Iterable[Root], members: Mapping[int, tuple[int, ...]], gaps: list[Gap]) -> bool:
        """Bring the roots' states up to date; True when any home changed since the last look."""
        tables: dict[int, Table] = {}
        states = []
        for root in roots:
            home = self.home_of(root)
            table = self._home_table(home, tables, members, gaps)
            if home is None or table is None:
                if all(layout.needs_history for layout in root.layout):
                    continue  # the whole host: the gap says it
                states.append(RootState(root, home, None, status="its home could not be read"))
                continue
            states.append(self._state(root, table, home))
        same = tables.keys() == self._tables.keys() and all(tables[i] is self._tables[i] for i in tables)
        changed = not same or tuple(s.root for s in states) != tuple(s.root for s in self._states)
        if changed:
            self._settled = LiveAtHome(states)
        self._tables, self._states = tables, tuple(states)
        for inode in tables:
            self._observer.guard(inode, _guarded(state for state in states if state.home == inode))
        return changed

    def _state(self, root: Root, table: Table, home: int) -> RootState:
        if self._tables.get(home) is table:
            known = next((state for state in self._states if state.root == root and state.home == home), None)
            if known is not None:
                return known
        return inventory.root_state(root, table, home)

    def _home_table(
        self,
        home: int | None,
        tables: dict[int, Table],
        members: Mapping[int, tuple[int, ...]],
        gaps: list[Gap],
    ) -> Table | None:
        if home is None:
            gaps.append(Gap("the mount namespace of PID 1", "it may not be read"))
            return None
        if home not in tables:
            try:
                table = self._observer.table(home, members.get(home, ()))
            except (OSError, NoAnswer) as error:
                gaps.append(Gap("the mounts of a home", _reason(error), home))
                return None
            if table is None:
                return None
            gaps += [Gap("lines of mountinfo", why, home, count) for why, count in table.unreadable.items()]
            tables[home] = table
        return tables[home]

    def _scan_elsewhere(
        self, members: Mapping[int, tuple[int, ...]], reread: bool, gaps: list[Gap]
    ) -> tuple[list[Copy], int, frozenset[int]]:
        """The copies in all other namespaces, how many mounts were passed over, and which could not be read."""
        wanted = needles((layout for s in self._states for layout in s.root.layout), self._history.loose(self._states))
        reread, self._wanted = reread or wanted != self._wanted, wanted
        copies: list[Copy] = []
        settled: list[ReachedCopies] = []
        mounts = sum(len(table.mounts) for table in self._tables.values())
        unread, searched = set[int](), False
        spots, watched = Spots(self._states), self._history.watched() | inventory.identities(self._states)
        new = frozenset(each[0] for each in members.items() if each[0] not in self._pids or self._is_another(*each))
        again = new | self._suspects | self._new.again(new if self._pids else (), members)
        for inode, pids in members.items():
            if inode in self._tables:
                continue
            seen = self._observer.seen(inode)
            if seen is None or reread or inode in again or self._observer.changed(inode, pids):
                seen = self._read(inode, pids, wanted, unread, gaps)
            if seen is None and inode in self._doors and inode not in unread:
                searched = searched or self._search_doors(members)
                seen = self._read(inode, (), wanted, unread, gaps) if inode in self._doors else None
            if seen is None:
                continue
            mounts += seen.mounts
            settled.append(seen.settled)
            gaps += [Gap("lines of mountinfo", why, inode, count) for why, count in seen.unreadable]
            copies += inventory.copies_elsewhere(inode, seen.candidates, spots, watched)
        # A home of one root may hold copies of another's.
        for inode, table in self._tables.items():
            copies += inventory.copies_at_home(inode, table, self._states, spots, watched)
        self._observer.forget(members)
        self._observer.end_scan()
        self._held = tuple(settled)
        self._pids = {inode: frozenset(pids) for inode, pids in members.items()}
        return copies, mounts, frozenset(unread)

    def _read(
        self, inode: int, pids: tuple[int, ...], wanted: tuple[bytes, ...], unread: set[int], gaps: list[Gap]
    ) -> Reading | None:
        try:
            return self._observer.read(inode, pids, wanted, self._settled)
        except (OSError, NoAnswer) as error:
            unread.add(inode)
            gaps.append(Gap("the mounts of a namespace", _reason(error), inode))
            return None

    def _picture(
        self,
        members: Mapping[int, tuple[int, ...]],
        copies: list[Copy],
        here: frozenset[tuple[str, bytes]],
        mounts: int,
        unread: frozenset[int],
        gaps: list[Gap],
    ) -> Picture:
        matches = {spot: match for state in self._states for spot, match in state.matches.items()}
        self._history, told = remember(self._history, self._states, copies, matches, unread, self._held)
        return Picture(
            boot_id=self.boot_id,
            tier=self.tier,
            roots=self._states,
            namespaces={i: Namespace(i, pids, door=self._doors.get(i)) for i, pids in members.items()},
            copies=told,
            mounts=mounts,
            home_identities=here,
            stacks=inventory.stacks(told),
            gone=tuple(self._history.gone.values()),
            gaps=tuple(gaps),
        )

    def _with_ids(self, picture: Picture) -> Picture:
        """The picture with the ids of the namespaces in which something was found."""
        spaces = picture.namespaces
        ids = self._ids.of(spaces[inode] for inode in self._suspects if inode in spaces)
        return replace(picture, namespaces={**spaces, **{i: replace(spaces[i], id=known) for i, known in ids.items()}})

    def _judge(self, picture: Picture, members: Mapping[int, tuple[int, ...]]) -> tuple[Judgement, Answers]:
        """Judge until nothing more is wanted; the judgement, and the answers that it stands on."""
        answers = Answers()
        judgement = judge(picture, answers)
        while missing := [want for want in judgement.wants if answers.lacks(want)]:
            answers = self._answer(answers, missing, members)
            judgement = judge(picture, answers)
        return judgement, answers

    def _answer(self, answers: Answers, missing: list[Question], members: Mapping[int, tuple[int, ...]]) -> Answers:
        asked = [want for want in missing if isinstance(want, RecordQuestion)]
        states = engines.records(self._host, [want.match for want in asked])
        groups = [want for want in missing if isinstance(want, PeerGroupQuestion)]
        masters = self._observer.masters({want.group for want in groups}, members) if groups else {}
        held = [want for want in missing if isinstance(want, UsersQuestion)]
        users, free = self._pins.users(want.ids for want in held)
        self._history = self._history.without(gone for gone in self._history.gone.values() if gone.ids in free)
        return Answers(
            {**answers.records, **dict(zip(asked, states, strict=True))},
            {**answers.masters, **{want: masters.get(want.group) for want in groups}},
            {**answers.users, **{want: users.get(want.ids, ()) for want in held}},
        )


def _guarded(states: Iterable[RootState]) -> Iterable[Mount]:
    """Home's mounts whose propagation decides what an umount of it reaches."""
    for state in states:
        yield from (state.mount, *(base.mount for base in state.bases)) if state.mount else ()
        yield from state.parents.values()


def _reason(error: OSError | NoAnswer) -> str:
    if isinstance(error, NoAnswer):
        return error.message
    return errno.errorcode.get(error.errno or 0, "EIO") + ": " + os.strerror(error.errno or errno.EIO)
