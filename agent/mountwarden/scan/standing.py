"""Which of home's own mounts are asked for their owners in a scan, and how long an answer stands.

To ask for all that an engine has mounted at each scan would cost more than all the rest. So what is in use is asked for
again at a resync only, and by the service no more than `MOST` at once, the longest not asked first. What has no owner
is asked for each time that somebody waits for the answer, again after `STANDS`, and around the time at which it has
held for its confirm time.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..config.schema import Confirm
from ..engines import ownership
from ..model import Answers, Kind, Mount, MountClass, Owned, OwnerQuestion, Ownership, RootState, Standing
from .homes import Homes

MOST = 1000
"""Mounts of unknown owners that one resync of the service asks for."""
STANDS = 30.0
"""Seconds for which it stands that a mount has no owner."""
BEFORE, AFTER = 1.0, 5.0
"""Seconds around the end of the confirm time, within which each scan asks."""

_Key = tuple[int | None, int, str]


@dataclass(frozen=True, slots=True)
class _Gone:
    """A mount without an owner: since when, and what was answered when it was asked for last (monotonic clock)."""

    standing: Standing
    since: float
    asked: float
    answer: Ownership


class StandingMounts:
    """Remembers from scan to scan what was asked, and what has no owner."""

    def __init__(self) -> None:
        self._asked: dict[_Key, float] = {}
        """When each mount was asked for last (monotonic clock)."""
        self._gone: dict[_Key, _Gone] = {}

    def standing(
        self, homes: Homes, confirm: Confirm, *, every: bool, now: bool, most: int | None
    ) -> tuple[Standing, ...]:
        """What this scan asks for, and what stands. `every`: what is in use too, `most` of it. `now`: somebody waits,
        so that nothing stands.
        """
        if not every and not self._gone:
            return ()
        by_place = {(state.root.path, state.home): state for state in homes.states}
        needed, clock = confirm.seconds(Kind.ABANDONED, MountClass.LAYER), time.monotonic()
        self._gone = {key: here for key, one in self._gone.items() if (here := _still_there(one, by_place, homes))}
        due = ((one.standing, now or every or _is_due(one, needed, clock)) for one in self._gone.values())
        known = (one if one.asked is asked else replace(one, asked=asked) for one, asked in due)
        return (*known, *(self._others(homes, most) if every else ()))

    def _others(self, homes: Homes, most: int | None) -> list[Standing]:
        """Those of which nothing or something else is known, the longest not asked first."""
        found = [one for one in _candidates(homes) if _key(one) not in self._gone]
        keys = {_key(one) for one in found}
        self._asked = {key: at for key, at in self._asked.items() if key in keys or key in self._gone}
        found.sort(key=lambda one: self._asked.get(_key(one), 0.0))
        return found[:most]

    def known(self, standing: Iterable[Standing]) -> Answers:
        """The answers that stand."""
        return Answers(owners={_question(one): self._gone[_key(one)].answer for one in standing if not one.asked})

    def take(
        self, standing: Iterable[Standing], answers: Answers
    ) -> tuple[tuple[Standing, ...], dict[OwnerQuestion, Ownership]]:
        """Take in what was answered. Returns those of the mounts that nobody owns, and those answers."""
        clock, left = time.monotonic(), list[Standing]()
        for one in standing:
            answer, key = answers.owners.get(_question(one)), _key(one)
            if one.asked:
                self._asked[key] = clock
                before = self._gone.pop(key, None)
                if answer is not None and answer.state is Owned.GONE:
                    self._gone[key] = _Gone(one, before.since if before else clock, clock, answer)
            left += [one] if key in self._gone else []
        return tuple(left), {_question(one): self._gone[_key(one)].answer for one in left}


def _is_due(one: _Gone, needed: float, clock: float) -> bool:
    around = one.since + needed - BEFORE <= clock and one.asked < one.since + needed + AFTER
    return around or clock - one.asked >= STANDS


def _still_there(one: _Gone, states: Mapping[tuple[bytes, int | None], RootState], homes: Homes) -> _Gone | None:
    """The same as home has it now; None where the mount is gone, something is on it, or its home is not known."""
    match, before = one.standing.match, one.standing.mount
    state = states.get((match.root.path, one.standing.home))
    mounts = state.live.get(match.spot, ()) if state else ()
    if state is None or not mounts or not state.root.home_known:
        return None
    top = mounts[-1]
    if (top.id, top.unique) != (before.id, before.unique) or not top.same_as(before) or _is_covered(top, state, homes):
        return None
    now = state.matches[match.spot]
    if now is match and top is before:
        return one
    return replace(one, standing=replace(one.standing, match=now, mount=top))


def _is_covered(mount: Mount, state: RootState, homes: Homes) -> bool:
    """Whether another mount is on the whole of it, which an umount by its path would take."""
    table = homes.tables.get(state.home or 0)
    return table is None or any(child.point == mount.point for child in table.children(mount.id))


def _candidates(homes: Homes) -> Iterator[Standing]:
    for state in homes.states:
        if not state.root.home_known or state.status != "ok":
            continue
        for spot, mounts in state.live.items():
            if ownership.can_be_abandoned(state.matches[spot]) and not _is_covered(mounts[-1], state, homes):
                yield Standing(state.matches[spot], mounts[-1], state.home)


def _key(one: Standing) -> _Key:
    return one.home, one.mount.unique or one.mount.id, one.mount.device


def _question(one: Standing) -> OwnerQuestion:
    return OwnerQuestion(one.home, one.mount, one.match)
