"""How deep stacks of the same mount were at earlier scans: only one that grows is a fault. Pure.

What multiplies mounts (bidirectional propagation, a bind of a directory on itself) does so at each start of a
container; a stack that stays as it is was made by somebody, and may be meant.
"""

from collections.abc import Iterable
from dataclasses import replace

from ..model import RootState, Spot, Stack

MOST = 4096
"""Stacks that are saved."""

_Key = tuple[int, bytes, Spot, str, bytes]
"""Namespace, root, spot, and (device, mnt_root) of what is stacked."""


class StackDepths:
    """The least depth at which each stack was seen since it is there."""

    def __init__(self, saved: Iterable[tuple[int, int]] = ()) -> None:
        """`saved` is what an earlier run of this boot had in its own `saved`."""
        self._saved: dict[int | None, int] = dict(saved)
        self._least: dict[_Key, int] = {}
        self._states: tuple[RootState, ...] = ()
        """What homes had at the last scan."""

    def compare(self, states: Iterable[RootState], piled: Iterable[Stack]) -> tuple[Stack, ...]:
        """All stacks of a scan, of the homes and of other namespaces, each with the least depth known of it."""
        states = tuple(states)
        stacks = [stack for state in states for stack in state.stacks] + list(piled)
        least: dict[_Key, int] = {}
        for stack in stacks:
            key = _of(stack)
            first = self._saved.get(stack.bottom, stack.depth)
            before = self._least.get(key, 1 if _is_live(self._states, key) else first)
            least[key] = min(before, stack.depth, least.get(key, stack.depth))
        self._least, self._states = least, states
        self._saved = {stack.bottom: least[_of(stack)] for stack in stacks if stack.bottom is not None}
        return tuple(replace(stack, least=least[_of(stack)]) for stack in stacks)

    @property
    def saved(self) -> tuple[tuple[int, int], ...]:
        """What lasts over a restart: the unique id of each lowest mount, which is not reused, and the least depth."""
        known = ((bottom, depth) for bottom, depth in self._saved.items() if bottom is not None)
        return tuple(sorted(known)[:MOST])


def _of(stack: Stack) -> _Key:
    return stack.namespace, stack.match.root.path, stack.match.spot, *stack.top.identity


def _is_live(states: Iterable[RootState], key: _Key) -> bool:
    """Whether the home had it, once or many times."""
    home, path, spot, *identity = key
    return any(
        [*mount.identity] == identity
        for state in states
        if (state.home, state.root.path) == (home, path)
        for mount in state.live.get(spot, ())
    )
