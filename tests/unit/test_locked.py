"""Which mounts are locked, told from who owns the namespaces and in what order the mounts were made."""

import pytest
from mountwarden.model import Mount
from mountwarden.mounts.graph import Graph
from mountwarden.predict.locked import locked_mounts

from tests.unit.pictures import HOME, OTHER, mount, table

THIRD = 4026533111
HOST, USER = 1, 2
"""User namespaces."""
X, Y = "0:40", "0:41"


def at(identity: int, parent: int, point: str, device: str, unique: int | None = -1, **other: object) -> Mount:
    """A mount whose unique id is its small one, unless said otherwise."""
    return mount(identity, parent, point, device=device, unique=identity if unique == -1 else unique, **other)


def root(identity: int, **other: object) -> Mount:
    return at(identity, 0, "/", "8:1", **other)


def locked(
    home: tuple[Mount, ...], other: tuple[Mount, ...], third: tuple[Mount, ...] = (), owners: tuple[int, ...] = ()
) -> set[int]:
    tables = {HOME: table(*home), OTHER: table(*other), THIRD: table(*third)}
    graph = Graph({inode: found for inode, found in tables.items() if found.mounts})
    by_namespace = dict(zip((HOME, OTHER, THIRD), owners or (HOST, USER, USER), strict=True))
    return set(locked_mounts(graph, by_namespace, graph.places))


A_HOME = (root(1, shared=1), at(2, 1, "/a", X, shared=2), at(3, 2, "/a/in", Y))


def test_all_that_came_with_a_user_namespace_s_copy_but_its_root() -> None:
    copy = (root(11, master=1), at(12, 11, "/a", X), at(13, 12, "/a/in", Y))
    assert locked(A_HOME, copy) == {12, 13}


def test_nothing_within_one_user_namespace() -> None:
    copy = (root(11, master=1), at(12, 11, "/a", X), at(13, 12, "/a/in", Y))
    assert locked(A_HOME, copy, owners=(HOST, HOST, HOST)) == set()


def test_what_the_namespace_mounted_itself_is_not() -> None:
    copy = (root(11, master=1), at(12, 11, "/a", X), at(13, 12, "/a/in", Y), at(14, 12, "/a/own", "0:50"))
    assert locked(A_HOME, copy) == {12, 13}


def test_what_propagated_alone_is_not() -> None:
    home = (root(1, shared=1), at(20, 1, "/a", X))
    assert locked(home, (root(11, master=1), at(21, 11, "/a", X))) == set()


def test_what_propagated_right_after_the_copy_is_not() -> None:
    home = (root(1, shared=1), at(12, 1, "/a", X))
    assert locked(home, (root(11, master=1), at(13, 11, "/a", X))) == set()


def test_what_propagated_below_the_top_of_a_tree() -> None:
    """attach_recursive_mnt locks the copied tree where it lands, but its top."""
    home = (root(1, shared=1), at(2, 1, "/src", X), at(3, 2, "/src/in", Y), at(20, 1, "/a", X), at(21, 20, "/a/in", Y))
    copy = (root(11, master=1), at(22, 11, "/a", X), at(23, 22, "/a/in", Y))
    assert locked(home, copy) == {23}


def test_what_a_moved_tree_left_in_a_receiver() -> None:
    """The tree is older than the namespace, its copies there are new."""
    home = (root(1, shared=1), at(2, 1, "/a", X), at(3, 2, "/a/in", Y), at(20, 1, "/c", "0:51"))
    copy = (root(11, master=1), at(12, 11, "/b", "0:50"), at(30, 11, "/a", X), at(31, 30, "/a/in", Y))
    assert locked(home, copy) == {31}


def test_a_bind_within_the_namespace_keeps_the_locks_below_its_top() -> None:
    """clone_mnt copies the flag, do_loopback clears that of the top."""
    inherited = (root(11, master=1), at(12, 11, "/a", X), at(13, 12, "/a/in", Y))
    bound = (at(30, 11, "/b", X), at(31, 30, "/b/in", Y))
    assert locked(A_HOME, (*inherited, *bound)) == {12, 13, 31}


def test_a_bind_of_a_tree_that_has_the_same_twice() -> None:
    """One below what was inherited, one that came with a tree: the copies differ as they do."""
    home = (root(1, shared=1), at(2, 1, "/a", X, shared=2), at(20, 2, "/a/in", Y))
    inside = (root(11, master=1), at(12, 11, "/a", X, master=2), at(21, 12, "/a/in", Y))
    tree = (at(30, 1, "/c", "8:1", root=b"/x"), at(31, 30, "/c/a", X), at(32, 31, "/c/a/in", Y))
    came = (at(33, 11, "/c", "8:1", root=b"/x"), at(34, 33, "/c/a", X), at(35, 34, "/c/a/in", Y))
    bound = (at(40, 11, "/d", "8:1"), at(41, 40, "/d/a", X), at(42, 41, "/d/a/in", Y))
    again = (at(43, 40, "/d/c", "8:1", root=b"/x"), at(44, 43, "/d/c/a", X), at(45, 44, "/d/c/a/in", Y))
    assert locked((*home, *tree), (*inside, *came, *bound, *again)) == {12, 34, 35, 41, 44, 45}


def test_what_a_move_brought_below_two_mounts_at_once_did_not_come_with_them() -> None:
    """Home's mount is older than the namespace, and now where its copies are; the last copy's parent is the last."""
    home = (root(1, shared=1), at(2, 1, "/a", X, shared=2), at(3, 1, "/b", X, shared=2))
    moved = (at(4, 2, "/a/in", Y, shared=3), at(17, 3, "/b/in", Y, shared=3))
    copy = (root(11, master=1), at(12, 11, "/c", Y, master=3), at(13, 11, "/a", X, master=2))
    later = (at(14, 11, "/b", X, master=2), at(15, 14, "/b/in", Y, master=3), at(16, 13, "/a/in", Y, master=3))
    assert locked((*home, *moved), (*copy, *later)) == {12, 13, 14}


def test_what_another_namespace_mounted_right_after_a_copy_says_nothing_of_its_last() -> None:
    home = (root(1, shared=1), at(2, 1, "/a", X, shared=2), at(3, 1, "/b", Y, shared=3))
    copy = (root(11, master=1), at(12, 11, "/a", X, master=2), at(13, 11, "/b", Y, master=3))
    third = (root(5, master=1), at(14, 5, "/b", Y, master=3))
    assert locked(home, copy, third, owners=(HOST, USER, HOST)) == {12, 13}


def test_a_bind_right_after_what_propagated_did_not_come_with_it() -> None:
    home = (root(1, shared=1), at(2, 1, "/a", X, shared=2), at(20, 1, "/n", Y, shared=3))
    copy = (root(11, master=1), at(12, 11, "/a", X, master=2), at(21, 11, "/n", Y, master=3))
    bound = (at(22, 21, "/n/x", "8:1"), at(23, 22, "/n/x/a", X), at(24, 22, "/n/x/n", Y))
    assert locked(home, (*copy, *bound)) == {12, 23}


def test_a_copy_within_the_user_namespace_has_the_locks_of_what_it_was_copied_from() -> None:
    home = (*A_HOME, at(20, 1, "/new", "0:50"))
    first = (root(11, master=1), at(12, 11, "/a", X), at(13, 12, "/a/in", Y), at(21, 11, "/new", "0:50"))
    second = (root(31, master=1), at(32, 31, "/a", X), at(33, 32, "/a/in", Y), at(34, 31, "/new", "0:50"))
    assert locked(home, first, second) == {12, 13, 32, 33}


def test_what_was_tucked_beneath_later_does_not_hide_a_lock() -> None:
    copy = (root(11, master=1), at(12, 14, "/a", X), at(14, 11, "/a", "0:50"), at(40, 11, "/z", "0:51"))
    home = (root(1, shared=1), at(2, 3, "/a", X), at(3, 1, "/a", "0:50", unique=13))
    moved = tuple(m if m.id != 14 else at(14, 11, "/a", "0:50", unique=30) for m in copy)
    assert locked(home, moved) == {12}


def test_what_slid_down_is_still_the_copy_of_what_stands_higher_elsewhere() -> None:
    home = (root(1, shared=1), at(2, 1, "/a", X), at(3, 2, "/a", Y))
    assert locked(home, (root(11), at(13, 11, "/a", Y))) == {13}


def test_a_directory_bound_on_itself_is_not_the_inherited_one() -> None:
    home = (root(1), at(2, 1, "/a", "8:1", root=b"/a"))
    copy = (root(11), at(12, 11, "/a", "8:1", root=b"/a"), at(13, 12, "/a", "8:1", root=b"/a"))
    assert locked(home, copy) == {12}


def test_without_unique_ids_what_another_owner_has_on_the_spot_too() -> None:
    home = tuple(at(m.id, m.parent, m.point.decode(), m.device, unique=None) for m in A_HOME)
    copy = (
        at(11, 0, "/", "8:1", unique=None),
        at(12, 11, "/a", X, unique=None),
        at(13, 11, "/own", "0:50", unique=None),
    )
    assert 12 in locked(home, copy)
    assert 13 not in locked(home, copy)


def test_what_lost_its_origin_but_is_older_than_the_last_that_came() -> None:
    """Home unmounted the file system since; what was made before the end of the copy came with it."""
    home = (root(1), at(4, 1, "/z", "0:50"))
    copy = (root(11), at(12, 11, "/a", X), at(13, 11, "/z", "0:50"), at(14, 11, "/own", Y))
    assert locked(home, copy) == {12, 13}


@pytest.mark.timeout(15)
def test_a_high_stack_of_the_same_is_told_in_time() -> None:
    """Each of a stack may be a copy of each: compared with one another, that took minutes."""
    many = 500

    def stack(first: int) -> tuple[Mount, ...]:
        return tuple(at(first + i, first + i - 1 if i else first - 1, "/a", "8:1", root=b"/a") for i in range(many))

    copied = locked((root(1, shared=1), *stack(2)), (root(1001, master=1), *stack(1002)))
    assert copied == set(range(1002, 1002 + many))


@pytest.mark.timeout(15)
def test_copies_in_many_namespaces_are_told_in_time() -> None:
    """Each namespace's mounts may come from each older one's: all compared with all, that grows with their square."""
    spaces, each = 400, 50
    size = each + 1
    tables = {
        space: table(
            root(first := 1 + space * size, shared=1),
            *(at(first + i, first, f"/{i}", f"0:{100 + i}") for i in range(1, size)),
        )
        for space in range(spaces)
    }
    graph = Graph(tables)
    owners = {space: HOST if space == 0 else USER for space in range(spaces)}
    children = set(graph.places) - {1 + space * size for space in range(spaces)}
    assert locked_mounts(graph, owners, graph.places) == children - set(range(size + 1))


@pytest.mark.timeout(5)
def test_two_readings_that_make_a_circle_end() -> None:
    """Namespaces are read one after the other: an id used again shows a mount that is its own ancestor."""
    home = (root(1, shared=1), at(5, 6, "/a", X), at(6, 5, "/a", X))
    other = (root(11, master=1), at(12, 13, "/a", X), at(13, 5, "/a", X), at(14, 11, "/b", Y))
    assert locked(home, other) <= {12, 13}
