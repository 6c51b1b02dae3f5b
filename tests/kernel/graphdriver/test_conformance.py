"""What every graphdriver must do. A driver is added to `DRIVERS` by a function that makes one in the sandbox."""

import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mountwarden.graphdriver.driver import Change, ChangeKind, Driver, GraphdriverError
from mountwarden.graphdriver.idmap import IdMap
from mountwarden.graphdriver.overlay import OverlayDriver

from tests.kernel.graphdriver import client, tars
from tests.kernel.graphdriver.copydriver import CopyDriver

Make = Callable[[], Driver]
MAPS = (IdMap(0, 100_000, 65_536),)


def overlay() -> Driver:
    return OverlayDriver.init("/mnt/home", load_module=False)


def overlay_by_walk() -> Driver:
    """As before Linux 5.6, where openat2 is missing."""
    from mountwarden.graphdriver.beneath import RootDirectory

    RootDirectory.openat2_works = False
    return overlay()


def remapped() -> Driver:
    return OverlayDriver.init("/mnt/home", (), MAPS, MAPS, load_module=False)


def plugin() -> Driver:
    driver = client.PluginClient(client.start("/mnt/run")[1])
    driver.init("/mnt/home")
    return driver


def copy() -> Driver:
    return CopyDriver(b"/mnt/home")


DRIVERS = (overlay, overlay_by_walk, remapped, plugin, copy)


@pytest.fixture(params=DRIVERS, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    value: Make = request.param
    return value


BASE = (
    tars.directory("etc"),
    ("etc/passwd", b"root\n"),
    ("etc/gone", b"soon"),
    tars.directory("usr"),
    tars.directory("usr/lib"),
    ("usr/lib/big", b"0123456789" * 10_000),
    tars.symlink("lib", "usr/lib"),
)


def image(driver: Driver, layer: str = "base", *entries: tars.Entry, parent: str = "") -> None:
    driver.create(layer, parent)
    driver.apply_diff(layer, parent, tars.tar(*(entries or BASE)))


class Got:
    """A layer's tree, got and put. What the test made in it belongs to the container's root, as if made inside."""

    def __init__(self, driver: Driver, layer: str) -> None:
        self._driver, self._layer = driver, layer

    def __enter__(self) -> Path:
        self._path = Path(os.fsdecode(self._driver.get(self._layer)))
        return self._path

    def __exit__(self, *exception: object) -> None:
        owner = self._path.stat().st_uid
        for directory, names, files in os.walk(self._path) if owner else ():
            for path in (os.path.join(directory, name) for name in names + files):
                if os.lstat(path).st_uid == 0:
                    os.lchown(path, owner, owner)
        self._driver.put(self._layer)


def shown(changes: list[Change]) -> list[str]:
    return [f"{change.kind.name} {os.fsdecode(change.path)}" for change in changes]


def test_an_empty_layer_is_an_empty_directory_of_root(make: Make) -> None:
    driver = make()
    driver.create("empty")
    assert driver.exists("empty")
    with Got(driver, "empty") as path:
        assert list(path.iterdir()) == []
        assert path.stat().st_mode & 0o7777 == 0o755
    driver.remove("empty")
    assert not driver.exists("empty")


def test_a_missing_layer_is_told_and_its_removal_is_no_error(make: Make) -> None:
    driver = make()
    assert not driver.exists("none")
    driver.remove("none")
    for call in (driver.get, driver.get_metadata, lambda layer: driver.apply_diff(layer, "", tars.tar())):
        with pytest.raises(GraphdriverError, match="no layer none"):
            call("none")


def test_a_missing_parent_leaves_no_layer(make: Make) -> None:
    driver = make()
    with pytest.raises(GraphdriverError, match="no layer absent"):
        driver.create("child", "absent")
    assert not driver.exists("child")


@pytest.mark.parametrize("layer", ["", ".", "..", "a/b", "../home", "-x", "a\n", "x" * 300])
def test_an_id_that_is_no_name_is_refused(make: Make, layer: str) -> None:
    driver = make()
    with pytest.raises(GraphdriverError, match="no layer id"):
        driver.create(layer)
    assert os.listdir("/mnt/home") == []


def test_options_for_one_layer_are_refused(make: Make) -> None:
    driver = make()
    with pytest.raises(GraphdriverError, match="--storage-opt is not supported"):
        driver.create("sized", storage_opt={"size": "1G"})
    assert not driver.exists("sized")


def test_a_layer_holds_what_was_applied(make: Make) -> None:
    driver = make()
    driver.create("base")
    assert driver.apply_diff("base", "", tars.tar(*BASE)) == 5 + 4 + 100_000
    with Got(driver, "base") as path:
        assert (path / "etc/passwd").read_bytes() == b"root\n"
        assert (path / "lib/big").read_bytes() == b"0123456789" * 10_000
        assert os.readlink(path / "lib") == "usr/lib"
        assert (path / "etc/passwd").stat().st_mtime == tars.TIME
        assert (path / "usr/lib").stat().st_mtime == tars.TIME


def test_a_child_sees_its_parent_and_does_not_change_it(make: Make) -> None:
    driver = make()
    image(driver)
    driver.create("child", "base")
    with Got(driver, "child") as path:
        assert (path / "etc/passwd").read_bytes() == b"root\n"
        (path / "etc/passwd").write_text("changed")
        (path / "etc/gone").unlink()
        (path / "new").write_text("new")
    with Got(driver, "base") as path:
        assert (path / "etc/passwd").read_bytes() == b"root\n"
        assert (path / "etc/gone").exists()
        assert not (path / "new").exists()
    with Got(driver, "child") as path:
        assert (path / "etc/passwd").read_text() == "changed"
        assert not (path / "etc/gone").exists()


def test_a_grandchild_starts_from_what_the_child_wrote(make: Make) -> None:
    driver = make()
    image(driver)
    driver.create("init", "base")
    with Got(driver, "init") as path:
        (path / "etc/hosts").write_text("hosts")
        (path / "etc/gone").unlink()
        os.setxattr(path / "etc/hosts", "user.note", b"kept")
    driver.create("container", "init")
    with Got(driver, "container") as path:
        assert (path / "etc/hosts").read_text() == "hosts"
        assert os.getxattr(path / "etc/hosts", "user.note") == b"kept"
        assert not (path / "etc/gone").exists()
        assert (path / "etc/passwd").exists()
        (path / "etc/hosts").write_text("mine")
    with Got(driver, "init") as path:
        assert (path / "etc/hosts").read_text() == "hosts"
    assert shown(driver.changes("container", "init")) == ["MODIFY /etc", "MODIFY /etc/hosts"]


def test_changes_name_each_path_once_and_in_order(make: Make) -> None:
    driver = make()
    image(driver)
    driver.create("child", "base")
    with Got(driver, "child") as path:
        (path / "etc/passwd").write_text("changed")
        (path / "etc/gone").unlink()
        (path / "usr/new").mkdir()
        (path / "usr/new/deep").write_text("x")
        (path / "usr/lib/big").chmod(0o600)
        os.setxattr(path / "usr", "user.note", b"1")
    assert shown(driver.changes("child", "base")) == [
        "MODIFY /etc",
        "DELETE /etc/gone",
        "MODIFY /etc/passwd",
        "MODIFY /usr",
        "MODIFY /usr/lib",
        "MODIFY /usr/lib/big",
        "ADD /usr/new",
        "ADD /usr/new/deep",
    ]
    assert driver.diff_size("child", "base") == len("changed") + 100_000 + 1


def test_an_attribute_alone_is_a_change(make: Make) -> None:
    driver = make()
    image(driver)
    driver.create("child", "base")
    with Got(driver, "child") as path:
        os.setxattr(path / "etc/passwd", "user.note", b"1")
    assert shown(driver.changes("child", "base")) == ["MODIFY /etc", "MODIFY /etc/passwd"]


def test_no_change_is_no_change(make: Make) -> None:
    driver = make()
    image(driver)
    driver.create("child", "base")
    with Got(driver, "child") as path:
        (path / "etc/passwd").read_bytes()
    assert driver.changes("child", "base") == []
    assert driver.diff_size("child", "base") == 0
    out = io.BytesIO()
    driver.diff("child", "base", out)
    assert out.getvalue() == bytes(1024)


def test_a_type_change_is_one_change(make: Make) -> None:
    driver = make()
    image(driver)
    driver.create("child", "base")
    with Got(driver, "child") as path:
        (path / "lib").unlink()
        (path / "lib").mkdir()
        (path / "lib/inside").write_text("x")
        (path / "usr/lib/big").unlink()
        (path / "usr/lib").rmdir()
        (path / "usr/lib").symlink_to("/etc")
    assert shown(driver.changes("child", "base")) == [
        "MODIFY /lib",
        "ADD /lib/inside",
        "MODIFY /usr",
        "MODIFY /usr/lib",
    ]
    assert _moved(driver, "child", "base") == _seen(driver, "child")


def _moved(driver: Driver, layer: str, parent: str) -> dict[str, str]:
    """The layer's difference, applied to a new layer on the same parent."""
    out = io.BytesIO()
    driver.diff(layer, parent, out)
    out.seek(0)
    driver.create("moved", parent)
    driver.apply_diff("moved", parent, out)
    assert driver.changes("moved", layer) == []
    return _seen(driver, "moved")


def _seen(driver: Driver, layer: str) -> dict[str, str]:
    with Got(driver, layer) as path:
        return tars.tree(str(path))


def test_a_difference_makes_the_same_tree_elsewhere(make: Make) -> None:
    driver = make()
    image(driver)
    driver.create("child", "base")
    with Got(driver, "child") as path:
        (path / "etc/passwd").write_text("changed")
        (path / "etc/gone").unlink()
        (path / "a").mkdir(0o711)
        (path / "a/file").write_text("content")
        os.link(path / "a/file", path / "a/link")
        os.mkfifo(path / "a/fifo")
        os.utime(path / "a/file", ns=(1, 1_234_567_890_123_456_789))
    assert _moved(driver, "child", "base") == _seen(driver, "child")


def test_a_whole_layer_as_a_difference_with_nothing(make: Make) -> None:
    driver = make()
    image(driver)
    out = io.BytesIO()
    driver.diff("base", "", out)
    assert tars.names(out) == ["etc", "etc/gone", "etc/passwd", "lib", "usr", "usr/lib", "usr/lib/big"]
    assert {c.kind for c in driver.changes("base")} == {ChangeKind.ADD}


def test_getting_twice_wants_putting_twice(make: Make) -> None:
    driver = make()
    image(driver)
    driver.create("child", "base")
    first, second = driver.get("child"), driver.get("child")
    assert first == second
    driver.put("child")
    assert os.path.exists(os.path.join(os.fsdecode(first), "etc/passwd"))
    driver.put("child")
    with Got(driver, "child") as path:
        assert (path / "etc/passwd").exists()


def test_putting_without_getting_is_no_error(make: Make) -> None:
    driver = make()
    image(driver)
    driver.create("child", "base")
    driver.put("child")
    driver.put("base")
    with Got(driver, "child") as path:
        assert (path / "etc/passwd").exists()


def test_removing_what_is_in_use(make: Make) -> None:
    driver = make()
    image(driver)
    driver.create("child", "base")
    driver.get("child")
    driver.remove("child")
    assert not driver.exists("child")
    driver.create("child", "base")
    with Got(driver, "child") as path:
        assert (path / "etc/passwd").exists()
    driver.put("child")


def test_a_broken_stream_can_be_followed_by_a_good_one(make: Make) -> None:
    driver = make()
    image(driver)
    good = tars.tar(("etc/more", b"x" * 5000)).getvalue()
    driver.create("child", "base")
    with pytest.raises(GraphdriverError, match="ends in the middle"):
        driver.apply_diff("child", "base", io.BytesIO(good[:2000]))
    driver.remove("child")
    driver.create("child", "base")
    driver.apply_diff("child", "base", io.BytesIO(good))
    with Got(driver, "child") as path:
        assert (path / "etc/more").stat().st_size == 5000


@pytest.mark.timeout(120)
def test_125_layers_deep(make: Make) -> None:
    driver = make()
    image(driver, "l0", tars.directory("d"), ("d/0", b"0"))
    for number in range(1, 125):
        entries = [(f"d/{number}", b"%d" % number)] + [(f"d/.wh.{number - 2}", b"")] * (number % 10 == 0)
        image(driver, f"l{number}", *entries, parent=f"l{number - 1}")
    driver.create("top", "l124")
    with Got(driver, "top") as path:
        found = tars.contents(str(path))
    assert found == {f"d/{n}": b"%d" % n for n in range(125) if not (n % 10 == 8 and n < 123)}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.long)])
def test_thousands_of_files(make: Make, count: int) -> None:
    driver = make()
    image(driver, "base", *tars.many(count))
    driver.create("child", "base")
    with Got(driver, "child") as path:
        for number in range(0, count, 3):
            (path / f"d{number // 100}/f{number}").unlink()
        for number in range(1, count, 3):
            (path / f"d{number // 100}/f{number}").write_bytes(b"changed %d" % number)
        for number in range(count // 3):
            (path / f"new{number}").write_bytes(b"n")
    found = driver.changes("child", "base")
    kinds = [change.kind for change in found]
    assert (kinds.count(ChangeKind.DELETE), kinds.count(ChangeKind.ADD), kinds.count(ChangeKind.MODIFY)) == (
        count // 3, count // 3, count // 3 + count // 100)  # fmt: skip
    assert [c.path for c in found] == sorted(c.path for c in found)
    assert _moved(driver, "child", "base") == _seen(driver, "child")


def test_used_from_many_threads_at_once(make: Make) -> None:
    driver = make()
    image(driver)
    barrier = threading.Barrier(8)

    def work(number: int) -> str:
        barrier.wait()
        driver.create(f"c{number}", "base")
        for _ in range(5):
            with Got(driver, f"c{number}") as path:
                (path / "mine").write_text(str(number))
        image(driver, f"i{number}", ("file", b"%d" % number), parent="base")
        with Got(driver, f"c{number}") as path:
            text = (path / "mine").read_text()
        driver.remove(f"c{number}")
        return text

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [str(number) for number in range(8)]
    assert all(driver.exists(f"i{number}") and not driver.exists(f"c{number}") for number in range(8))


def test_one_layer_from_many_threads_at_once(make: Make) -> None:
    driver = make()
    image(driver)
    driver.create("shared", "base")
    barrier = threading.Barrier(6)

    def work(number: int) -> bool:
        barrier.wait()
        good = True
        for _ in range(10):
            with Got(driver, "shared") as path:
                good &= (path / "etc/passwd").exists()
        return good

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))


def test_cleanup_lets_everything_go(make: Make) -> None:
    driver = make()
    image(driver)
    for number in range(3):
        driver.create(f"c{number}", "base")
        driver.get(f"c{number}")
    driver.cleanup()
    assert "/mnt/home/" not in Path("/proc/self/mountinfo").read_text()
    with Got(driver, "c0") as path:
        assert (path / "etc/passwd").exists()
