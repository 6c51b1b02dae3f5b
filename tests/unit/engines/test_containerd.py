"""containerd's state directories by command line and config.toml, and what its bundles tell."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden import engines
from mountwarden.engines import containerd
from mountwarden.engines.sources import MOST_ROOTS
from mountwarden.model import RecordState, Root, RootKind

from tests.unit.engines.trees import CONFIG, daemon, host, match, of_layout, paths, write

BUNDLE = "io.containerd.runtime.v2.task/default/c1"


@pytest.fixture(autouse=True)
def _defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads this machine's own containerd."""
    monkeypatch.setattr(containerd, "CONFIG_FILE", os.fsencode(tmp_path / "etc/config.toml"))
    monkeypatch.setattr(containerd, "STATE", os.fsencode(tmp_path / "run"))
    monkeypatch.setattr(containerd, "ROOT", os.fsencode(tmp_path / "lib"))


def roots(*argv: str | Path) -> list[Root]:
    return containerd.roots(host(daemon("containerd", *argv)), CONFIG)


def test_flags_and_files_name_the_state(tmp_path: Path) -> None:
    for name in ("run", "a", "b", "c"):
        (tmp_path / name).mkdir()
    assert [root.path for root in roots()] == [os.fsencode(tmp_path / "run")]
    file = write(tmp_path / "docker/containerd.toml", f'root = "/x"\nstate = "{tmp_path}/a"\n')
    assert [root.path for root in roots("--config", file, "--log-level", "info")] == [os.fsencode(tmp_path / "a")]
    assert [root.path for root in roots("-c", file, f"--state={tmp_path}/b")] == [os.fsencode(tmp_path / "b")]
    write(tmp_path / "docker/conf.d/x.toml", f'state = "{tmp_path}/c"\n')
    write(file, f'state = "{tmp_path}/a"\nimports = ["conf.d/*.toml", "/nonexistent/*"]\n')
    (root,) = roots("--config", file)
    assert (root.path, root.home, root.home_known) == (os.fsencode(tmp_path / "c"), 1, True)
    assert root.layout[0].pattern == b"io.containerd.runtime.v2.task/*/*/rootfs"


def test_what_is_mounted_for_a_moment_is_below_its_root(tmp_path: Path) -> None:
    for name in ("run", "lib/tmpmounts", "a/tmpmounts", "b/tmpmounts", "c"):
        (tmp_path / name).mkdir(parents=True)
    write(tmp_path / "etc/config.toml", f'root = "{tmp_path}/a"\n')
    for argv, name in (((), "a"), (("--root", tmp_path / "b"), "b")):
        _state, root = roots(*argv)
        assert (root.path, root.layout) == (os.fsencode(tmp_path / name / "tmpmounts"), containerd.TEMPORARY_LAYOUT)
        assert (root.kind, root.engine, root.record, root.home) == (RootKind.GRAPH, "containerd", (), 1)
    assert len(roots("--root", tmp_path / "c")) == 1
    where = host(daemon("containerd", "--root", tmp_path / "b"))
    containerd.roots(where, CONFIG)
    where.update(())
    stopped = of_layout(containerd.roots(where, CONFIG), containerd.TEMPORARY_LAYOUT)
    assert paths(stopped) == [tmp_path / "b/tmpmounts", tmp_path / "a/tmpmounts"]
    assert not any(root.home_known for root in stopped)


def test_the_mount_manager_is_a_root_where_it_is_there(tmp_path: Path) -> None:
    manager = tmp_path / "run/io.containerd.mount-manager.v1.bolt"
    manager.mkdir(parents=True)
    _state, root = roots()
    assert (root.path, root.kind, root.record) == (os.fsencode(manager), RootKind.VOLUME, ())
    assert [layout.pattern for layout in root.layout] == [b"t/*/*"]


def test_two_daemons_and_none(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "run").mkdir()
    where = host(daemon("containerd"), daemon("containerd", "--state", tmp_path / "a", pid=2**30))
    assert len(containerd.roots(where, CONFIG)) == 2
    where.update(())
    stopped = containerd.roots(where, CONFIG)
    assert [root.path for root in stopped] == [os.fsencode(tmp_path / "run"), os.fsencode(tmp_path / "a")]
    assert {(root.home, root.home_known) for root in stopped} == {(None, False)}


def test_one_of_two_daemons_ended(tmp_path: Path) -> None:
    """Docker's own, and that of k3s."""
    for name in ("run", "docker", "k3s"):
        (tmp_path / name).mkdir()
    dockers = daemon("containerd", "--state", tmp_path / "docker")
    where = host(dockers, daemon("containerd", "--state", tmp_path / "k3s", pid=2**30))
    assert all(root.home_known for root in containerd.roots(where, CONFIG))
    where.update((dockers,))
    found = [(root.path, root.home_known) for root in containerd.roots(where, CONFIG)]
    assert found == [(os.fsencode(tmp_path / "docker"), True), (os.fsencode(tmp_path / "k3s"), False)]


def test_roots_of_ended_daemons_are_bounded(tmp_path: Path) -> None:
    where = host()
    for number in range(MOST_ROOTS + 5):
        (tmp_path / str(number)).mkdir()
        where.update((daemon("containerd", "--state", tmp_path / str(number), pid=number),))
        containerd.roots(where, CONFIG)
    assert len(where.remembered()["containerd"]) == MOST_ROOTS
    assert len(containerd.roots(where, CONFIG)) == MOST_ROOTS


def test_a_bundle_whose_process_lives_is_in_use(tmp_path: Path) -> None:
    pid = write(tmp_path / "run" / BUNDLE / "init.pid", str(os.getpid()))
    (root,) = roots()
    spot = match(root, f"{BUNDLE}/rootfs".encode())
    assert engines.record(host(), spot) is RecordState.LIVE
    for text in ("4194305", "", "x", "-1", "0"):  # the first is above the kernel's PID_MAX_LIMIT
        pid.write_text(text)
        assert engines.record(host(), spot) is RecordState.UNKNOWN
    pid.unlink()
    assert engines.record(host(), spot) is RecordState.UNKNOWN


@given(
    data=st.binary(max_size=60)
    | st.sampled_from([b'imports = "x"', b'imports = [3, "\\u0000"]', b'state = "/\\u0000"'])
)
def test_any_config_gives_roots_or_a_gap(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = write(tmp_path_factory.getbasetemp() / "containerd.toml", data)
    where = host(daemon("containerd", "--config", file))
    containerd.roots(where, CONFIG)
    assert all(gap.what == f"containerd's {file}" for gap in where.take_gaps())
