"""What a topology is made of: steps, each by one of its processes, and the act at the end that is predicted."""

import enum
from dataclasses import dataclass

from hypothesis import strategies as st

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
    Kind.MOVE: 2,
    Kind.BENEATH: 2,
    Kind.SHARED: 4,
    Kind.SLAVE: 2,
    Kind.PRIVATE: 1,
    Kind.UNBINDABLE: 1,
    Kind.UMOUNT: 1,
    Kind.LAZY: 1,
    Kind.UNSHARE: 1,
    Kind.UNSHARE_USER: 1,
    Kind.ENTER: 2,
    Kind.OPEN: 1,
    Kind.CWD: 1,
    Kind.JAIL: 1,
    Kind.ALONE: 1,
    Kind.RMDIR: 1,
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


def _steps(kinds: tuple[Kind, ...]) -> st.SearchStrategy[Step]:
    path = st.integers(0, len(PATHS) - 1)
    return st.builds(Step, st.sampled_from(kinds), st.integers(0, MOST - 1), path, path, st.integers(0, 15))


_ANY = _steps(tuple(kind for kind, weight in _WEIGHTS.items() for _ in range(weight)))
_UNSHARE = _steps((Kind.UNSHARE, Kind.UNSHARE_USER))
_START = st.builds(Step, st.sampled_from((Kind.SHARED, Kind.SHARED, Kind.SHARED, Kind.TMPFS)), *[st.just(0)] * 4)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Topologies of at least three namespaces, and mostly ten to twenty steps."""
    steps = [draw(_START), *draw(st.lists(_ANY, min_size=2, max_size=6))]
    for _ in range(2):
        steps += [draw(_UNSHARE), *draw(st.lists(_ANY, min_size=3, max_size=7))]
    act = draw(st.sampled_from((Act.UMOUNT, Act.LAZY, Act.LAZY, Act.UMOUNT, Act.RMDIR, Act.RENAME)))
    return Scenario(tuple(steps), act, draw(st.sampled_from((0, 0, 0, 0, 1, 2, 3))), draw(st.integers(0, 255)))
