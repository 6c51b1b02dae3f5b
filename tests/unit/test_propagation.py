"""What an umount or a detach takes away, each case by hand with the kernel's reason.

Namespaces are small tables. Devices are shared where copies are of one file system; `1` is always a root mount.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from mountwarden.model import Mount
from mountwarden.mounts.graph import Graph
from mountwarden.mounts.propagation import (
    Behaviour,
    Prediction,
    UmountResult,
    concerned,
    predict_detach,
    predict_umount,
)

from tests.unit.pictures import HOME, OTHER, mount, table

THIRD = 4026533111
KEEPS, SLIDES = Behaviour.KEEPS, Behaviour.SLIDES


def root(identity: int, **groups: int) -> Mount:
    """A namespace's root: a copy of the one disk."""
    return mount(identity, 0, "/", device="8:1", **groups)


def at(identity: int, parent: int, point: str, device: str, **other: object) -> Mount:
    """A mount of the file system on `device`."""
    return mount(identity, parent, point, device=device, **other)


@dataclass(frozen=True)
class Case:
    """Three namespaces and an umount in the first; what goes beside the umounted, what stays as a copy."""

    home: tuple[Mount, ...]
    other: tuple[Mount, ...] = ()
    third: tuple[Mount, ...] = ()
    target: int = 2
    lazy: bool = True
    busy: tuple[int, ...] = ()
    locked: tuple[int, ...] = ()
    answer: UmountResult = UmountResult.OK
    because: tuple[int, ...] = ()
    reached: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    moved: tuple[tuple[int, int], ...] = ()
    slides: tuple[int, ...] | None = None
    """What is reached up to Linux 6.16, where that is something else."""


X = "0:40"
A_HOME = (root(1, shared=1), at(2, 1, "/a", X))

CASES = {
    # change_mnt_propagation: no group, no event.
    "a private parent sends nothing": Case((root(1), at(2, 1, "/a", X)), (root(11), at(12, 11, "/a", X)), left=(12,)),
    # propagation_next: the peers of the parent.
    "a peer of the parent": Case(A_HOME, (root(11, shared=1), at(12, 11, "/a", X)), reached=(12,)),
    "a slave of the parent": Case(A_HOME, (root(11, master=1), at(12, 11, "/a", X)), reached=(12,)),
    # An event goes down only: the slave's own umount reaches no master.
    "a slave sends nothing up": Case(
        (root(1, master=1), at(2, 1, "/a", X)), (root(11, shared=1), at(12, 11, "/a", X)), left=(12,)
    ),
    # first_slave, then the slave's own peers and slaves.
    "a slave of a slave": Case(
        A_HOME,
        (root(11, master=1, shared=2), at(12, 11, "/a", X)),
        (root(21, master=2), at(22, 21, "/a", X)),
        reached=(12, 22),
    ),
    # The group in between has no member that could be read; propagate_from names the one above (get_dominating_id).
    "a slave of a slave that is seen nowhere": Case(
        A_HOME, (), (root(21, master=2, propagate_from=1), at(22, 21, "/a", X)), reached=(22,)
    ),
    "the child's own group does not count": Case(
        (root(1), at(2, 1, "/a", X, shared=5)), (root(11), at(12, 11, "/a", X, shared=5)), left=(12,)
    ),
    # __lookup_mnt asks for the dentry, not for the path that a namespace shows.
    "a bind of a subdirectory shows the same dentry at another path": Case(
        (root(1, shared=1), at(2, 1, "/a/b", X)),
        (root(11), mount(13, 11, "/srv", device="8:1", root=b"/a", shared=1), at(12, 13, "/srv/b", X)),
        reached=(12,),
    ),
    "a bind that begins below the mountpoint has no such dentry": Case(
        (root(1, shared=1), at(2, 1, "/a", X)),
        (root(11), mount(13, 11, "/srv", device="8:1", root=b"/b", shared=1), at(12, 13, "/srv/a", X)),
        left=(12,),
    ),
    "what the slave mounted there itself goes too": Case(
        A_HOME, (root(11, master=1), at(12, 11, "/a", "0:77")), reached=(12,)
    ),
    # An overmount's parent is what it covers, and that is no receiver of the root's events.
    "an overmount slides down to where its stack stood": Case(
        A_HOME,
        (root(11, master=1), at(12, 11, "/a", X), at(13, 12, "/a", "0:50")),
        reached=(12,),
        moved=((13, 11),),
    ),
    "two overmounts: only the lower one gets another parent": Case(
        A_HOME,
        (root(11, master=1), at(12, 11, "/a", X), at(13, 12, "/a", "0:50"), at(14, 13, "/a", "0:51")),
        reached=(12,),
        moved=((13, 11),),
    ),
    # propagate_mnt tucks what propagates beneath what is there: the bottom of the stack is the copy.
    "a tucked copy goes from beneath": Case(
        A_HOME,
        (root(11, master=1), at(13, 12, "/a", "0:50"), at(12, 11, "/a", X)),
        lazy=False,
        reached=(12,),
        moved=((13, 11),),
    ),
    # Non-shifting: what is strictly inside would be pulled out of its place.
    "a private submount keeps the copy": Case(
        A_HOME, (root(11, master=1), at(12, 11, "/a", X), at(13, 12, "/a/own", "0:50")), left=(12,)
    ),
    "a surviving submount keeps all around it": Case(
        (*A_HOME, at(3, 2, "/a/in", "0:41")),
        (root(11, master=1), at(12, 11, "/a", X), at(13, 12, "/a/in", "0:41")),
        left=(12, 13),
    ),
    "a propagated submount goes along": Case(
        (root(1, shared=1), at(2, 1, "/a", X, shared=2), at(3, 2, "/a/in", "0:41")),
        (root(11, master=1), at(12, 11, "/a", X, master=2), at(13, 12, "/a/in", "0:41")),
        reached=(12, 13),
    ),
    "an overmount inside keeps what is around it, or slides through": Case(
        (root(1, shared=1), at(2, 1, "/a", X, shared=2), at(3, 2, "/a/in", "0:41")),
        (
            root(11, master=1),
            at(12, 11, "/a", X, master=2),
            at(13, 12, "/a/in", "0:41"),
            at(14, 13, "/a/in", "0:50"),
        ),
        reached=(13,),
        left=(12,),
        moved=((14, 12),),
        slides=(12, 13),
    ),
    # propagate_mount_unlock: the copies of the tree's top are unlocked first.
    "a locked copy of the top goes": Case(
        A_HOME, (root(11, master=1), at(12, 11, "/a", X)), locked=(12,), reached=(12,)
    ),
    # Non-revealing: an inner locked one goes only with its parent.
    "a locked inner copy stays where its parent does": Case(
        (root(1, shared=1), at(2, 1, "/a", X, shared=2), at(3, 2, "/a/in", "0:41")),
        (
            root(11, master=1),
            at(12, 11, "/a", X, master=2),
            at(13, 12, "/a/in", "0:41"),
            at(14, 12, "/a/own", "0:50"),
        ),
        locked=(12, 13),
        left=(12, 13),
    ),
    "an inner copy that is not locked goes alone": Case(
        (root(1, shared=1), at(2, 1, "/a", X, shared=2), at(3, 2, "/a/in", "0:41")),
        (
            root(11, master=1),
            at(12, 11, "/a", X, master=2),
            at(13, 12, "/a/in", "0:41"),
            at(14, 12, "/a/own", "0:50"),
        ),
        reached=(13,),
        left=(12,),
    ),
    "a locked inner copy goes with its parent": Case(
        (root(1, shared=1), at(2, 1, "/a", X, shared=2), at(3, 2, "/a/in", "0:41")),
        (root(11, master=1), at(12, 11, "/a", X, master=2), at(13, 12, "/a/in", "0:41")),
        locked=(12, 13),
        reached=(12, 13),
    ),
    # umount_list takes a topper for one to be restored, locked or not; from 6.17 it is a candidate like others.
    "a locked overmount of an inner copy": Case(
        (
            root(1, shared=1),
            at(2, 1, "/a", X, shared=2),
            at(3, 2, "/a/in", "0:41", shared=3),
            at(4, 3, "/a/in", "0:42"),
        ),
        (
            root(11, master=1),
            at(12, 11, "/a", X, master=2),
            at(13, 12, "/a/in", "0:41", master=3),
            at(14, 13, "/a/in", "0:42"),
        ),
        locked=(12, 13, 14),
        reached=(12, 13, 14),
        slides=(12, 13),
    ),
    # can_umount: EINVAL before anything else is looked at.
    "a locked mount itself": Case(A_HOME, lazy=False, locked=(2,), busy=(2,), answer=UmountResult.LOCKED, because=(2,)),
    "a locked mount itself, lazily": Case(A_HOME, locked=(2,), answer=UmountResult.LOCKED, because=(2,)),
    # propagate_mount_busy.
    "a busy mount": Case(A_HOME, lazy=False, busy=(2,), answer=UmountResult.BUSY, because=(2,)),
    "a busy mount, lazily": Case(A_HOME, busy=(2,)),
    "a mount with something below": Case(
        (*A_HOME, at(3, 2, "/a/in", "0:41")), lazy=False, answer=UmountResult.BUSY, because=(3,)
    ),
    "a busy copy": Case(
        A_HOME,
        (root(11, master=1), at(12, 11, "/a", X)),
        lazy=False,
        busy=(12,),
        answer=UmountResult.BUSY,
        because=(12,),
    ),
    "a busy copy that is not reached": Case(
        A_HOME, (root(11), at(12, 11, "/a", X)), lazy=False, busy=(12,), left=(12,)
    ),
    "a busy copy with a submount would stay anyway": Case(
        A_HOME,
        (root(11, master=1), at(12, 11, "/a", X), at(13, 12, "/a/own", "0:50")),
        lazy=False,
        busy=(12,),
        left=(12,),
    ),
    "a busy copy under an overmount could be pulled out": Case(
        A_HOME,
        (root(11, master=1), at(12, 11, "/a", X), at(13, 12, "/a", "0:50")),
        lazy=False,
        busy=(12,),
        answer=UmountResult.BUSY,
        because=(12,),
    ),
    "a busy overmount is nobody's concern": Case(
        A_HOME,
        (root(11, master=1), at(12, 11, "/a", X), at(13, 12, "/a", "0:50")),
        lazy=False,
        busy=(13,),
        reached=(12,),
        moved=((13, 11),),
    ),
    # umount(2) by path gets the top of a stack, whose parent is what it covers.
    "the top of a stack at home takes the top of a copy's stack": Case(
        (root(1, shared=1), at(3, 1, "/a", X, shared=2), at(2, 3, "/a", "0:41")),
        (root(11, master=1), at(13, 11, "/a", X, master=2), at(12, 13, "/a", "0:41")),
        reached=(12,),
    ),
    "the same mount twice: only the one on top goes": Case(
        (root(1, shared=1), at(3, 1, "/a", X, shared=2), at(2, 3, "/a", X, shared=2)),
        (root(11, master=1), at(13, 11, "/a", X, master=2), at(12, 13, "/a", X, master=2)),
        reached=(12,),
    ),
    # A receiver in the same namespace: rbind of a shared tree, then umount -l, takes the live one.
    "a peer at home": Case(
        (
            root(1),
            at(5, 1, "/r", "0:30", shared=1),
            at(6, 5, "/r/m", X),
            at(2, 1, "/x", "0:30", shared=1),
            at(3, 2, "/x/m", X),
        ),
        reached=(6,),
    ),
    "what home itself keeps elsewhere is not left behind": Case(
        (root(1), at(2, 1, "/a", X), at(3, 1, "/b", X)), (root(11), at(12, 11, "/a", X))
    ),
    "a mount on a deleted directory is on no dentry": Case(
        (root(1, shared=1), at(2, 1, "/a//deleted", X)), (root(11, master=1), at(12, 11, "/a", X)), left=(12,)
    ),
}


def graph_of(case: Case) -> Graph:
    tables = {HOME: table(*case.home), OTHER: table(*case.other), THIRD: table(*case.third)}
    return Graph({inode: found for inode, found in tables.items() if found.mounts})


def predicted(case: Case, behaviour: Behaviour) -> Prediction:
    graph = graph_of(case)
    target = graph.places[case.target].mount
    busy, locked = frozenset(case.busy), frozenset(case.locked)
    return predict_umount(graph, target, lazy=case.lazy, busy=busy, locked=locked, behaviour=behaviour)


def ids(places: Iterable[object]) -> tuple[int, ...]:
    return tuple(place.mount.id for place in places)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CASES)
def test_umount(name: str) -> None:
    case = CASES[name]
    told = predicted(case, KEEPS)
    assert (told.answer, ids(told.because)) == (case.answer, case.because)
    assert ids(told.reached) == case.reached
    assert ids(told.left) == case.left
    assert told.moved == dict(case.moved)
    if case.answer is UmountResult.OK:
        tree = {m.id for m in graph_of(case).subtree(graph_of(case).places[case.target].mount)}
        assert told.removed == (tree if case.lazy else {case.target}) | set(case.reached)
    else:
        assert not told.removed


@pytest.mark.parametrize("name", CASES)
def test_umount_up_to_linux_6_16(name: str) -> None:
    case = CASES[name]
    assert ids(predicted(case, SLIDES).reached) == (case.reached if case.slides is None else case.slides)


def test_what_slides_through_hangs_where_the_outermost_was() -> None:
    assert predicted(CASES["an overmount inside keeps what is around it, or slides through"], SLIDES).moved == {14: 11}


def test_whose_users_and_locks_matter() -> None:
    graph = graph_of(CASES["a slave of a slave"])
    assert concerned(graph, graph.places[2].mount, lazy=False) == {2, 12, 22}
    graph = graph_of(CASES["a propagated submount goes along"])
    assert concerned(graph, graph.places[2].mount, lazy=False) == {2, 12}
    assert concerned(graph, graph.places[2].mount, lazy=True) == {2, 12, 13}


def test_a_detach_takes_all_on_the_dentry_whole_and_asks_no_lock() -> None:
    case = Case(
        (root(1),),
        (root(11), at(12, 11, "/a", X), at(13, 12, "/a/in", "0:50"), at(14, 12, "/a", "0:51")),
        (root(21), at(22, 21, "/a", "0:77"), at(23, 21, "/b", X)),
    )
    assert predict_detach(graph_of(case), ("8:1", b"/a")) == {12, 13, 14, 22}


def test_a_detach_does_not_propagate() -> None:
    case = Case((root(1),), (root(11, shared=1), at(12, 11, "/a", X)), (root(21, shared=1), at(22, 21, "/b", X)))
    assert predict_detach(graph_of(case), ("8:1", b"/a")) == {12}


def test_an_id_of_another_namespace_is_no_parent() -> None:
    graph = Graph({HOME: table(root(1), at(5, 6, "/a", X)), OTHER: table(root(11), at(6, 5, "/b", X))})
    assert graph.parent(graph.places[5].mount) is None


def test_a_circle_that_a_reading_in_pieces_shows_is_cut() -> None:
    graph = Graph({HOME: table(root(1), at(5, 6, "/a", X), at(6, 5, "/b", X), at(7, 6, "/b/c", X))})
    assert {m.id for m in graph.subtree(graph.places[5].mount)} <= {5, 6, 7}
    assert sum(graph.parent(graph.places[i].mount) is None for i in (5, 6)) == 1
