"""Where a root's spots lie as the kernel sees them."""

import dataclasses

import pytest
from mountwarden.model import Layout, Spot
from mountwarden.mounts.roots import Spots, identities, match_layout, may_hold, root_state

from tests.unit.pictures import HOME, ROOT, host_root, layer, mount, table

MERGED = Layout(b"overlay2/*/merged", "overlay")


@pytest.mark.parametrize(
    ("rel", "name"),
    [
        (b"overlay2/X/merged", b"X"),
        (b"overlay2/X/diff", None),
        (b"overlay2/X/merged/proc", None),
        (b"volumes/v/_data/overlay2/X/merged", None),
        (b"merged", None),
    ],
)
def test_a_star_is_one_component(rel: bytes, name: bytes | None) -> None:
    assert match_layout(MERGED, rel) == name


def test_a_layer_of_several_stars_is_all_of_them() -> None:
    assert match_layout(Layout(b"tasks/*/*/rootfs", "overlay"), b"tasks/ns/c1/rootfs") == b"ns/c1"


@pytest.mark.parametrize(
    ("rel", "answer"),
    [(b"", True), (b"overlay2", True), (b"overlay2/X", True), (b"overlay2/X/merged", False), (b"volumes", False)],
)
def test_which_directories_can_hold_mountpoints(rel: bytes, answer: bool) -> None:
    assert may_hold(MERGED, rel) is answer


def test_home_s_layers_are_live_on_their_spots() -> None:
    state = root_state(ROOT, table(host_root(), layer(2, 1), mount(3, 1, "/var/lib/docker/tmp")), HOME)
    spot = Spot("8:1", b"/var/lib/docker/overlay2/X/merged")
    assert list(state.live) == [spot]
    assert identities([state]) == {("0:40", b"/")}
    match = Spots([state]).match(spot)
    assert match is not None
    assert (match.layer, match.mountpoint) == (b"X", b"/var/lib/docker/overlay2/X/merged")


def test_a_root_on_a_mount_of_its_own_has_its_spots_there() -> None:
    state = root_state(ROOT, table(host_root(), mount(2, 1, "/var/lib/docker", device="8:2")), HOME)
    assert Spots([state]).match(Spot("8:2", b"/overlay2/X/merged")) is not None
    assert Spots([state]).match(Spot("8:1", b"/var/lib/docker/overlay2/X/merged")) is None


def test_a_bind_of_a_subdirectory_as_root_keeps_the_file_system_s_path() -> None:
    bind = mount(2, 1, "/var/lib/docker", device="8:2", root=b"/data/docker")
    state = root_state(ROOT, table(host_root(), bind), HOME)
    assert Spots([state]).match(Spot("8:2", b"/data/docker/overlay2/X/merged")) is not None
    assert Spots([state]).match(Spot("8:2", b"/overlay2/X/merged")) is None


def test_an_inner_mount_hides_what_it_covers() -> None:
    inner = mount(2, 1, "/var/lib/docker/overlay2", device="8:2")
    state = root_state(ROOT, table(host_root(), inner), HOME)
    spots = Spots([state])
    found = spots.match(Spot("8:2", b"/X/merged"))
    assert found is not None
    assert found.rel == b"overlay2/X/merged"
    assert found.base.mount.id == 2
    assert spots.match(Spot("8:1", b"/var/lib/docker/overlay2/X/merged")) is None


def test_a_mount_over_an_unguarded_directory_is_no_base() -> None:
    state = root_state(ROOT, table(host_root(), mount(2, 1, "/var/lib/docker/volumes")), HOME)
    assert [base.rel for base in state.bases] == [b""]


def test_a_self_bind_of_the_driver_s_home_is_a_base_of_its_own() -> None:
    """What containers/storage does: the same directory twice, the upper one private."""
    bind = mount(2, 1, "/var/lib/docker/overlay2", device="8:1", root=b"/var/lib/docker/overlay2")
    state = root_state(ROOT, table(host_root(), bind, layer(3, 2)), HOME)
    assert [(base.rel, base.mount.shared) for base in state.bases] == [(b"", 1), (b"overlay2", 0)]
    assert list(state.live) == [Spot("8:1", b"/var/lib/docker/overlay2/X/merged")]


def test_a_root_that_home_does_not_show_can_t_be_judged() -> None:
    state = root_state(dataclasses.replace(ROOT, path=b"relative"), table(host_root()), HOME)
    assert state.mount is None
    assert state.status != "ok"


def test_an_overmount_on_a_layer_is_not_live() -> None:
    over = mount(3, 2, "/var/lib/docker/overlay2/X/merged", device="0:50", fstype="overlay")
    state = root_state(ROOT, table(host_root(), layer(2, 1), over), HOME)
    assert identities([state]) == {("0:40", b"/")}
