"""Mounts that no module knows: which are like an engine's, and the patterns of their paths."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden.config.load import parse
from mountwarden.config.schema import Config, RootEntry
from mountwarden.doctor.unknown import _engine
from mountwarden.model import Holder, Layout, Mount
from mountwarden.mounts import unguarded
from mountwarden.mounts.path_patterns import patterns
from mountwarden.mounts.roots import match_layout, root_state
from mountwarden.mounts.table import below
from mountwarden.systemd.unit_names import mount_unit

from tests.unit.pictures import HOME, ROOT, host_root, layer, mount, table

ID, OTHER_ID = "0123456789ab" * 4, "fedcba987654" * 4


def overlay(number: int, point: str, **other: object) -> Mount:
    return mount(number, 1, point, **({"fstype": "overlay", "device": f"0:{number}"} | other))


def told(*mounts: Mount) -> dict[str, tuple[str, ...]]:
    """By the directory of an entry: its patterns."""
    found = unguarded.directories(unguarded.candidates(table(host_root(), *mounts), ()))
    return {
        one.directory.decode(): tuple(pattern.decode() for pattern in one.patterns)
        for directory in found
        for one in directory.found
    }


def overlays(*points: str) -> dict[str, tuple[str, ...]]:
    return told(*(overlay(20 + number, point) for number, point in enumerate(points)))


FOUND: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {
    (f"/opt/acme/layers/{ID}/merged",): {"/opt/acme/layers": ("*/merged",)},
    ("/opt/acme/web/merged",): {"/opt/acme": ("*/merged",)},
    ("/opt/acme/layers/web/merged", "/opt/acme/layers/db/merged"): {"/opt/acme/layers": ("*/merged",)},
    (f"/var/lib/acme/{ID}", f"/var/lib/acme/{OTHER_ID}"): {"/var/lib/acme": ("*",)},
    ("/var/lib/acme/run/1", "/var/lib/acme/run/2"): {"/var/lib/acme/run": ("*",)},
    (f"/var/lib/acme/executor/{ID}/rootfs", f"/var/lib/acme/cache/{OTHER_ID}/mnt"): {
        "/var/lib/acme/executor": ("*/rootfs",),
        "/var/lib/acme/cache": ("*/mnt",),
    },
    (f"/run/acme/task/default/{ID}/rootfs", f"/run/acme/task/k8s.io/{OTHER_ID}/rootfs"): {
        "/run/acme/task": ("*/*/rootfs",)
    },
    ("/run/acme/task/default/k7xq2m4p9w3z8c5v1b6n0t2r4/rootfs",): {"/run/acme/task/default": ("*/rootfs",)},
    ("/srv/acme/a/upper/merged", "/srv/acme/b/upper/merged"): {"/srv/acme": ("*/upper/merged",)},
    ("/var/snap/acme/common/run/12/rootfs",): {"/var/snap/acme/common/run": ("*/rootfs",)},
}


@pytest.mark.parametrize("points", FOUND, ids=lambda points: points[0])
def test_what_varies_is_the_star(points: tuple[str, ...]) -> None:
    assert overlays(*points) == FOUND[points]


@pytest.mark.parametrize(
    "point",
    [
        *("/", "/etc", "/usr", "/opt", "/srv/site", "/var/lib/waydroid", "/srv/www/site", "/mnt/x/merged"),
        *("/run/systemd/unit-root/a/merged", f"/var/lib/machines/{ID}/merged", f"/run/live/{ID}/merged"),
        *(f"/usr/lib/live/{ID}/rootfs", f"/run/user/1000/{ID}/merged", f"/var/lib/snapd/{ID}/merged"),
        *(f"/run/credentials/{ID}/merged", f"/run/extensions/{ID}/merged", f"/media/root-ro/{ID}/merged"),
    ],
)
def test_what_the_system_or_a_human_mounts_is_no_engines(point: str) -> None:
    assert overlays(point) == {}


def test_other_types_of_mounts() -> None:
    nsfs = {"fstype": "nsfs", "device": "0:4"}
    assert told(
        mount(20, 1, "/run/acme/ns/a", root=b"net:[4026532100]", **nsfs),
        mount(21, 1, "/run/acme/ns/b", root=b"net:[4026532101]", **nsfs),
        mount(22, 1, f"/run/acme/{ID}/shm", source=b"shm"),
        mount(23, 1, f"/var/lib/acme/{ID}/merged", fstype="fuse.fuse-overlayfs", super_options=b"rw,user_id=0"),
    ) == {"/run/acme/ns": ("*",), "/run/acme": ("*/shm",), "/var/lib/acme": ("*/merged",)}


@pytest.mark.parametrize(
    "one",
    [
        mount(20, 1, f"/run/snap.x/{ID}", fstype="nsfs", root=b"mnt:[4026532100]"),
        mount(20, 1, f"/snapd/{ID}/merged", fstype="squashfs", device="7:1"),
        mount(20, 1, f"/var/lib/acme/{ID}/data"),
        overlay(20, f"/var/lib/acme/{ID}/merged", root=b"/etc"),
        overlay(20, f"/var/lib/acme/{ID}/merged", device="8:1"),
        overlay(20, f"/home/u/acme/{ID}/merged", fstype="fuse.fuse-overlayfs", super_options=b"rw,user_id=1000"),
        overlay(20, f"/var/lib/acme/{ID}/merged//deleted"),
    ],
    ids=["kept mount namespace", "squashfs", "plain tmpfs", "bind of a part", "bind of /", "a user's FUSE", "deleted"],
)
def test_what_no_engine_mounts_as_a_container(one: Mount) -> None:
    assert told(one) == {}


def test_an_overmount_is_told_by_what_is_beneath() -> None:
    lower = overlay(20, f"/opt/acme/layers/{ID}/merged")
    upper = dataclasses.replace(overlay(21, f"/opt/acme/layers/{ID}/merged"), parent=20)
    assert unguarded.candidates(table(host_root(), lower, upper), ()) == (lower,)


def test_spots_of_known_roots_and_what_is_below_them_are_known() -> None:
    """Docker's own directory holds more than layers; of a `[[root]]` entry its patterns alone are known."""
    other = overlay(21, f"/var/lib/docker/acme/{ID}/rootfs")
    home = table(host_root(), layer(20, 1), other)
    assert unguarded.candidates(home, (root_state(ROOT, home, HOME),)) == ()
    custom = root_state(dataclasses.replace(ROOT, engine="custom"), home, HOME)
    assert unguarded.candidates(home, (custom,)) == (other,)


def test_the_entry_is_what_the_configurations_loader_reads() -> None:
    names = ('we"b', "d\\b", "ü☃", "tab\there")
    mounts = [overlay(20 + n, f"/opt/a c/{name}/merged") for n, name in enumerate(names)]
    (directory,) = unguarded.directories(unguarded.candidates(table(host_root(), *mounts), ()))
    engine = _engine(directory, (Holder(1, "acmed"),), Config())
    assert engine.entry is not None
    assert parse(engine.entry.encode()).roots == (RootEntry(b"/opt/a c", layout=(b"*/merged",)),)


def test_an_entry_for_a_directory_that_has_one_has_the_patterns_of_both() -> None:
    there = RootEntry(b"/opt/acme", layout=(b"old/*",))
    one = overlay(20, f"/opt/acme/{ID}/merged")
    (directory,) = unguarded.directories(unguarded.candidates(table(host_root(), one), ()))
    engine = _engine(directory, (), Config(roots=(there,)))
    assert engine.replaces == (b"/opt/acme",)
    assert engine.entry is not None
    assert parse(engine.entry.encode()).roots == (RootEntry(b"/opt/acme", layout=(b"old/*", b"*/merged")),)


def test_a_path_that_is_no_utf_8_has_no_entry() -> None:
    one = dataclasses.replace(overlay(20, ""), point=b"/opt/\xff/%b/merged" % ID.encode())
    (directory,) = unguarded.directories(unguarded.candidates(table(host_root(), one), ()))
    assert _engine(directory, (), Config()).entry is None


def test_a_name_alone_says_nothing_of_what_varies() -> None:
    assert not patterns([(b"site",)])
    assert not patterns([(b"www", b"site")])
    assert not patterns([(b"merged",)])


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (b"/srv/www/site", "srv-www-site.mount"),
        (b"/srv/a-b/.c", "srv-a\\x2db-.c.mount"),
        (b"/.c d", "\\x2ec\\x20d.mount"),
        (b"/", "-.mount"),
    ],
)
def test_the_name_of_a_mounts_unit_is_as_systemd_escape_has_it(path: bytes, unit: str) -> None:
    assert mount_unit(path) == unit


NAMES = st.sampled_from(["merged", "rootfs", "shm", "web", "db", "layers", ID, OTHER_ID, "12", "a\xa0b", 'q"'])


@given(st.lists(st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=12, unique_by=tuple))
def test_every_mount_that_is_told_is_on_a_spot_of_the_entry(names: list[list[str]]) -> None:
    """As discovery matches a layout; and the loader reads the entry, whatever the names are."""
    mounts = [overlay(20 + n, "/opt/acme/" + "/".join(parts)) for n, parts in enumerate(names)]
    for directory in unguarded.directories(unguarded.candidates(table(host_root(), *mounts), ())):
        text = _engine(directory, (), Config()).entry
        assert text is not None
        on_spots = {
            one.point
            for entry in parse(text.encode()).roots
            for one in mounts
            if (rel := below(entry.path, one.point)) and any(match_layout(Layout(p, None), rel) for p in entry.layout)
        }
        assert len(on_spots) >= directory.many
        assert {entry.path for entry in parse(text.encode()).roots} == {one.directory for one in directory.found}
