"""BuildKit's roots, of dockerd and of a buildkitd beside it."""

import os
from pathlib import Path

import pytest
from mountwarden.engines import buildkit, docker
from mountwarden.model import Root, RootKind

from tests.unit.engines.trees import CONFIG, daemon, host, of_layout, paths, write


@pytest.fixture(autouse=True)
def _defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads this machine's own engines."""
    monkeypatch.setattr(buildkit, "CONFIG_FILE", os.fsencode(tmp_path / "etc/buildkitd.toml"))
    monkeypatch.setattr(buildkit, "ROOT", os.fsencode(tmp_path / "lib"))
    monkeypatch.setattr(docker, "CONFIG_FILE", os.fsencode(tmp_path / "daemon.json"))


def roots(*argv: str | Path) -> list[Root]:
    return buildkit.roots(host(daemon("buildkitd", *argv)), CONFIG)


def test_flag_and_file_name_the_root(tmp_path: Path) -> None:
    for name in ("lib", "a", "b"):
        (tmp_path / name).mkdir()
    (root,) = roots()
    assert (root.path, root.kind, root.home_known) == (os.fsencode(tmp_path / "lib"), RootKind.GRAPH, True)
    own = write(tmp_path / "own.toml", f'root = "{tmp_path}/a"\n')
    assert paths(roots("--config", own)) == [tmp_path / "a"]
    assert paths(roots("--config", own, "--root", tmp_path / "b")) == [tmp_path / "b"]
    write(own, "root = 7\n")
    assert paths(roots("--config", own)) == [tmp_path / "lib"]


def test_a_stopped_one_is_judged_only(tmp_path: Path) -> None:
    for name in ("lib", "b"):
        (tmp_path / name).mkdir()
    where = host(daemon("buildkitd", "--root", tmp_path / "b"))
    buildkit.roots(where, CONFIG)
    where.update(())
    stopped = buildkit.roots(where, CONFIG)
    assert [(root.path, root.home_known) for root in stopped] == [
        (os.fsencode(tmp_path / "b"), False),
        (os.fsencode(tmp_path / "lib"), False),
    ]


def test_a_file_that_cant_be_read_is_a_gap(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    write(tmp_path / "etc/buildkitd.toml", "root = ")
    where = host(daemon("buildkitd"))
    assert paths(buildkit.roots(where, CONFIG)) == [tmp_path / "lib"]
    assert [gap.what for gap in where.take_gaps()] == [f"buildkit's {tmp_path}/etc/buildkitd.toml"]


def test_dockerd_has_one_of_its_own(tmp_path: Path) -> None:
    found = docker.roots(host(daemon("dockerd", "-g", tmp_path)), CONFIG)
    (worker,) = of_layout(found, buildkit.WORKER_LAYOUT)
    (temporary,) = of_layout(found, buildkit.TEMPORARY_LAYOUT)
    assert paths([worker, temporary]) == [tmp_path / "buildkit", tmp_path / "tmp"]
    assert {(root.engine, root.home, root.home_known, root.record) for root in (worker, temporary)} == {
        ("docker", 1, True, ())
    }
