"""All mount namespaces, read one after the other for one question: the host's own first, all others within a time."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from ..errors import NoAnswer
from ..model import HOST, Namespace
from . import living, read_ahead
from .budgets import Budgets, limits_of
from .mount_lines import MountLines

T = TypeVar("T")

SECONDS = 2.0
"""CPU time after which no more namespaces of users and containers are read."""
TOO_LONG = "to read all that users and containers have takes too long"


def read_each(
    spaces: Iterable[Namespace],
    function: Callable[[int, MountLines], T],
    *,
    seconds: float = SECONDS,
    budgets: Budgets | None = None,
    over: bool = False,
) -> Iterator[tuple[int, T | OSError | NoAnswer]]:
    """Each namespace that is still there, by its inode: what `function` makes of it, or why it could not be read.

    What users and containers have is charged to `budgets`; it is read `over` these too where an action depends on it.
    """
    ordered = sorted(spaces, key=lambda space: space.owner != HOST)
    ahead = read_ahead.texts((space.inode, space.pids, limits_of(space.owner)) for space in ordered)
    with contextlib.closing(living.Ways()) as ways, ahead:
        yield from _read_each(ways, ordered, function, seconds, budgets, over=over)


def _read_each(
    ways: living.Ways,
    spaces: Iterable[Namespace],
    function: Callable[[int, MountLines], T],
    seconds: float,
    budgets: Budgets | None,
    *,
    over: bool,
) -> Iterator[tuple[int, T | OSError | NoAnswer]]:
    charged = budgets.charged if budgets else contextlib.nullcontext
    for space in spaces:
        refusal = budgets.refusal(space.owner) if budgets and not over and space.owner != HOST else None
        if refusal or (seconds < 0 and space.owner != HOST):
            yield space.inode, NoAnswer(refusal or TOO_LONG)
            continue
        began = read_ahead.cpu_seconds()
        try:
            with charged(space.owner):
                made = living.read(ways, space, partial(function, space.inode), limits_of(space.owner))
        except (OSError, NoAnswer) as error:
            yield space.inode, error
        else:
            if made is not None:
                yield space.inode, made
        seconds -= read_ahead.cpu_seconds() - began if space.owner != HOST else 0.0
