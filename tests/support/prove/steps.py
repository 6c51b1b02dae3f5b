"""What a topology is made of: steps, each by one of its processes, and the act at the end that is predicted."""

import enum
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

BASE = b"/mnt/t"
"""Where each topology has its first mount, a tmpfs."""

DIRECTORIES = (b"a", b"b", b"a/a", b"a/b", b"b/a", b"b/b")
"""What every file system of a topology has, so that most paths exist most of the time."""

PATHS = tuple(
    BASE + b"".join(b"/" + name for name in names)
    for names in (
        (),
        *((x,) for x in (b"a", b"b")),
        *((x, y) for x in (b"a", b"b") for y in (b"a", b"b")),
        *((x, y, z) for x in (b"a", b"b") for y in (b"a", b"b") for z in (b"a", b"b")),
    )
)

MOST = 6
"""Processes with namespaces in one topology, home's among them."""


class Kind(enum.StrEnum):
    """What a step does."""

    TMPFS = "mount a tmpfs"
    OVERLAY = "mount an overlay"
    BIND = "bind"
    RBIND = "rbind"
    MOVE = "move"
    BENEATH = "mount beneath"
    SHARED = "make-(r)shared"
    SLAVE = "make-(r)slave"
    PRIVATE = "make-(r)private"
    UNBINDABLE = "make-(r)unbindable"
    UMOUNT = "umount"
    LAZY = "umount -l"
    UNSHARE = "unshare"
    UNSHARE_USER = "unshare with a user namespace"
    ENTER = "setns, mount there"
    OPEN = "open file"
    CWD = "working directory"
    JAIL = "chroot"
    ALONE = "chroot, the only process left"
    RMDIR = "rmdir, mkdir"


_WEIGHTS = {
    Kind.TMPFS: 5,
    Kind.OVERLAY: 2,
    Kind.BIND: 4,
    Kind.RBIND: 3,
    Kind.MOVE: 3,
    Kind.BENEATH: 2,
    Kind.SHARED: 4,
    Kind.SLAVE: 3,
    Kind.PRIVATE: 2,
    Kind.UNBINDABLE: 1,
    Kind.UMOUNT: 2,
    Kind.LAZY: 1,
    Kind.UNSHARE: 1,
    Kind.UNSHARE_USER: 1,
    Kind.ENTER: 2,
    Kind.OPEN: 1,
    Kind.CWD: 1,
    Kind.JAIL: 1,
    Kind.ALONE: 1,
    Kind.RMDIR: 2,
}


class Act(enum.StrEnum):
    """What is done at the end, and predicted."""

    UMOUNT = "umount"
    LAZY = "umount -l"
    RMDIR = "rmdir"
    RENAME = "rename over"


@dataclass(frozen=True)
class Step:
    """One step: the process that does it, up to two paths (or another process), and a number that says how."""

    kind: Kind
    who: int
    a: int
    b: int
    how: int


@dataclass(frozen=True)
class Scenario:
    """A topology and the act at its end, by the process `who`, on the `which`-th mount that can be chosen."""

    steps: tuple[Step, ...]
    act: Act
    who: int
    which: int


_FREQUENT = (*range(7), *range(1, 7), *range(1, 4), *range(len(PATHS)), 0)
"""Indices of paths, 32: the deepest ones are there only when something is mounted on the way."""


_KINDS = tuple(kind for kind, weight in _WEIGHTS.items() for _ in range(weight))
_UNSHARE = (Kind.UNSHARE, Kind.UNSHARE_USER)
_START = (Kind.SHARED,) * 5 + (Kind.TMPFS,)
_ACTS = (Act.LAZY, Act.UMOUNT, Act.LAZY, Act.UMOUNT, Act.RMDIR, Act.LAZY, Act.RENAME)
_WHO = (0, 0, 0, 0, 1, 2, 3, 4)

Choose = Callable[[Sequence[Any]], Any]
"""Takes one of several."""


def scenario(choose: Choose) -> Scenario:
    """A topology of at least three namespaces."""

    def steps(kinds: tuple[Kind, ...], least: int, most: int) -> list[Step]:
        many = choose(range(least, most + 1))
        return [
            Step(choose(kinds), choose(range(MOST)), choose(_FREQUENT), choose(_FREQUENT), choose(range(16)))
            for _ in range(many)
        ]

    done = [Step(choose(_START), 0, 0, 0, 0), *steps(_KINDS, 3, 9)]
    for _ in range(2):
        done += [*steps(_UNSHARE, 1, 1), *steps(_KINDS, 3, 9)]
    return Scenario(tuple(done), choose(_ACTS), choose(_WHO), choose(range(256)))


def seeded(seed: int) -> Scenario:
    """Evenly random, and the same for the same seed."""
    return scenario(random.Random(seed).choice)
