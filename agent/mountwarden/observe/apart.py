"""Files of engines and users, read in a forked child: they may be on a file system that does not answer."""

from collections.abc import Callable
from typing import TypeVar

from ..errors import NoAnswer
from ..kernel import child

T = TypeVar("T")

ALL = 3.0
"""Seconds for one child that does everything."""
EACH = 0.5
"""Seconds for each function by itself, after that child has hung."""
MOST_HUNG = 10
"""Functions that may hang before the rest is left out."""


def apart(functions: dict[str, Callable[[], T]]) -> tuple[dict[str, T], tuple[str, ...]]:
    """What each function returns, by its name, and the names of those that did not answer.

    Raises: what a function raises.
    """
    try:
        return child.ask(
            lambda: {name: one() for name, one in functions.items()}, deadline=ALL, what="the reading of files"
        ), ()
    except NoAnswer:
        found: dict[str, T] = {}
        hung: list[str] = []
    for name, function in functions.items():
        if len(hung) >= MOST_HUNG:
            hung.append(name)
            continue
        try:
            found[name] = child.ask(function, deadline=EACH, what=f"the reading of {name}")
        except NoAnswer:
            hung.append(name)
    return found, tuple(hung)
