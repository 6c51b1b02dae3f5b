"""What the agent saw before: which mounts home had on its spots, and which copies were left when one went. Pure.

A copy has a history when home's mount of the same (device, mnt_root) was there at one look, was gone at the next, and
the copy was there at that next look. Device numbers are reused at once, so the copy must be there at every look from
then on; a look in which its namespace or its home could not be read ends what is known.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .model import Copy, Match, RootState, Spot

Identity = tuple[str, bytes]
CopyKey = tuple[int, int, str, bytes]


def key(copy: Copy) -> CopyKey:
    """What names a copy between two looks: its namespace, its mount id (the unique one if known) and its identity."""
    return copy.namespace, copy.mount.unique or copy.mount.id, *copy.mount.identity


@dataclass(frozen=True, slots=True)
class History:
    """Home's mounts at the last look by (device, mnt_root), and the copies known to be left behind."""

    live: Mapping[Identity, tuple[Match, ...]] = field(default_factory=dict)
    left: Mapping[CopyKey, Match] = field(default_factory=dict)

    def watched(self) -> frozenset[Identity]:
        """What to look for in other namespaces wherever it is mounted: all that home has, had, or left behind."""
        return frozenset(self.live) | {(device, root) for _ns, _id, device, root in self.left}


def remember(
    history: History,
    states: Iterable[RootState],
    copies: Iterable[Copy],
    matches: Mapping[Spot, Match],
    unread: frozenset[int],
) -> tuple[History, tuple[Copy, ...]]:
    """The history after a look, and the copies with their history filled in.

    `matches` has the match of each live spot of `states`; `unread` the namespaces that could not be read this time.
    """
    states, copies = tuple(states), tuple(copies)
    known = {state.root.path for state in states if state.mount is not None and state.home not in unread}
    live: dict[Identity, tuple[Match, ...]] = {}
    for state in states:
        for spot, mounts in state.live.items():
            for mount in mounts:
                live[mount.identity] = (*live.get(mount.identity, ()), matches[spot])
    left: dict[CopyKey, Match] = {}
    told = []
    for copy in copies:
        match = _left_behind(history, copy, live, known)
        if match is not None:
            left[key(copy)] = match
        told.append(replace(copy, history=match) if match is not None else copy)
    return History(live, left), tuple(told)


def _left_behind(
    history: History, copy: Copy, live: Mapping[Identity, tuple[Match, ...]], known: set[bytes]
) -> Match | None:
    if copy.mount.identity in live:
        return None  # home has it (again)
    before = history.left.get(key(copy))
    if before is not None:
        return before if before.root.path in known else None
    for match in history.live.get(copy.mount.identity, ()):
        if match.root.path in known and (copy.spot is None or copy.match is None or copy.spot == match.spot):
            return match
    return None
