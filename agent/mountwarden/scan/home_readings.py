"""What the history learns of a reading of the homes: what came on spots of the roots, and what went. Pure.

What home has in another place has not gone: its copies elsewhere are left when that place has it no more.
"""

from collections.abc import Container
from dataclasses import dataclass, replace

from .history import Departed, History, HomeMount, Identity, at_home

MOST_DEPARTED = 4096


@dataclass(frozen=True, slots=True)
class LiveChange:
    """What a reading of the homes showed otherwise than the one before, of mounts on spots of the roots."""

    went: tuple[HomeMount, ...] = ()
    came: tuple[HomeMount, ...] = ()
    blind: frozenset[tuple[bytes, int | None]] = frozenset()
    """Roots, by path and home, that can't be judged now, or are none any more."""


def homes_read(
    history: History, change: LiveChange, number: int, mounted: Container[Identity] = frozenset()
) -> History:
    """The history after the reading of the homes with that number, by which all that is `mounted` at home."""
    live = dict(history.live)
    if change.blind:
        seen = {identity: tuple(one for one in many if _sees(change, one)) for identity, many in live.items()}
        live = {identity: many for identity, many in seen.items() if many}
    departed = {i: one for i, one in history.departed.items() if all(_sees(change, known) for known in one.mounts)}
    for known in change.went:
        identity = known.mount.identity
        rest = tuple(one for one in live.pop(identity, ()) if (one.home, one.mount.id) != (known.home, known.mount.id))
        if rest:
            live[identity] = rest
    for known in change.came:
        live[known.mount.identity] = (*live.get(known.mount.identity, ()), known)
    moved: dict[Identity, tuple[HomeMount, ...]] = {}
    before_that = (one for many in history.moved.values() for one in many if _sees(change, one))
    for known in (*before_that, *change.went):
        identity = known.mount.identity
        if identity in live:
            continue
        if identity in mounted:
            moved[identity] = (*moved.get(identity, ()), known)
            continue
        before = departed.pop(identity, None)
        others = before.mounts if before is not None and before.since == number else ()
        departed[identity] = Departed((*others, _with_copies(known, history)), number)
    left = [(identity, one) for identity, one in departed.items() if identity not in live]
    return replace(history, live=live, moved=moved, departed=dict(left[-MOST_DEPARTED:]))


def _sees(change: LiveChange, known: HomeMount) -> bool:
    return (known.match.root.path, known.home) not in change.blind


def _with_copies(known: HomeMount, history: History) -> HomeMount:
    """With the ids of the copies that the last scan saw."""
    identity = known.mount.identity
    copies = (copy for space in history.beside for _place, copy in space.of((identity,)))
    ids = {copy.mount.id for copy in copies if at_home(copy, history.live) is not None}
    ids |= {number for _namespace, number, *other in history.elsewhere if tuple(other) == identity}
    return replace(known, ids=known.ids | ids) if ids else known
