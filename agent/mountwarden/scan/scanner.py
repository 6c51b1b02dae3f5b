"""One scan of the host: observe, judge, answer the judge's questions, judge again, find who holds what.

The command line scans once or twice. The agent keeps one Scanner, whose scans after the first are cheap: a namespace is
read again only when it is new, when a home changed since, when something was found in it, or when the observer says so,
as it does at a resync.
"""

import functools
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import replace

from .. import engines
from ..config.schema import Config
from ..engines import COMMANDS, Host
from ..explain.attribute import KnownMembers, attribute_all
from ..judge import Judgement, judge
from ..model import Answers, Finding, Gap, Kind, Missed, Picture, Standing, SuperblockTest, Tier
from ..mounts.roots import stacks
from ..observe import processes, start_times, tiers
from ..observe.budgets import COMMAND_BURST, Budgets
from ..observe.exposed_texts import ExposedTexts
from ..observe.ids import NamespaceIds
from ..observe.namespaces import SETUP
from ..observe.superblocks import Superblocks
from ..observe.tiers.observer import Beside
from . import stored_history
from .answers import AnswerSources
from .departures import Departures, own_superblocks
from .elsewhere import Elsewhere
from .history import Departed, History, remember
from .home_readings import homes_read
from .homes import Homes
from .kept import KeptSuperblocks
from .mount_namespaces import MountNamespaces
from .part import Part
from .readings import FoundElsewhere
from .result import Scan
from .saving import Saving
from .stacks import StackDepths
from .standing import MOST, StandingMounts
from .stored_history import StoredHistory
from .suspects import Suspects

FRESH = 0.1
"""Seconds for which a look at the homes does for the scan of a part that it leads to: whether home has meanwhile what
another namespace has is asked again in any case.
"""


def boot_id() -> str:
    """The kernel's id of this boot, random(4)."""
    return processes.read("/proc/sys/kernel/random/boot_id").decode().strip()


def _with(picture: Picture, standing: tuple[Standing, ...]) -> Picture:
    """The picture with these mounts of homes that nobody owns; the same one where it had no others."""
    return picture if standing == picture.standing else replace(picture, standing=standing).by(picture.spaces)


def _named(findings: Iterable[Finding]) -> frozenset[int]:
    return frozenset(inode for one in findings for inode in one.namespaces)


class Scanner:
    """Scans, and remembers from scan to scan what makes the next one cheap and its evidence better."""

    def __init__(
        self,
        config: Config,
        *,
        home: int | None = None,
        tier: Tier | None = None,
        history: StoredHistory | None = None,
        keep: Callable[[StoredHistory], None] | None = None,
        deadline: float | None = None,
        alive: Callable[[], None] = lambda: None,
        exposed: ExposedTexts | None = None,
        only: Container[int] | None = None,
    ) -> None:
        """`home` is the inode of the namespace that counts as PID 1's; None asks for PID 1's own.

        `tier` is the kernel interface to use; None: the configuration's, or the best that works here. `history` is what
        an earlier run saved in this boot, as `history_file.read` gives it: what the first scan finds again of it, it
        takes up. `keep` gets what is to be saved, before a scan returns: so that nothing is told or tried whose
        evidence is not saved. `deadline` is in seconds: a scan reads no further namespace after it, and `owes` a part
        to the next one; None where there is no next one. `alive` is called now and then within a scan. `exposed` looks
        at each text too, so that each scan reads all of them. `only`: inodes of the namespaces that there are for it.

        Raises: MountwardenError where the tier does not work.
        """
        self.config = config
        self.boot_id = boot_id()
        self._fixed_tier = tier
        self._tier_setting = tier or config.tier
        self.tier, self.tier_reason, self._observer = tiers.take(self._tier_setting)
        self._daemons = processes.DaemonWatch(COMMANDS)
        self._engines = Host()
        self._spaces = MountNamespaces(only)
        self._homes = Homes(home)
        self._budgets = Budgets(deadline=deadline) if deadline else Budgets(deadline=None, burst=COMMAND_BURST)
        self.superblocks = Superblocks()
        self._elsewhere = Elsewhere(self._budgets, alive, self.superblocks)
        self._departures = Departures(self.superblocks)
        self._suspects = Suspects()
        self._members = KnownMembers()
        self._number = 0
        """How often the homes were read."""
        self._homes_changed, self._changed_at = False, 0.0
        """Whether a home changed since the last scan, and when that was seen last (monotonic clock)."""
        self._exposed = exposed
        self._earlier = history
        self._history = stored_history.begin(history) if history else History()
        self._kept = KeptSuperblocks()
        self._depths = StackDepths(history.depths if history else ())
        self._engines.remember(dict(history.daemons) if history else {})
        self._saving = Saving(keep)
        self._answers = AnswerSources(self._engines)
        self._standing = StandingMounts()
        self._ids = NamespaceIds()
        self._searched = frozenset[tuple[object, ...]]()
        """What the last scan looked for."""
        self._hidden = frozenset[Departed]()
        """What lived on when the last scan began, and was looked for everywhere in vain."""
        self._in_part = False
        """Whether the last scan was one of a part."""
        self._first = True
        """Whether no scan has ended yet."""
        self._depends = False
        """Whether the last scan depends on more than mounts: it found something, or the judge had a question."""
        self._last: tuple[Scan, list[Gap]] | None = None
        """The last whole scan and the gaps before the other namespaces were read; None where not all could be read.
        Where it found something, or the judge had a question, it stands for a part of the host alone, and for a moment:
        what that depends on can change though no mount does. Severed roots are no such thing. They are the normal state
        of many hosts, and all that live there are their copies: to judge these at each tick costs more than all the
        rest, and of the change of propagation that ends them a resync tells."""

    def scan(self, part: Part | None = None, *, resync: bool = False) -> Scan:
        """Scan the host now, or a part of it. With `resync`, nothing that was read before is trusted.

        Where nothing changed since the last scan, and that found nothing, its result stands.
        """
        began = time.thread_time() - self.excess
        try:
            return self._scan(part, resync=resync)
        except BaseException:
            self._last = None  # what this scan took in was told by none
            raise
        finally:
            self._spaces.end_scan()
            self._budgets.share(time.thread_time() - self.excess - began, self._spaces.owners.values())

    def peek(self) -> bool:
        """Look at the homes alone, between two scans: at what came and went there. Whether a scan is needed."""
        if not self._homes.tables:
            return True
        self._observer.begin_peek()
        if self._homes.again(self._observer):
            self._read_homes()
        return self._homes.is_moved or not all(state.mount for state in self._homes.states)

    def recheck(self) -> None:
        """Ask again what lives on of what homes have unmounted; and save what has waited for that."""
        self._ask()
        self._saving.save_late()

    @property
    def suspects(self) -> bool:
        """Whether something lives on that homes have unmounted and that the last scan did not look for."""
        return bool(self._looked_for() - self._searched)

    @property
    def due(self) -> tuple[float | None, float | None]:
        """When a scan, and when `recheck`, should be though nothing happens (monotonic clock).

        Who mounts something at home may have made a namespace too.
        """
        times = (self._spaces.due, self._changed_at + SETUP if self._homes_changed else None)
        later = 0.0 if self.presses else min((one for one in times if one is not None), default=None)
        asked = (self._departures.next(self._history.departed), self._saving.due)
        return later, min((one for one in asked if one is not None), default=None)

    @property
    def presses(self) -> bool:
        """Whether something lives on that home has unmounted, and was not found, while namespaces wait to be read."""
        return (self._elsewhere.owes or self.suspects) and any(one.lives for one in self._history.missing)

    def _looked_for(self) -> frozenset[tuple[object, ...]]:
        """What is looked for in other namespaces now, and in which of them: in no more where it was found already."""
        departed, found = self._history.departed.items(), self._history.found
        return frozenset((i, one.since, one.everywhere and i not in found) for i, one in departed if one.holders)

    def _may_hide(self) -> bool:
        """Whether something lives on that is in no namespace known so far: there may be one without a process.

        Each departure leads to one search.
        """
        before, self._hidden = self._hidden, frozenset(one for one in self._history.missing if one.lives)
        return bool({known.mounts for known in self._hidden} - {known.mounts for known in before})

    def _read_homes(self) -> None:
        """Take in what the last reading of the homes showed."""
        self._number += 1
        self._homes_changed, self._changed_at = True, time.monotonic()
        self._history = homes_read(self._history, self._homes.change, self._number, self._homes.identities)
        self._elsewhere.ended(self._homes.new_devices, self._number)
        if self.superblocks.way is SuperblockTest.INOTIFY:
            self.superblocks.follow(own_superblocks(self._homes.states))
        self._ask()

    def _ask(self) -> frozenset[str]:
        """Ask what lives on of what homes have unmounted, and of what was found; what has ended of these."""
        self._history, ended = self._departures.ask(self._history, self._homes, self._suspects.devices)
        self._elsewhere.ended(ended, self._number)
        self._kept.ended(ended)
        return ended & self._suspects.devices

    def _scan(self, part: Part | None, *, resync: bool) -> Scan:
        started, clock, boot = time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
        self._use_configured_tier()
        gaps: list[Gap] = []
        missed, changed = self._update(part, gaps, resync=resync)
        if self._last is not None and not (resync or changed) and self._is_unchanged(part, gaps):
            self._saving.save_late()
            return replace(self._last[0], started=started, seconds=time.monotonic() - clock, missed=missed)
        before = list(gaps)
        self._homes_changed, self._searched = False, self._looked_for()
        self._complete_ids()
        self._observer.beside = self._beside()
        reread = changed or self._exposed is not None
        found = self._elsewhere.scan(
            self._observer, self._spaces, self._homes, self._history, self._number, part, reread=reread
        )
        self._kept.end()
        gaps += (*found.gaps, *self._kept.gaps)
        picture = self._picture(found, part, gaps, every=resync or self._first)
        judgement, answers, picture = self._judge(picture)
        self._first = False
        changing = [one for one in judgement.findings if one.kind is not Kind.SEVERED]
        self._elsewhere.suspects = self._suspects.update(changing, self.config.confirm, clock)
        picture = self._with_ids(picture, _named(judgement.findings))
        findings = attribute_all(judgement.findings, picture, self._members)
        self._save(picture, answers, started, boot, now=part is None)
        seconds = time.monotonic() - clock
        scan = Scan(
            picture,
            findings,
            tuple(gaps),
            started,
            seconds,
            self.tier,
            self.tier_reason,
            answers,
            missed,
            owes=found.owes,
            budgets=self._budgets,
            unbound=frozenset(found.unbound),
            superblocks=self.superblocks,
        )
        self._depends = bool(changing or judgement.questions)
        self._last, self._in_part = None if found.unread else (scan, before), part is not None
        return scan

    def _beside(self) -> tuple[Beside, ...]:
        """What looks at the texts that the scan reads."""
        if self._exposed is None:
            return self._kept.looking
        self._exposed.begin(self._homes.states, self._homes.tables)
        return (*self._kept.looking, self._exposed)

    def _use_configured_tier(self) -> None:
        """Change to another tier where a new configuration says so. Raises: MountwardenError where it does not work."""
        setting = self._fixed_tier or self.config.tier
        if setting != self._tier_setting:
            before = self._observer
            self.tier, self.tier_reason, self._observer = tiers.take(setting)
            self._tier_setting, self._last = setting, None
            before.close()

    def _update(self, part: Part | None, gaps: list[Gap], *, resync: bool) -> tuple[tuple[Missed, ...], bool]:
        """Bring namespaces, engines and homes up to date; what mount events were missed, and whether a home changed."""
        if resync:
            self._daemons.resync()
            self._engines.resync()
            self._observer.resync(self._elsewhere.resync(part.share if part else 1.0))
        everywhere = resync or not self._homes.tables
        search = everywhere or self._may_hide()
        self._departures.now = part is not None and part.again
        gaps += self._spaces.update(search=search)
        pids = self._spaces.pids
        self._observer.in_part = part is not None
        missed = self._observer.begin_scan(self._spaces.members)
        self._engines.update(self._daemons.update(pids))
        roots, engine_gaps = engines.discover(self._engines, self.config)
        gaps += engine_gaps
        fresh = part is not None and part.unchanged and self._homes.is_of(roots, time.monotonic() - FRESH)
        if not fresh and self._homes.update(self._observer, roots, self._spaces.members, gaps):
            self._read_homes()
        elif (self._history.departed or self._suspects.devices or self._history.gone) and self._ask():
            self._homes_changed = True
        gaps += self._spaces.add_processless(self._homes.tables, search=search)
        self._observer.doors = self._spaces.doors
        spaces, homes = self._spaces, self._homes
        self._budgets.begin(spaces.owners.values())
        self._kept.update(
            pids, lambda: spaces.facts().values(), self._budgets, homes.tables, homes.states, everywhere=everywhere
        )
        return missed, self._homes_changed

    def _complete_ids(self) -> None:
        """Note which mount ids the copies had of what lives on, before their namespaces are read again."""
        departed = dict(self._history.departed)
        for identity, one in departed.items():
            if not one.complete:
                ids = self._elsewhere.ids_of(self._observer, identity)
                mounts = tuple(replace(known, ids=known.ids | ids) for known in one.mounts)
                departed[identity] = replace(one, mounts=mounts, complete=True)
        self._history = replace(self._history, departed=departed)

    def _is_unchanged(self, part: Part | None, gaps: list[Gap]) -> bool:
        """Whether the namespaces are those of the last scan, with the same gaps in what is known of them."""
        if self._depends and (part is None or part.again or self._suspects.is_due()):
            return False
        if part is None and self._in_part:
            return False
        return (
            self._last is not None
            and not self._history.departed
            and gaps == self._last[1]
            and self._spaces.are_same()
            and not any(self._observer.changed(*each) for each in self._spaces.members.items())
        )

    def _save(self, picture: Picture, answers: Answers, started: float, boot: float, *, now: bool) -> None:
        """Hand over what lasts over a restart. The scan began at `started` (Epoch) and `boot` (CLOCK_BOOTTIME)."""
        history, depths, daemons = self._history, self._depths.saved, self._engines.remembered()

        def saved() -> StoredHistory:
            fixed = StoredHistory(self.boot_id, started, daemons=tuple(sorted(daemons.items())), depths=depths)
            ticks = functools.partial(start_times.start_ticks_before, boot=boot)
            return stored_history.save(history, picture.namespaces, answers, ticks, fixed)

        self._saving.save(history, saved, depths=depths, now=now)

    def _take_up(self, found: FoundElsewhere) -> None:
        """Go on with what an earlier run saved, where this scan, the first one, finds it again."""
        if self._earlier is not None:
            states, tables, spaces = self._homes.states, self._homes.tables, self._spaces.facts()
            ticks = start_times.start_ticks
            copies = [copy for space in found.spaces for copy in space.copies]
            earlier = stored_history.take_up(self._earlier, copies, states, tables, spaces, ticks)
            self._history = replace(self._history, left=earlier.left, gone=earlier.gone, earlier={})
            self._earlier = None

    def _picture(self, found: FoundElsewhere, part: Part | None, gaps: list[Gap], *, every: bool) -> Picture:
        self._take_up(found)
        states = self._homes.states
        unread, in_part = frozenset(found.unread), part is not None
        self._history, spaces = remember(
            self._history, states, found.spaces, unread, self._number, found.all_since, found.stale, in_part=in_part
        )
        # What is looked for anew counts as unmounted at the next reading.
        self._number = max((self._number, *(one.since for one in self._history.departed.values())))
        picture = Picture(
            boot_id=self.boot_id,
            tier=self.tier,
            roots=states,
            namespaces=self._spaces.facts(),
            copies=(),
            mounts=found.mounts,
            home_identities=self._homes.identities,
            stacks=self._depths.compare(states, stacks(spaces)),
            gone=tuple(self._history.gone.values()),
            kept=self._kept.kept,
            standing=self._standing.standing(
                self._homes,
                self.config.confirm,
                every=every,
                now=part is None or part.again,
                most=None if part is None else MOST,
            ),
            gaps=tuple(gaps),
        )
        return picture.by(spaces)

    def _judge(self, picture: Picture) -> tuple[Judgement, Answers, Picture]:
        """Judge until there is no question left; the judgement, the answers that it stands on, and the picture without
        what was only asked for.
        """
        answers = self._standing.known(picture.standing)
        judgement = judge(picture, answers)
        while questions := [one for one in judgement.questions if answers.lacks(one)]:
            answers = self._answers.add(
                answers,
                questions,
                self._observer,
                picture.namespaces,
                self._budgets,
                picture.roots,
                self.config.confirm.abandoned,
            )
            self._history = self._history.without(self._answers.unused)
            judgement = judge(picture, answers)
        standing, owners = self._standing.take(picture.standing, answers)
        return judgement, replace(answers, owners=owners), _with(picture, standing)

    def _with_ids(self, picture: Picture, suspects: frozenset[int]) -> Picture:
        """The picture with the ids of the namespaces in which something was found."""
        spaces = picture.namespaces
        ids = self._ids.of(spaces[inode] for inode in suspects if inode in spaces)
        return replace(picture, namespaces={**spaces, **{i: replace(spaces[i], id=known) for i, known in ids.items()}})

    @property
    def excess(self) -> float:
        """Processor seconds up to now that users and containers had to pay for."""
        return self._budgets.excess

    @property
    def wake(self) -> int | None:
        """A descriptor that is readable when a home's mounts changed, until the next look; None where there is none."""
        return self._observer.wake

    def close(self) -> None:
        """Save what has waited for that, and give back what is open. Scans go on to work, each of them anew."""
        self._saving.end()
        self._observer.close()
        self.superblocks.close()
