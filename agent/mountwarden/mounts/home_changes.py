"""A root's state after home has mounted or unmounted something: only what that can have changed is looked at. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..model import Match, Mount, RootState, Spot
from .roots import Spots, match_layout, match_live, may_hold, root_state, stacks_at_home
from .table import Table, below, spot_of


@dataclass(frozen=True, slots=True)
class HomeChange:
    """What is in one table of a home and not in another one of it. A mount that changed is in both."""

    removed: tuple[Mount, ...]
    added: tuple[Mount, ...]

    @classmethod
    def between(cls, before: Table, now: Table) -> "HomeChange":
        """Tables share the objects of what is the same; of what is equal and is not shared, nothing is lost."""
        first = next(_differences(before.mounts, now.mounts), min(len(before.mounts), len(now.mounts)))
        gone, come = before.mounts[first:], now.mounts[first:]  # most of what comes and goes is at the end
        old, new = set(map(id, gone)), set(map(id, come))
        removed = tuple(mount for mount in gone if id(mount) not in new)
        added = tuple(mount for mount in come if id(mount) not in old)
        return cls(removed, added)

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """All of them."""
        return self.removed + self.added


def _differences(before: Iterable[Mount], now: Iterable[Mount]) -> Iterator[int]:
    return (place for place, (one, other) in enumerate(zip(before, now, strict=False)) if one is not other)


def state_after(state: RootState, table: Table, change: HomeChange) -> RootState:
    """What `root_state` gives for the table, of which `state` was that before; the same object where it is the same."""
    if state.mount is None or state.home is None or _is_moved(state, change):
        return root_state(state.root, table, state.home or 0)
    came = _live(state, table, change)
    if not came and all(mount.id not in state.parents for mount in change.removed):
        return state if _stacks_are_same(state, table, change) else _with_stacks(state, table)
    live, matches, parents = dict(state.live), dict(state.matches), dict(state.parents)
    for mount in change.removed:
        parent = parents.pop(mount.id, None)
        spot = spot_of(mount, parent) if parent is not None else None
        if spot is not None and (rest := tuple(one for one in live.pop(spot, ()) if one.id != mount.id)):
            live[spot] = rest
        elif spot is not None:
            matches.pop(spot, None)
    for mount, parent, spot, match in came:
        if spot in live:  # which of them is the lower one is seen in the whole table
            return root_state(state.root, table, state.home)
        live[spot], matches[spot], parents[mount.id] = (mount,), match, parent
    return _with_stacks(replace(state, live=live, matches=matches, parents=parents), table)


def _stacks_are_same(state: RootState, table: Table, change: HomeChange) -> bool:
    """Whether nothing was put on another mount's root, and nothing that is stacked can have gone."""
    over = (parent for mount in change.added if (parent := table.get(mount.parent)) and parent.point == mount.point)
    return not state.stacks and not any(over)


def _with_stacks(state: RootState, table: Table) -> RootState:
    stacks = stacks_at_home(state.home, table, state.live, state.matches) if state.home is not None else ()
    return state if stacks == state.stacks else replace(state, stacks=stacks)


def _is_moved(state: RootState, change: HomeChange) -> bool:
    """Whether the mounts that hold the root or its spots may be others."""
    numbers = {mount.id for mount in change.mounts}
    holders = {base.mount.id for base in state.bases} | {parent.id for parent in state.parents.values()}
    return not numbers.isdisjoint(holders) or any(_is_on_the_way(state, mount) for mount in change.mounts)


def _is_on_the_way(state: RootState, mount: Mount) -> bool:
    root = state.root
    if mount.point.endswith(b"//deleted") or below(mount.point, root.path) is not None:
        return True
    rel = below(root.path, mount.point)
    if not rel or any(match_layout(layout, rel) is not None for layout in root.layout):
        return False
    return any(may_hold(layout, rel) for layout in root.layout)


def _live(state: RootState, table: Table, change: HomeChange) -> list[tuple[Mount, Mount, Spot, Match]]:
    spots = Spots((state,))
    found = []
    for mount in change.added:
        parent = table.get(mount.parent)
        spot = spot_of(mount, parent)
        if spot is not None and parent is not None and (match := match_live(state.root, spots, mount, parent, spot)):
            found.append((mount, parent, spot, match))
    return found
