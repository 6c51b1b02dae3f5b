"""What an umount or a detach would take away, in all namespaces. Pure.

Umount propagation follows the peers and slaves of the parent. Documentation/filesystems/propagate_umount.txt (Linux
6.17) says which mounts the set of propagated umounts may have:

- it is non-shifting: what is mounted strictly inside one of its mounts goes with it, whole;
- it is non-revealing: a locked mount goes only with its parent;
- a mount on the very root of one that goes (an overmount) slides down to where the bottom of the stack was.

Up to Linux 6.16 an overmount did not count as "mounted inside" for the mounts further out (fs/pnode.c:
__propagate_umount), so that more was taken. `Behaviour` says which of the two a kernel does: see
observe/umount_probe.py.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..model import Mount
from .graph import Graph, PlacedMount
from .table import Dentry


class Behaviour(enum.StrEnum):
    """Whether an overmount that stays keeps the mounts around it, or slides down through them."""

    KEEPS = "keeps"
    """Overmounts keep what they are inside of (Linux 6.17)."""
    SLIDES = "slides"
    """Overmounts slide down (Linux 4.13 to 6.16)."""


class UmountResult(enum.StrEnum):
    """What umount(2) would return: success, EBUSY, or EINVAL for a mount that its user namespace may not unmount."""

    OK = "ok"
    BUSY = "busy"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an umount would do: its result, the mounts that cause it, and which mounts would go or stay."""

    answer: UmountResult
    because: tuple[PlacedMount, ...] = ()
    """Mounts that make it fail: the mount itself, its children, or a busy copy that propagation reaches."""
    removed: frozenset[int] = frozenset()
    """Small ids of all mounts that go, the unmounted tree included."""
    reached: tuple[PlacedMount, ...] = ()
    """What propagation takes in addition to the unmounted tree."""
    moved: Mapping[int, int] = field(default_factory=dict)
    """Small ids of mounts that slide down a stack, and of their new parents."""
    left: tuple[PlacedMount, ...] = ()
    """Copies of what was unmounted that stay."""


def predict_umount(
    graph: Graph,
    mount: Mount,
    *,
    lazy: bool,
    busy: frozenset[int],
    locked: frozenset[int],
    behaviour: Behaviour,
) -> Prediction:
    """What umount(2) of `mount` in its namespace would do; with `lazy`, MNT_DETACH.

    `busy` has the ids of mounts that a process keeps busy (working directory, root, open or mapped file), `locked` of
    those with MNT_LOCKED (see predict/locked.py). Only those that `concerned` names matter.
    """
    if mount.id in locked:
        return Prediction(UmountResult.LOCKED, (graph.places[mount.id],))
    if not lazy and (because := _busy(graph, mount, busy)):
        return Prediction(UmountResult.BUSY, tuple(graph.places[m.id] for m in because))
    going = list(graph.subtree(mount)) if lazy else [mount]
    chosen = _propagate(graph, mount, going, locked, behaviour)
    removed = frozenset(m.id for m in going) | chosen
    return Prediction(
        UmountResult.OK,
        removed=removed,
        reached=tuple(graph.places[identity] for identity in sorted(chosen)),
        moved=_slid(graph, removed),
        left=_left(graph, going, removed),
    )


def predict_detach(graph: Graph, dentry: Dentry) -> frozenset[int]:
    """Ids of the mounts that go when the dentry's directory is removed or replaced: each one on it, whole.

    There is no propagation and no lock (fs/namespace.c: __detach_mounts). It fails with EBUSY where the caller's own
    namespace has a mount on the dentry.
    """
    return frozenset(m.id for mount in graph.on_dentry(dentry) for m in graph.subtree(mount))


def concerned(graph: Graph, mount: Mount, *, lazy: bool) -> frozenset[int]:
    """Ids of the mounts whose users and locks decide what an umount does: its own, and what it may reach."""
    going = list(graph.subtree(mount)) if lazy else [mount]
    return frozenset({mount.id, *graph.candidates(going)})


def _busy(graph: Graph, mount: Mount, busy: frozenset[int]) -> list[Mount]:
    """propagate_mount_busy(): the mount's children or users, or users of a copy that has no children of its own.

    A copy whose only child is an overmount counts as one without children: it can be taken out from beneath it.
    """
    if graph.children(mount):
        return graph.children(mount)
    if mount.id in busy:
        return [mount]
    found = []
    for copy in graph.candidates([mount]).values():
        children = graph.children(copy)
        covered = len(children) == 1 and graph.is_overmount(children[0])
        if copy.id in busy and (not children or covered):
            found.append(copy)
    return found


def _propagate(
    graph: Graph, top: Mount, going: list[Mount], locked: frozenset[int], behaviour: Behaviour
) -> frozenset[int]:
    """The ids of all copies that go: the largest set of candidates that is non-shifting and non-revealing."""
    sure = {mount.id for mount in going}
    chosen = graph.candidates(going)
    # umount_tree() unlocks the copies of the tree's top (propagate_mount_unlock), not those of inner mounts.
    locked -= graph.candidates([top]).keys()
    while drop := _shifting(graph, chosen, sure, behaviour):
        _forget(chosen, drop)
    while drop := _revealing(graph, chosen, sure, locked, behaviour):
        _forget(chosen, drop)
    return frozenset(chosen)


def _forget(chosen: dict[int, Mount], drop: set[int]) -> None:
    for identity in drop:
        del chosen[identity]


def _shifting(graph: Graph, chosen: dict[int, Mount], sure: set[int], behaviour: Behaviour) -> set[int]:
    """Candidates with something strictly inside them that stays (non-shifting)."""
    goes = chosen.keys() | sure
    drop = set()
    for identity, mount in chosen.items():
        for child in graph.children(mount):
            if graph.is_overmount(child):
                continue
            inside = graph.subtree(child) if behaviour is Behaviour.KEEPS else (child,)
            if any(other.id not in goes for other in inside):
                drop.add(identity)
                break
    return drop


def _revealing(
    graph: Graph, chosen: dict[int, Mount], sure: set[int], locked: frozenset[int], behaviour: Behaviour
) -> set[int]:
    """Locked candidates whose parent stays (non-revealing); up to Linux 6.16 also those that are overmounts."""
    goes = chosen.keys() | sure
    slides = behaviour is Behaviour.SLIDES
    return {
        identity
        for identity, mount in chosen.items()
        if identity in locked and (mount.parent not in goes or (slides and graph.is_overmount(mount)))
    }


def _slid(graph: Graph, removed: frozenset[int]) -> dict[int, int]:
    """The new parents of mounts that stay when theirs go: the nearest ancestor that stays."""
    moved = {}
    for identity in removed:
        for child in graph.children(graph.places[identity].mount):
            if child.id in removed:
                continue
            parent: Mount | None = graph.places[identity].mount
            while parent is not None and parent.id in removed:
                parent = graph.parent(parent)
            if parent is not None:
                moved[child.id] = parent.id
    return moved


def _left(graph: Graph, going: list[Mount], removed: frozenset[int]) -> tuple[PlacedMount, ...]:
    """What is in reach of propagation and stays, and what other namespaces still have that this one has no longer.

    A file system that this namespace itself still has mounted at another path is in use, not left behind.
    """
    here = graph.places[going[0].id].namespace
    found = set(graph.candidates(going))
    for identity in {mount.identity for mount in going}:
        stays = [place for place in graph.of(identity) if place.mount.id not in removed]
        if all(place.namespace != here for place in stays):
            found.update(place.mount.id for place in stays)
    return tuple(graph.places[identity] for identity in sorted(found - removed))
