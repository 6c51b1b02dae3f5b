"""What counts as seen: a mount of home that went while a copy stayed."""

import dataclasses

import pytest
from mountwarden.model import Copy, Layout, Match, Mount, RootState, Spot, grouped
from mountwarden.mounts.roots import Spots, root_state
from mountwarden.scan.history import History, remember
from mountwarden.scan.home_readings import LiveChange, homes_read

from tests.unit.pictures import HOME, OTHER, ROOT, host_root, layer, remembered, table

SPOT = Spot("8:1", b"/var/lib/docker/overlay2/X/merged")
WITH = root_state(ROOT, table(host_root(), layer(2, 1)), HOME)
WITHOUT = root_state(ROOT, table(host_root()), HOME)


def match_of(state: RootState) -> Match:
    match = Spots([state]).match(SPOT)
    assert match is not None
    return match


def scan(
    history: History, state: RootState, *copies: Copy, unread: frozenset[int] = frozenset()
) -> tuple[History, tuple[Copy, ...]]:
    return remembered(history, state, copies, unread)


def copy(held: Mount, spot: Spot | None = SPOT) -> Copy:
    return Copy(OTHER, held, None, spot, match_of(WITHOUT) if spot else None)


def test_a_copy_left_when_home_s_mount_went_has_a_history() -> None:
    history, _ = scan(History(), WITH, copy(layer(12, 11)))
    history, (filled,) = scan(history, WITHOUT, copy(layer(12, 11)))
    assert filled.history is not None
    assert filled.history.spot == SPOT
    _, (still,) = scan(history, WITHOUT, copy(layer(12, 11)))
    assert still.history is not None, "it stays known while it stays there"


def test_what_copies_in_many_namespaces_share_is_kept_once() -> None:
    """Each of 300 copies had the ids of all of them: for 40 layers 400 MiB."""
    held = [dataclasses.replace(copy(layer(100 + at, 11)), namespace=OTHER + at) for at in range(300)]
    history, _ = scan(History(), WITH, *held)
    for _again in range(2):
        history, filled = scan(history, WITHOUT, *held)
        assert all(one.history for one in filled)
        assert len(history.left) == 300
        (known,) = {id(one.of): one.of for one in history.left.values()}.values()
        assert known.ids == {2, *range(100, 400)}


def test_a_copy_that_comes_a_scan_later_has_none() -> None:
    """Device numbers are reused at once: this may be another overlay."""
    history, _ = scan(History(), WITH)
    history, _ = scan(history, WITHOUT)
    _, (filled,) = scan(history, WITHOUT, copy(layer(12, 11)))
    assert filled.history is None


def test_nothing_seen_before_is_no_history() -> None:
    _, (filled,) = scan(History(), WITHOUT, copy(layer(12, 11)))
    assert filled.history is None


def test_another_mount_id_is_another_copy() -> None:
    history, _ = scan(History(), WITH, copy(layer(12, 11)))
    history, _ = scan(history, WITHOUT, copy(layer(12, 11)))
    _, (filled,) = scan(history, WITHOUT, copy(layer(13, 11)))
    assert filled.history is None


def test_a_copy_that_was_away_for_a_scan_is_another() -> None:
    history, _ = scan(History(), WITH, copy(layer(12, 11)))
    history, _ = scan(history, WITHOUT, copy(layer(12, 11)))
    history, _ = scan(history, WITHOUT)
    _, (filled,) = scan(history, WITHOUT, copy(layer(12, 11)))
    assert filled.history is None


def test_a_home_that_could_not_be_read_ends_what_is_known() -> None:
    history, _ = scan(History(), WITH, copy(layer(12, 11)))
    blind = dataclasses.replace(WITHOUT, mount=None, bases=())
    history, (filled,) = scan(history, blind, copy(layer(12, 11)))
    assert filled.history is None
    _, (later,) = scan(history, WITHOUT, copy(layer(12, 11)))
    assert later.history is None


def test_a_mount_that_came_back_is_live_again() -> None:
    history, _ = scan(History(), WITH, copy(layer(12, 11)))
    history, _ = scan(history, WITHOUT, copy(layer(12, 11)))
    history, (filled,) = scan(history, WITH, copy(layer(12, 11)))
    assert filled.history is None


def test_a_bind_elsewhere_is_followed_by_its_identity() -> None:
    elsewhere = copy(layer(12, 11, point=b"/o"), spot=Spot("8:1", b"/o"))
    elsewhere = dataclasses.replace(elsewhere, match=None)
    history, _ = scan(History(), WITH, elsewhere)
    assert ("0:40", b"/") in history.live
    history, (filled,) = scan(history, WITHOUT, elsewhere)
    assert filled.history is not None
    assert filled.history.spot == SPOT
    assert ("0:40", b"/") in history.watched(), "what was left behind is looked for from then on"


@pytest.mark.parametrize(
    ("other", "lives", "told"),
    [
        pytest.param({}, True, True, id="the same layer"),
        pytest.param({}, None, False, id="nothing says that its superblock lived all the time"),
        pytest.param({"super_options": b"rw,upperdir=/other"}, True, False, id="another upper directory"),
        pytest.param({"fstype": "tmpfs", "super_options": b"rw,size=65536k"}, True, False, id="a tmpfs, as any other"),
    ],
)
def test_a_bind_that_is_first_seen_after_the_umount(other: dict[str, object], lives: bool | None, told: bool) -> None:
    """A service that starts, binds the layer and is read only after home has unmounted it."""
    state = WITH
    if other.get("fstype") == "tmpfs":
        held = layer(2, 1, **other)
        layout = (Layout(b"overlay2/*/merged", "tmpfs"),)
        state = root_state(dataclasses.replace(ROOT, layout=layout), table(host_root(), held), HOME)
    history, _ = scan(History(), state)
    live = [one for many in history.live.values() for one in many]
    history = homes_read(history, LiveChange(went=tuple(live)), 2)
    history = dataclasses.replace(
        history, departed={i: dataclasses.replace(one, lives=lives) for i, one in history.departed.items()}
    )
    bound = Copy(OTHER, layer(12, 11, point=b"/o", **other), None, Spot("8:1", b"/o"))
    gone = root_state(state.root, table(host_root()), HOME)
    _, (space,) = remember(history, [gone], grouped([bound]), frozenset(), 2)
    assert (space.copies[0].history is not None) == told


def test_an_identity_on_another_layer_s_spot_is_not_this_layer_s_copy() -> None:
    other = Spot("8:1", b"/var/lib/docker/overlay2/Y/merged")
    held = Copy(OTHER, layer(12, 11, "Y"), None, other, Spots([WITHOUT]).match(other))
    history, _ = scan(History(), WITH, held)
    _, (filled,) = scan(history, WITHOUT, held)
    assert filled.history is None


def test_a_device_number_that_was_reused_elsewhere_is_no_history() -> None:
    """Found with real engines: the tmpfs on a new container's /dev had the number of the layer that had just gone."""
    history, _ = scan(History(), WITH)
    dev = Copy(OTHER, dataclasses.replace(layer(12, 11), fstype="tmpfs", point=b"/dev"), None, Spot("0:50", b"/dev"))
    new_layer = Copy(OTHER, dataclasses.replace(layer(13, 0), point=b"/"), None, None)
    _, filled = scan(history, WITHOUT, dev, new_layer)
    assert [copy.history for copy in filled] == [None, None], "neither was there before"


def test_another_file_system_on_the_spot_is_no_history() -> None:
    history, _ = scan(History(), WITH)
    other = dataclasses.replace(layer(12, 11), super_options=b"rw,upperdir=/elsewhere")
    _, (filled,) = scan(history, WITHOUT, copy(other))
    assert filled.history is None


def test_what_was_left_behind_ends_when_all_its_numbers_are_given_to_another() -> None:
    """The holder ended, and a new namespace has its inode, mount ids and device: only the options tell."""
    history, _ = scan(History(), WITH, copy(layer(12, 11)))
    history, _ = scan(history, WITHOUT, copy(layer(12, 11)))
    other = dataclasses.replace(layer(12, 11), super_options=b"rw,upperdir=/elsewhere")
    _, (filled,) = scan(history, WITHOUT, copy(other))
    assert filled.history is None


def test_a_unique_id_that_one_scan_lacks_is_the_same_copy_s() -> None:
    """A namespace that changes while it is read has none; another unique id is another mount."""
    known, lacking = layer(12, 11, unique=1 << 40), layer(12, 11)
    history, _ = scan(History(), WITH, copy(known))
    history, _ = scan(history, WITHOUT, copy(known))
    for held in (lacking, known, lacking):
        history, (filled,) = scan(history, WITHOUT, copy(held))
        assert filled.history is not None
    _, (filled,) = scan(history, WITHOUT, copy(layer(12, 11, unique=(1 << 40) + 1)))
    assert filled.history is None


def test_a_bind_elsewhere_with_another_unique_id_is_another() -> None:
    def elsewhere(unique: int | None) -> Copy:
        held = layer(12, 11, point=b"/o", unique=unique)
        return dataclasses.replace(copy(held, spot=Spot("8:1", b"/o")), match=None)

    before, _ = scan(History(), WITH, elsewhere(1 << 40))
    for unique, seen in ((1 << 40, True), (None, True), ((1 << 40) + 1, False)):
        _, (filled,) = scan(before, WITHOUT, elsewhere(unique))
        assert (filled.history is not None) is seen
