"""All engines together: order, doubles, failures as gaps, and the configuration's own roots."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden import engines
from mountwarden.config.schema import Config, PolicyEntry, RootEntry, Silence
from mountwarden.engines import containerd, containers_storage, docker, file_cache
from mountwarden.engines.sources import Host
from mountwarden.model import Action, MountClass, Policy, RootKind

from tests.unit.engines.trees import daemon, host, write

NONE = Config(engines=())


def test_custom_roots(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    entries = (
        RootEntry(os.fsencode(tmp_path / "link"), layout=(b"*/merged", b"x"), fstype=None),
        RootEntry(os.fsencode(tmp_path / "absent")),
    )
    (root,), gaps = engines.discover(host(), replace(NONE, roots=entries))
    assert gaps == []
    assert (root.path, root.engine, root.kind) == (os.fsencode(tmp_path / "real"), "custom", RootKind.CUSTOM)
    assert (root.home, root.home_known, root.rmdir_on_put) == (None, True, False)
    assert [(layout.pattern, layout.fstype) for layout in root.layout] == [(b"*/merged", None), (b"x", None)]


@pytest.mark.parametrize(
    ("kind", "mount_class", "is_file"),
    [
        (RootKind.NETNS, MountClass.NETNS, True),
        (RootKind.VOLUME, MountClass.VOLUME, False),
        (RootKind.GRAPH, MountClass.LAYER, False),
    ],
)
def test_a_custom_roots_kind_is_its_mounts_class(
    tmp_path: Path, kind: RootKind, mount_class: MountClass, is_file: bool
) -> None:
    (root,), _ = engines.discover(host(), replace(NONE, roots=(RootEntry(os.fsencode(tmp_path), kind),)))
    assert [(layout.mount_class, layout.is_file) for layout in root.layout] == [(mount_class, is_file)]


def test_an_entry_for_an_engines_root_adds_to_its_layout(tmp_path: Path) -> None:
    config = Config(
        engines=("docker",), roots=(RootEntry(os.fsencode(tmp_path), layout=(b"x/*", b"overlay2/*/merged")),)
    )
    found, _ = engines.discover(host(daemon("dockerd", "-g", tmp_path)), config)
    (root,) = (root for root in found if root.path == os.fsencode(tmp_path))
    assert root.engine == "docker"
    assert root.record
    assert [layout.pattern for layout in root.layout] == [*(each.pattern for each in docker.GRAPH_LAYOUT), b"x/*"]


def test_one_engines_failure_is_a_gap_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(host: Host, config: Config) -> list[object]:
        raise ZeroDivisionError("oops")

    monkeypatch.setitem(engines._ROOTS, "docker", fails)
    monkeypatch.setattr(containerd, "STATE", os.fsencode(tmp_path))
    monkeypatch.setattr(containerd, "CONFIG_FILE", os.fsencode(tmp_path / "absent"))
    found, gaps = engines.discover(host(), Config(engines=("docker", "containerd")))
    assert [root.engine for root in found] == ["containerd"]
    assert [(gap.what, gap.reason) for gap in gaps] == [("roots of docker", "ZeroDivisionError: oops")]
    assert engines.discover(host(), NONE) == ([], [])


def test_a_loop_of_symlinks_is_a_gap(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    found, gaps = engines.discover(host(), replace(NONE, roots=(RootEntry(os.fsencode(tmp_path / "loop")),)))
    assert found == []
    assert [gap.what for gap in gaps] == ["roots of custom"]


def test_a_quiet_host_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = write(tmp_path / "daemon.json", "{}")
    storage = write(tmp_path / "storage.conf", "[storage]\n")
    state = write(tmp_path / "config.toml", "")
    for file in (settings, storage, state, tmp_path):
        os.utime(file, (1, 1))
    monkeypatch.setattr(docker, "CONFIG_FILE", os.fsencode(settings))
    monkeypatch.setattr(containers_storage, "CONFIG_FILES", (os.fsencode(storage),))
    monkeypatch.setattr(containerd, "CONFIG_FILE", os.fsencode(state))
    read: list[bytes] = []
    reader = file_cache.read
    monkeypatch.setattr(file_cache, "read", lambda path: read.append(path) or reader(path))  # type: ignore[func-returns-value]
    monkeypatch.setattr(file_cache, "_SETTLED_SECONDS", -1e9)
    where = host()
    engines.discover(where, Config())
    assert len(read) == 3
    engines.discover(where, Config())
    assert len(read) == 3
    where.resync()
    engines.discover(where, Config())
    assert len(read) == 6
    write(settings, '{"x": 1}')
    engines.discover(where, Config())
    assert read[6:] == [os.fsencode(settings)]


def test_a_root_is_known_by_the_configurations_own_name_for_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    link = os.fsencode(tmp_path / "link")
    off = PolicyEntry(Action.DETACH, Policy.OFF, root=link)
    config = Config(engines=("docker",), policies=(off,), silences=(Silence("x", root=b"/nowhere"),))
    found, _ = engines.discover(host(daemon("dockerd", "-g", tmp_path / "link")), config)
    (root,) = (root for root in found if root.path == os.fsencode(tmp_path / "real"))
    assert root.is_called(link)
    assert root.is_called(root.path)
    assert not root.is_called(b"/nowhere")
