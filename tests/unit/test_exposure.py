"""Which mounts of other namespaces show a root, and whether home's umounts reach them, each case by hand."""

import dataclasses

import pytest
from mountwarden.model import Layout, Mount, Picture, Root, Tier
from mountwarden.mounts.exposure import Exposure, Relation
from mountwarden.mounts.roots import root_state
from mountwarden.mounts.table import Table

from tests.support.exposures import exposures
from tests.unit.pictures import HOME, OTHER, ROOT, host_root, layer, mount, table

FURTHER = 4026533111
LIVE = layer(2, 1)


def seen(home: Table, others: dict[int, Table], root: Root = ROOT) -> list[Exposure]:
    """The sights of one root."""
    state = root_state(root, home, HOME)
    picture = Picture("boot", Tier.MOUNTINFO, (state,), {}, (), 0)
    return list(exposures(picture, {HOME: home, **others}))


def only(home: Table, other: Table, root: Root = ROOT) -> Exposure:
    (sight,) = seen(home, {OTHER: other}, root)
    return sight


def there(identity: int = 11, **groups: int) -> Mount:
    """The other namespace's copy of the disk."""
    return mount(identity, 10, "/", device="8:1", **groups)


def copied(identity: int = 12, parent: int = 11, **other: object) -> Mount:
    return dataclasses.replace(LIVE, id=identity, parent=parent, **other)


@pytest.mark.parametrize(
    ("groups", "relation", "leaks"),
    [
        ({"shared": 1}, Relation.PEER, 0),
        ({"master": 1}, Relation.SLAVE, 0),
        ({"master": 1, "shared": 7}, Relation.SLAVE, 0),
        ({}, Relation.CUT_OFF, 1),
        ({"shared": 7}, Relation.CUT_OFF, 1),
        ({"master": 8}, Relation.CUT_OFF, 1),
        ({"master": 8, "propagate_from": 1}, Relation.SLAVE, 0),
    ],
    ids=["peer", "slave", "slave and shared", "private", "a group of its own", "of another group", "further down"],
)
def test_relation_is_by_peers_and_masters(groups: dict[str, int], relation: Relation, leaks: int) -> None:
    sight = only(table(host_root(), LIVE), table(there(**groups), copied()))
    assert (sight.relation, sight.copies, sight.leaks) == (relation, 1, leaks)
    assert (sight.at, sight.part) == (b"/var/lib/docker", b"")


def test_a_chain_of_masters_reaches() -> None:
    middle = table(there(21, master=1, shared=7))
    found = seen(table(host_root()), {FURTHER: middle, OTHER: table(there(master=7))})
    assert {sight.namespace: sight.relation for sight in found} == {FURTHER: Relation.SLAVE, OTHER: Relation.SLAVE}


def test_a_private_home_reaches_nobody() -> None:
    sight = only(table(host_root(shared=0), LIVE), table(there(master=1), copied()))
    assert (sight.relation, sight.leaks) == (Relation.CUT_OFF, 1)


def test_home_itself_is_no_sight() -> None:
    assert seen(table(host_root(), LIVE), {}) == []


@pytest.mark.parametrize(("groups", "leaks"), [({}, 1), ({"shared": 1}, 0), ({"master": 1}, 0)], ids=str)
def test_a_second_view_in_home_itself_is_a_sight(groups: dict[str, int], leaks: int) -> None:
    view = mount(5, 1, "/srv/chroot", device="8:1", **groups)
    copy = dataclasses.replace(LIVE, id=6, parent=5, point=b"/srv/chroot" + LIVE.point)
    (sight,) = seen(table(host_root(), LIVE, view, copy), {})
    assert (sight.at, sight.at_home, sight.copies, sight.leaks) == (b"/srv/chroot/var/lib/docker", True, 1, leaks)


def test_no_engine_wants_a_second_view_in_home() -> None:
    view = mount(5, 1, "/srv/chroot", device="8:1")
    copy = dataclasses.replace(LIVE, id=6, parent=5, point=b"/srv/chroot" + LIVE.point)
    root = dataclasses.replace(ROOT, wants_private=True)
    (sight,) = seen(table(host_root(shared=0), LIVE, view, copy), {}, root)
    assert (sight.leaks, sight.on_purpose) == (1, False)


def test_a_bind_under_another_path_shows_the_root() -> None:
    own = mount(11, 10, "/", device="0:99")
    bind = mount(12, 11, "/host", device="8:1")
    sight = only(table(host_root(), LIVE), table(own, bind, copied(13, 12, point=b"/host" + LIVE.point)))
    assert (sight.at, sight.mount.id, sight.copies) == (b"/host/var/lib/docker", 12, 1)
    assert [held.point for held in sight.above] == [b"/host", b"/"]


def test_a_bind_of_a_part_shows_that_part() -> None:
    own = mount(11, 10, "/", device="0:99")
    part = mount(12, 11, "/layers", device="8:1", root=b"/var/lib/docker/overlay2")
    sight = only(table(host_root()), table(own, part))
    assert (sight.at, sight.part) == (b"/layers", b"overlay2")


@pytest.mark.parametrize("below", [b"volumes/v/_data", b"overlay2/X/diff", b"containers/c/resolv.conf"])
def test_a_bind_in_which_the_engine_mounts_nothing_is_no_sight(below: bytes) -> None:
    own = mount(11, 10, "/", device="0:99")
    bind = mount(12, 11, "/data", device="8:1", root=b"/var/lib/docker/" + below)
    assert seen(table(host_root()), {OTHER: table(own, bind)}) == []


def test_what_something_covers_is_no_sight() -> None:
    cover = mount(12, 11, "/var/lib")
    assert seen(table(host_root()), {OTHER: table(there(), cover)}) == []


def test_a_deleted_bind_is_no_sight() -> None:
    gone = mount(11, 10, "/", device="8:1", root=b"/var/lib/docker//deleted")
    root = dataclasses.replace(ROOT, layout=(Layout(b"*/*/merged", "overlay"),))
    assert seen(table(host_root()), {OTHER: table(gone)}, root) == []


def test_each_mount_of_home_that_holds_a_part_is_looked_at_by_itself() -> None:
    """As containers/storage has it: a private bind of itself on one of its directories."""
    bind = mount(3, 1, "/var/lib/docker/overlay2", device="8:1", root=b"/var/lib/docker/overlay2")
    home = table(host_root(), bind, layer(4, 3))
    slave, private = there(master=1), dataclasses.replace(bind, id=13, parent=11)
    root = dataclasses.replace(ROOT, wants_private=True)
    found = seen(home, {OTHER: table(slave, private, copied(14, 13))}, root)
    told = {(sight.base.mount.id, sight.mount.id): sight for sight in found}
    assert told.keys() == {(1, 11), (3, 13)}, "the bind is no sight of the disk below it"
    assert told[1, 11].relation is Relation.SLAVE
    assert (told[3, 13].kept, told[3, 13].leaks, told[3, 13].on_purpose) == (1, 0, True)


def test_an_engine_that_leaves_the_mountpoint_has_no_purpose() -> None:
    root = dataclasses.replace(ROOT, wants_private=True, rmdir_on_put=False)
    sight = only(table(host_root(shared=0), LIVE), table(there(), copied()), root)
    assert (sight.leaks, sight.on_purpose) == (1, False)


def test_a_shared_mount_of_such_an_engine_is_not_cut_off_on_purpose() -> None:
    """The container's shm of containers/storage: what cuts it off is the other namespace's own doing."""
    sight = only(table(host_root(), LIVE), table(there(), copied()), dataclasses.replace(ROOT, wants_private=True))
    assert (sight.leaks, sight.on_purpose) == (1, False)


def test_what_home_has_not_is_not_counted() -> None:
    other = copied(12, 11, device="0:41")
    assert only(table(host_root(), LIVE), table(there(), other)).copies == 0


def test_the_whole_host_is_no_root_to_be_shown() -> None:
    root = dataclasses.replace(ROOT, path=b"/", layout=(Layout(b"**", None, needs_history=True),))
    assert seen(table(host_root()), {OTHER: table(there())}, root) == []
