"""The cache of trees: what names them, and that a build is made once and whole, or not at all."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import packages, tree
from tests.support.scratch_ns import in_child
from tests.support.wait import wait_until


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOUNTWARDEN_CACHE", str(tmp_path))
    monkeypatch.setattr(tree, "obstacle", lambda *_of: None)
    return tmp_path


def test_a_name_stands_for_suite_packages_and_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {tree.path(), tree.path("trixie"), tree.path(packages.TODAY), tree.path(extras=["metrics"])}
    monkeypatch.setattr(tree, "BASE", (*packages.BASE, "hello"))
    names.add(tree.path())
    monkeypatch.setattr(tree, "RECIPE", "other")
    names.add(tree.path())
    assert len(names) == 6
    assert tree.path() == tree.path(tree.SUITE, [])


def test_a_failed_build_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(root: Path, _suite: str, _wanted: Sequence[str]) -> None:
        root.mkdir()
        raise tree.TreeError("no mirror")

    monkeypatch.setattr(tree, "_debootstrap", fail)
    with pytest.raises(tree.TreeError, match="no mirror"):
        tree.tree()
    assert [name for name in os.listdir(cache / "trees") if not name.endswith(".lock")] == []


def test_what_a_killed_build_left_is_removed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = cache / "trees" / f".{tree.path().name}.build-killed"
    left.mkdir(parents=True)
    monkeypatch.setattr(tree, "_debootstrap", lambda root, _suite, _wanted: root.mkdir())
    monkeypatch.setattr(tree, "_furnish", lambda _root: None)
    assert tree.tree().is_dir()
    assert not left.exists()


def test_without_a_suite_both_are_built_whatever_comes_of_one(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(root: Path, suite: str, _wanted: Sequence[str]) -> None:
        wait_until(lambda: len(list(cache.glob("trees/.*.build-*"))) == 2 or (cache / "one").exists(), 10, "the other")
        (cache / "one").touch()
        if suite == packages.TODAY:
            raise tree.TreeError("no mirror")
        root.mkdir()

    monkeypatch.setattr(tree, "BOTH", ("bookworm", packages.TODAY))
    monkeypatch.setattr(tree, "_debootstrap", build)
    monkeypatch.setattr(tree, "_furnish", lambda _root: None)
    assert tree.main([]) == 1
    told = capsys.readouterr()
    assert told.out == f"{tree.path('bookworm')}\n"
    assert tree.path("bookworm").is_dir()
    assert f"test host: {packages.TODAY}: no mirror\n" in told.err


def test_two_runs_share_one_build(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes while the first builds, and finds the tree there when it gets the lock."""

    def build(root: Path, _suite: str, _wanted: Sequence[str]) -> None:
        with open(cache / "builds", "a") as log:
            log.write("built\n")
        wait_until(lambda: _waiters(tree.path()) == 1, what="the other run waits for the lock")
        root.mkdir()

    monkeypatch.setattr(tree, "_debootstrap", build)
    monkeypatch.setattr(tree, "_furnish", lambda _root: None)
    other = os.fork()
    if other == 0:
        wait_until(lambda: (cache / "builds").exists())
        os._exit(0 if tree.tree().is_dir() else 1)
    assert in_child(lambda: tree.tree().is_dir())
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0
    assert (cache / "builds").read_text() == "built\n"


def _waiters(place: Path) -> int:
    """/proc/locks shows who waits for a lock with an arrow."""
    inode = f":{os.stat(place.parent / f'.{place.name}.lock').st_ino} "
    return sum("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())
