"""Two overlays on one lower tree are compared by their upper directories, with the result of the whole comparison."""

import io
import os
import random
import shutil
import stat
from collections import Counter
from pathlib import Path

import pytest
from mountwarden.graphdriver.beneath import RootDirectory
from mountwarden.graphdriver.changes import compare
from mountwarden.graphdriver.driver import Change, ChangeKind
from mountwarden.graphdriver.idmap import IdMaps
from mountwarden.graphdriver.layout import Layer
from mountwarden.graphdriver.naivediff import NaiveDiff
from mountwarden.graphdriver.overlay import OverlayDriver
from mountwarden.graphdriver.uppers import Uppers, on_one_lower
from mountwarden.kernel import syscalls

from tests.kernel.graphdriver import tars
from tests.kernel.graphdriver.overlays import HOME, image, make
from tests.kernel.graphdriver.random_layers import OPAQUE, RandomChanges

LAYERS = (("init", "base"), ("c", "init"), ("d", "base"))
REDIRECT = "trusted.overlay.redirect"
PAIRS = (("c", "init"), ("init", "c"), ("c", "base"), ("init", "base"), ("d", "init"), ("c", "d"))


def with_option(option: str) -> OverlayDriver:
    """The driver as `make` has it, its mounts with one more option."""
    HOME.mkdir(exist_ok=True)
    options = make()._options + f",{option}".encode()
    return OverlayDriver(bytes(HOME), IdMaps(), "tmpfs", d_type=True, options=options)


def change(driver: OverlayDriver, layer: str, choose: random.Random) -> None:
    """At times some steps in an upper directory that is still empty, then some while it is mounted, once or twice."""
    upper = HOME / layer / "upper"
    if choose.random() < 0.5 and not any(upper.iterdir()):
        RandomChanges(upper, choose).run_in_upper(choose.choice((1, 3, 8)))
    for _ in range(choose.choice((1, 1, 2))):
        path = Path(os.fsdecode(driver.get(layer)))
        RandomChanges(path, choose).run(choose.choice((0, 1, 3, 6, 12)))
        driver.put(layer)


Result = tuple[list[Change], int, bytes] | type[OSError]


def result(differ: NaiveDiff | OverlayDriver, layer: str, parent: str) -> Result:
    """What a comparison says: the changes, their size and their tar; OSError where overlayfs refuses a directory."""
    out = io.BytesIO()
    try:
        changes, size = differ.changes(layer, parent), differ.diff_size(layer, parent)
        differ.diff(layer, parent, out)
    except OSError:
        return OSError
    return changes, size, out.getvalue()


def whole_and_ours(driver: OverlayDriver, layer: str, parent: str) -> tuple[Result, Result]:
    """What both comparisons say of a pair."""
    return result(NaiveDiff(driver, driver.maps), layer, parent), result(driver, layer, parent)


def check(seed: int, seen: Counter[str]) -> None:
    """Random layers of one seed: each pair has the same result by both comparisons."""
    choose = random.Random(seed)
    driver = with_option(f"redirect_dir={choose.choice(('on', 'on', 'off'))}")
    driver.create("base")
    for path in ("a/a/a", "a/b/a", "b/a/a", "b/b/b", "c/c"):
        (HOME / "base/root" / path).mkdir(parents=True)
        (HOME / "base/root" / path / "d").write_text("lower")
    RandomChanges(HOME / "base/root", choose).run(choose.choice((0, 10, 30)))
    for layer, parent in LAYERS:
        driver.create(layer, parent)
        change(driver, layer, choose)
    for layer, _ in LAYERS:  # so that each is mounted once, anew, for all that follows
        driver.get(layer)
    for layer, parent in PAIRS:
        assert on_one_lower(Layer(bytes(HOME / layer)), Layer(bytes(HOME / parent))), (
            "the whole trees would be compared"
        )
        whole, ours = whole_and_ours(driver, layer, parent)
        assert ours == whole, f"seed {seed}, {layer} and {parent}"
        seen["refused" if isinstance(whole, type) else layer if whole[0] else "same"] += 1
    uppers = (HOME / layer / "upper" for layer, _ in LAYERS)
    seen.update({name for upper in uppers for directory, _, _ in os.walk(upper) for name in os.listxattr(directory)})
    for layer in driver.layers():
        driver.remove(layer)


@pytest.mark.parametrize(
    "seeds", [range(20), pytest.param(range(1000, 2000), marks=(pytest.mark.long, pytest.mark.timeout(600)))], ids=len
)
def test_the_result_is_that_of_the_whole_comparison(seeds: range) -> None:
    seen: Counter[str] = Counter()
    for seed in seeds:
        check(seed, seen)
    assert all(seen[what] for what in ("c", "d", "init", OPAQUE, REDIRECT)), seen


def test_an_opaque_and_a_redirected_directory_are_compared_whole_and_so_is_all_below() -> None:
    driver = with_option("redirect_dir=on")
    entries = [tars.directory(d) for d in ("moved", "moved/sub", "gone", "gone/sub", "other", "other/sub")]
    files = [
        ("moved/sub/f", b"1"),
        ("moved/g", b"2"),
        ("gone/sub/f", b"3"),
        ("other/g", b"longer"),
        ("other/sub/h", b"5"),
    ]
    image(driver, "base", "", *entries, *files)
    driver.create("c", "base")
    path = Path(os.fsdecode(driver.get("c")))
    shutil.rmtree(path / "other")
    (path / "moved").rename(path / "other")
    (path / "gone/sub/f").unlink()
    (path / "gone/sub").rmdir()
    (path / "gone/sub").mkdir()
    assert os.getxattr(HOME / "c/upper/other", REDIRECT)
    assert os.getxattr(HOME / "c/upper/gone/sub", OPAQUE) == b"y"
    whole, ours = whole_and_ours(driver, "c", "base")
    assert ours == whole
    assert [os.fsdecode(change.path) for change in driver.changes("c", "base")] == [
        "/gone", "/gone/sub", "/gone/sub/f", "/moved", "/other", "/other/g", "/other/sub", "/other/sub/f",
        "/other/sub/h",
    ]  # fmt: skip


def test_only_names_in_an_upper_directory_are_looked_at() -> None:
    for tree in ("new", "old"):
        for name in ("d/in", "d/out", "e/out", "top"):
            path = Path("/mnt", tree, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(tree * (1 + (tree == "new")))
    for name in ("one/d/in", "one/d/whiteout", "two/top"):
        path = Path("/mnt", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    roots = (RootDirectory(b"/mnt/%b" % name) for name in (b"new", b"old", b"one", b"two"))
    with next(roots) as new, next(roots) as old, next(roots) as one, next(roots) as two:
        by_upper = compare(new, old, Uppers([one, two]))
        assert [change.path for change in by_upper] == [b"/d", b"/d/in", b"/top"]
        assert [change.path for change in compare(new, old)] == [
            b"/d", b"/d/in", b"/d/out", b"/e", b"/e/out", b"/top",
        ]  # fmt: skip


def test_layers_on_different_images_are_compared_whole() -> None:
    driver = make()
    image(driver)
    image(driver, "two", "base", ("g", b"other"))
    driver.create("a", "base")
    driver.create("b", "two")
    whole, ours = whole_and_ours(driver, "b", "a")
    assert ours == whole
    assert [os.fsdecode(change.path) for change in driver.changes("b", "a")] == ["/g"]
    assert [os.fsdecode(change.path) for change in driver.changes("b", "base")] == ["/g"]
    assert [os.fsdecode(change.path) for change in driver.changes("two", "base")] == ["/g"]
    assert driver.changes("a", "two") != []


def test_with_an_index_a_name_in_no_upper_directory_can_differ() -> None:
    """A file changes with its hard link, which is in no upper directory."""
    driver = with_option("index=on,nfs_export=off")
    image(driver, "base", "", ("f", b"1"), tars.hardlink("same", "f"))
    driver.create("c", "base")
    path = Path(os.fsdecode(driver.get("c")))
    (path / "f").write_text("changed")
    assert (path / "same").read_text() == "changed"
    assert not (HOME / "c/upper/same").exists()
    assert [os.fsdecode(change.path) for change in driver.changes("c", "base")] == ["/f", "/same"]


def test_a_whiteout_in_the_image_itself_is_no_change_of_a_container() -> None:
    """The container never had such a name. The whole comparison sees it go; here it is not even read."""
    driver = make()
    image(driver)
    os.mknod(HOME / "base/root/whiteout", stat.S_IFCHR, 0)
    driver.create("c", "base")
    assert driver.changes("c", "base") == []
    assert NaiveDiff(driver, driver.maps).changes("c", "base") == [Change(b"/whiteout", ChangeKind.DELETE)]


@pytest.mark.parametrize("mounted", ["c/upper", "c/upper/d"])
def test_what_somebody_else_mounted_hides_no_change(mounted: str) -> None:
    driver = make()
    image(driver)
    driver.create("c", "base")
    path = Path(os.fsdecode(driver.get("c")))
    (path / "d/f").write_text("changed")
    (path / "d/new").touch()
    syscalls.mount(b"tmpfs", bytes(HOME / mounted), b"tmpfs")
    assert [os.fsdecode(change.path) for change in driver.changes("c", "base")] == ["/d", "/d/f", "/d/new"]
