"""What homes have unmounted: whether its superblock lives on, and when its copies are looked for in other namespaces.

A container's superblock often lives some milliseconds longer than home's mount of it, and nothing is read for that.
What lives on is in a namespace that had a copy when it was read, or that was not read since it was made; or in one that
has cut itself off meanwhile, for which all others are read. What shares its superblock with other mounts of home, and
what gives no answer, is looked for everywhere too.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from ..model import Mount, RootState, gets_own_superblock, is_on_block_device
from ..observe.enter import own_namespace
from .history import Departed, History, Identity, same_file_system
from .homes import Homes

SOON = 0.55
"""Seconds that a superblock may live on before the namespaces are read that had a copy."""
LINGER = 2.0
"""The same before all others are read."""


class AnswersWhatLives(Protocol):
    """Of observe.superblocks.Superblocks, what is asked."""

    def ask(self, devices: frozenset[str]) -> Mapping[str, bool]:
        """Whether each superblock lives, by device; those without an answer are left out."""


def has_superblock_of_its_own(mount: Mount) -> bool:
    """Whether nothing but copies of this mount keeps its superblock, where home has its device no more."""
    return gets_own_superblock(mount) or (is_on_block_device(mount) and mount.root == b"/")


def own_superblocks(states: Iterable[RootState]) -> dict[str, bytes]:
    """A mountpoint in our own namespace for each superblock of its own that is mounted on a spot, by its device."""
    here = own_namespace()
    mounts = (one for state in states if state.home == here for many in state.live.values() for one in many)
    return {mount.device: mount.point for mount in mounts if has_superblock_of_its_own(mount)}


class Departures:
    """Asks after each reading of the homes."""

    def __init__(self, superblocks: AnswersWhatLives) -> None:
        self._superblocks = superblocks
        self.now = False
        """Whether what lives on is looked for at once, wherever it may be: somebody asks. Set by the scan."""
        self._at: dict[Identity, tuple[int, float]] = {}
        """Which departure it is, and when it was noticed (monotonic clock)."""

    def ask(self, history: History, homes: Homes, suspects: Iterable[str]) -> tuple[History, frozenset[str]]:
        """The history with what is known now, and the devices whose superblocks have ended.

        `suspects` are devices of what was found elsewhere.
        """
        known = [(one.mount, identity) for identity, many in history.departed.items() for one in many.mounts]
        known += [(one.mount, identity) for identity, one in history.gone.items()]
        ended = {mount.device for mount, _identity in known if _is_another_at_home(mount, homes)}
        asked = {mount.device for mount, _identity in known if has_superblock_of_its_own(mount)} | set(suspects)
        answers = self._superblocks.ask(frozenset(asked - homes.devices.keys())) if asked else {}
        ended |= {device for device, lives in answers.items() if not lives}
        history = history.asked({**answers, **dict.fromkeys(ended, False)}) if known or ended else history
        return replace(history, departed=dict(self._timed(history.departed))), frozenset(ended)

    def _timed(self, departed: Mapping[Identity, Departed]) -> Iterator[tuple[Identity, Departed]]:
        now = time.monotonic()
        before, self._at = self._at, {}
        for identity, one in departed.items():
            at = before.get(identity)
            since = at[1] if at is not None and at[0] == one.since else now
            self._at[identity] = one.since, since
            everywhere = self.now or now - since >= LINGER or not one.lives
            holders = self.now or (now - since >= SOON and not _is_nsfs(one))
            yield identity, replace(one, holders=holders, everywhere=everywhere)

    def next(self, departed: Mapping[Identity, Departed]) -> float | None:
        """When it is to be asked again (monotonic clock); None where nothing lives on that will be looked for later."""
        waiting = [(self._at[i][1], one) for i, one in departed.items() if i in self._at and not _is_nsfs(one)]
        times = [at + (LINGER if one.holders else SOON) for at, one in waiting if not (one.holders and one.everywhere)]
        return min(times, default=None)


def _is_nsfs(one: Departed) -> bool:
    """A network namespace's file may stay for longer than a minute before it is a finding."""
    return all(known.mount.fstype == "nsfs" for known in one.mounts)


def _is_another_at_home(mount: Mount, homes: Homes) -> bool:
    """Whether home has that device number for another superblock: numbers are reused when one has ended."""
    if mount.device not in homes.devices or not (mount.super_options and has_superblock_of_its_own(mount)):
        return False
    now = (one for table in homes.tables.values() for one in table.mounts if one.device == mount.device)
    return not any(same_file_system(one, mount) for one in now)
