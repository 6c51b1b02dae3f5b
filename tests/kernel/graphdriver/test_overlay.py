"""What is the overlay driver's own: its home, its layout on disk, its mounts, and how it lets go of them."""

import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from mountwarden.graphdriver import homes, support
from mountwarden.graphdriver.driver import GraphdriverError, LayerExists, NotSupported
from mountwarden.graphdriver.idmap import IdMap
from mountwarden.graphdriver.overlay import OverlayDriver
from mountwarden.kernel import abi, calls

from tests.kernel.graphdriver import tars
from tests.support.scratch_ns import Namespace, hold

HOME = Path("/mnt/home")
MAPS = (IdMap(0, 100_000, 65_536),)


def make(**maps: tuple[IdMap, ...]) -> OverlayDriver:
    return OverlayDriver.init(str(HOME), load_module=False, **maps)


def image(driver: OverlayDriver, layer: str = "base", parent: str = "", *entries: tars.Entry) -> None:
    driver.create(layer, parent)
    driver.apply_diff(layer, parent, tars.tar(*(entries or (tars.directory("d"), ("d/f", b"1"), ("g", b"2")))))


def mountinfo(of: Path = HOME) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{of}/" in line]


# The home


@pytest.mark.parametrize("made_before", [False, True])
def test_the_home_is_roots_alone(made_before: bool) -> None:
    if made_before:
        os.mkdir(HOME, 0o755)
        os.chown(HOME, 5, 6)
    make()
    assert tars.describe(HOME) == "drwx------ 0:0"


def test_the_home_belongs_to_the_remapped_root() -> None:
    driver = OverlayDriver.init("/mnt/a/home", (), MAPS, MAPS, load_module=False)
    assert {tars.describe(Path(p)) for p in ("/mnt/a", "/mnt/a/home")} == {"drwx------ 100000:100000"}
    image(driver)
    driver.create("c", "base")
    driver.get("c")
    work = Path("/mnt/a/home/c/work/work").stat()
    assert (work.st_uid, work.st_gid) == (100_000, 100_000)
    assert Path("/mnt/a/home/c/merged/d/f").stat().st_uid == 100_000


def test_the_home_and_its_parent_keep_their_propagation() -> None:
    """The heart of it: no mount of its own on the home, nothing made private, before or after layers are in use."""
    calls.mount(None, b"/mnt", None, abi.MS_SHARED)
    before = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " /mnt " in line]
    driver = make()
    image(driver)
    driver.create("c", "base")
    driver.get("c")
    (layer,) = mountinfo()
    assert " shared:" in layer
    driver.put("c")
    driver.cleanup()
    assert mountinfo() == []
    assert [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " /mnt " in line] == before


def test_a_second_start_on_a_used_home() -> None:
    image(make())
    assert make().layers() == ["base"]


def test_status_and_name() -> None:
    assert make().status() == [("Backing Filesystem", "tmpfs"), ("Supports d_type", "true")]
    assert str(make()) == "overlay"


def disk(command: str, at: str = "/mnt/disk") -> None:
    """A file system of its own on a file; the loop device goes with its mount."""
    with open("/mnt/image", "wb") as file:
        file.truncate(128 << 20)
    subprocess.run([*command.split(), "/mnt/image"], check=True, capture_output=True)
    os.mkdir(at)
    subprocess.run(["mount", "-o", "loop", "/mnt/image", at], check=True)


def test_an_overlay_below_the_home_is_refused() -> None:
    for name in ("l", "u", "w", "m"):
        os.mkdir(f"/mnt/{name}")
    calls.mount(b"overlay", b"/mnt/m", b"overlay", 0, b"lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w")
    for home in ("/mnt/m", "/mnt/m/not/yet"):
        with pytest.raises(NotSupported, match="'overlay' is not supported over overlayfs"):
            OverlayDriver.init(home, load_module=False)
    assert os.listdir("/mnt/m") == []


@pytest.mark.parametrize("name", ["aufs", "btrfs", "ecryptfs", "nfs", "overlayfs", "zfs"])
def test_file_systems_that_are_refused_by_their_magic(name: str) -> None:
    (magic,) = (number for number, known in support.FILE_SYSTEMS.items() if known == name)
    with pytest.raises(NotSupported, match=f"not supported over {name}"):
        support.require_backing(magic)


def test_btrfs_is_refused() -> None:
    if not shutil.which("mkfs.btrfs"):
        pytest.skip("needs mkfs.btrfs: apt install btrfs-progs")
    disk("mkfs.btrfs -q")
    with pytest.raises(NotSupported, match="not supported over btrfs"):
        OverlayDriver.init("/mnt/disk/home", load_module=False)
    calls.umount(b"/mnt/disk")


def test_no_d_type_is_refused_but_for_a_home_in_use(caplog: pytest.LogCaptureFixture) -> None:
    if not shutil.which("mkfs.ext4"):
        pytest.skip("needs mkfs.ext4: apt install e2fsprogs")
    disk("mkfs.ext4 -q -O ^filetype")
    try:
        with pytest.raises(NotSupported, match=r"needs d_type.*filetype"):
            OverlayDriver.init("/mnt/disk/home", load_module=False)
        assert not os.path.exists("/mnt/disk/home")
        os.makedirs("/mnt/disk/home/old/root")
        with caplog.at_level(logging.WARNING):
            driver = OverlayDriver.init("/mnt/disk/home", load_module=False)
        assert "ignoring" in caplog.text
        assert driver.status() == [("Backing Filesystem", "extfs"), ("Supports d_type", "false")]
        assert driver.layers() == ["old"]
    finally:
        calls.umount(b"/mnt/disk")


def test_ext4_all_the_way() -> None:
    """Layers on a disk's file system: hard links, the mount, the difference."""
    if not shutil.which("mkfs.ext4"):
        pytest.skip("needs mkfs.ext4: apt install e2fsprogs")
    disk("mkfs.ext4 -q")
    try:
        driver = OverlayDriver.init("/mnt/disk/home", load_module=False)
        image(driver)
        image(driver, "two", "base", ("n", b"3"))
        driver.create("c", "two")
        path = Path(os.fsdecode(driver.get("c")))
        assert (path / "g").read_bytes() == b"2"
        (path / "d/f").write_text("changed")
        driver.put("c")
        assert [os.fsdecode(c.path) for c in driver.changes("c", "two")] == ["/d", "/d/f"]
        assert Path("/mnt/disk/home/base/root/g").samefile("/mnt/disk/home/two/root/g")
        for layer in driver.layers():
            driver.remove(layer)
        assert os.listdir("/mnt/disk/home") == []
    finally:
        calls.umount(b"/mnt/disk")


def test_a_kernel_without_overlay() -> None:
    Path("/mnt/filesystems").write_text("nodev\ttmpfs\n\text4\nnodev\toverlayx\n")
    with pytest.raises(NotSupported, match="no file system 'overlay'"):
        support.require_overlay("/mnt/filesystems")
    Path("/mnt/filesystems").write_text("nodev\ttmpfs\nnodev\toverlay\n")
    support.require_overlay("/mnt/filesystems")


def test_features_that_are_on_by_default_are_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "default_on", lambda name: name in ("index", "metacopy"))
    driver = make()
    image(driver)
    driver.create("c", "base")
    driver.get("c")
    assert homes.mount_options() == b",index=off,metacopy=off"
    assert len(mountinfo()) == 1


def test_a_home_with_a_path_too_long_is_refused_at_once() -> None:
    home = "/mnt" + "/h" * 500
    with pytest.raises(GraphdriverError, match="too long"):
        OverlayDriver.init(home + home, load_module=False)


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\\b", "a b", "é\n:,\\"])
def test_a_home_with_any_name(name: str) -> None:
    driver = OverlayDriver.init(f"/mnt/{name}", load_module=False)
    image(driver)
    driver.create("c", "base")
    path = os.fsdecode(driver.get("c"))
    assert path == f"/mnt/{name}/c/merged"
    assert Path(path, "d/f").read_bytes() == b"1"
    driver.put("c")


# The layout


def test_the_layout_of_an_image() -> None:
    driver = make()
    image(driver)
    assert sorted(os.listdir(HOME / "base")) == ["parent", "root"]
    assert tars.describe(HOME / "base") == "drwx------ 0:0"
    assert tars.describe(HOME / "base/root") == "drwxr-xr-x 0:0"
    assert driver.get_metadata("base") == {"RootDir": f"{HOME}/base/root"}
    assert driver.get("base") == b"/mnt/home/base/root"


def test_the_layout_of_a_container() -> None:
    driver = make()
    image(driver)
    (HOME / "base/root").chmod(0o751)
    driver.create_read_write("c", "base")
    assert sorted(os.listdir(HOME / "c")) == ["lower-id", "parent", "upper", "work"]
    assert (HOME / "c/lower-id").read_text() == "base"
    assert tars.describe(HOME / "c/upper") == "drwxr-x--x 0:0"
    assert tars.describe(HOME / "c/work") == "drwx------ 0:0"
    driver.get("c")
    assert driver.get_metadata("c") == {
        "LowerDir": f"{HOME}/base/root",
        "UpperDir": f"{HOME}/c/upper",
        "WorkDir": f"{HOME}/c/work",
        "MergedDir": f"{HOME}/c/merged",
    }


def test_a_parent_without_a_root_passes_on_its_image_and_its_upper() -> None:
    driver = make()
    image(driver)
    driver.create("init", "base")
    path = Path(os.fsdecode(driver.get("init")))
    (path / "d/f").write_text("mine")
    (path / "g").unlink()
    shutil.rmtree(path / "d")
    (path / "d").mkdir(mode=0o700)
    driver.put("init")
    driver.create("c", "init")
    assert (HOME / "c/lower-id").read_text() == "base"
    assert tars.describe(HOME / "c/upper/g").endswith(" 0:0")
    assert os.getxattr(HOME / "c/upper/d", "trusted.overlay.opaque") == b"y"
    assert tars.tree(os.fsdecode(driver.get("c"))) == {"d": "drwx------ 0:0"}
    assert driver.parent("c") == "init"


def test_an_image_on_an_image_shares_its_files_but_no_directory() -> None:
    driver = make()
    image(driver)
    image(driver, "two", "base", ("d/new", b"n"), (".wh.g", b""))
    assert (HOME / "two/root/d/f").samefile(HOME / "base/root/d/f")
    assert not (HOME / "two/root/d").samefile(HOME / "base/root/d")
    assert sorted(os.listdir(HOME / "two")) == ["parent", "root"]
    assert set(tars.contents(str(HOME / "base/root"))) == {"d/f", "g"}


def test_a_file_that_is_applied_over_a_shared_one_leaves_the_image_below_alone() -> None:
    driver = make()
    image(driver)
    image(driver, "two", "base", tars.directory("d", mode=0o700, mtime=5), ("g", b"other"))
    assert (HOME / "base/root/g").read_bytes() == b"2"
    assert (HOME / "base/root/d").stat().st_mode & 0o777 == 0o755
    assert (HOME / "two/root/g").read_bytes() == b"other"


def test_a_parent_without_a_root_makes_apply_go_through_the_mount() -> None:
    driver = make()
    image(driver)
    driver.create("rw", "base")
    driver.create("child", "rw")
    driver.apply_diff("child", "rw", tars.tar(("n", b"3"), (".wh.g", b""), ("d/.wh..wh..opq", b"")))
    assert not (HOME / "child/root").exists()
    assert mountinfo() == []
    assert tars.contents(os.fsdecode(driver.get("child"))) == {"n": b"3"}


def test_a_layer_of_the_same_id_is_refused_and_kept() -> None:
    driver = make()
    image(driver)
    with pytest.raises(LayerExists, match="base exists already"):
        driver.create("base")
    image(driver, "two", "base")
    with pytest.raises(LayerExists, match="applied already"):
        driver.apply_diff("two", "base", tars.tar(("x", b"")))
    assert (HOME / "base/root/g").read_bytes() == b"2"


def test_what_a_killed_create_left_goes_at_the_next_start() -> None:
    make()
    (HOME / ".new-x-1/root/deep").mkdir(parents=True)
    assert make().layers() == []
    assert os.listdir(HOME) == []


# Mounts


def test_merged_is_there_only_while_the_layer_is_in_use() -> None:
    driver = make()
    image(driver)
    driver.create("c", "base")
    assert driver.mounted() == []
    path = driver.get("c")
    assert path == b"/mnt/home/c/merged"
    assert driver.mounted() == ["c"]
    assert driver.put("c") == 0
    assert not os.path.exists(path)
    assert mountinfo() == []


def test_uses_are_counted() -> None:
    driver = make()
    image(driver)
    driver.create("c", "base")
    driver.get("c")
    driver.get("c")
    assert len(mountinfo()) == 1
    assert driver.put("c") == 1
    assert len(mountinfo()) == 1
    assert driver.put("c") == 0
    assert mountinfo() == []


def test_a_fresh_process_counts_what_is_mounted_as_one_use() -> None:
    old = make()
    image(old)
    old.create("c", "base")
    old.get("c")
    new = make()
    new.get("c")
    assert len(mountinfo()) == 1
    assert new.put("c") == 1
    assert new.put("c") == 0
    assert mountinfo() == []
    old = make()
    old.create("d", "base")
    old.get("d")
    assert make().put("d") == 0
    assert mountinfo() == []


def test_a_failed_get_leaves_nothing() -> None:
    driver = make()
    image(driver)
    driver.create("c", "base")
    shutil.rmtree(HOME / "base/root")
    for _ in range(2):
        with pytest.raises(GraphdriverError, match="cannot mount the overlay"):
            driver.get("c")
    assert not (HOME / "c/merged").exists()
    assert mountinfo() == []
    (HOME / "base/root").mkdir()
    driver.get("c")
    assert driver.put("c") == 0


def test_a_mount_label_goes_to_the_kernel() -> None:
    """Without SELinux the kernel refuses it, which shows that it was asked; with it the mount has it."""
    driver = make()
    image(driver)
    driver.create("c", "base")
    label = "system_u:object_r:container_file_t:s0:c1,c2"
    try:
        driver.get("c", label)
    except GraphdriverError as error:
        assert "Invalid argument" in str(error)  # noqa: PT017
        assert not (HOME / "c/merged").exists()
    else:
        assert "context=" in mountinfo()[0]


def test_remove_takes_the_mount_too_and_waits_for_what_is_busy() -> None:
    driver = make()
    image(driver)
    driver.create("c", "base")
    driver.get("c")
    driver.get("c")
    calls.mount(b"tmpfs", b"/mnt/home/c/upper", b"tmpfs")  # somebody else's, below the layer

    pid = os.fork()
    if not pid:  # lets go while remove is at it
        import time

        time.sleep(0.3)
        calls.umount(b"/mnt/home/c/upper")
        os._exit(0)
    driver.remove("c")
    os.waitpid(pid, 0)
    assert not driver.exists("c")
    assert mountinfo() == []


def test_cleanup_leaves_mounts_of_others_alone() -> None:
    """What somebody else mounted on or in the home is not the driver's to take away."""
    os.mkdir(HOME)
    calls.mount(b"tmpfs", bytes(HOME), b"tmpfs")
    driver = make()
    image(driver)
    driver.create("c", "base")
    driver.get("c")
    (HOME / "base/root/vol").mkdir()
    calls.mount(b"tmpfs", b"/mnt/home/base/root/vol", b"tmpfs")
    driver.cleanup()
    assert [line.split()[4] for line in mountinfo()] == [f"{HOME}/base/root/vol"]
    assert os.path.ismount(HOME)


# Letting go, in every namespace


def _merged() -> OverlayDriver:
    driver = make()
    image(driver)
    driver.create("c", "base")
    driver.get("c")
    return driver


@pytest.mark.parametrize("userns", [False, True], ids=["private", "user namespace"])
def test_put_takes_the_copies_of_other_namespaces(userns: bool) -> None:
    driver = _merged()
    with hold(propagation="private" if not userns else None, userns=userns) as holder:
        assert holder.is_mounted(b"/mnt/home/c/merged")
        driver.put("c")
        assert not holder.is_mounted(b"/mnt/home/c/merged")


def test_put_takes_a_copy_that_a_process_stands_in() -> None:
    driver = _merged()
    with hold(propagation="private", cwd=b"/mnt/home/c/merged") as holder:
        driver.put("c")
        assert not holder.is_mounted(b"/mnt/home/c/merged")


def test_without_the_rmdir_a_copy_stays() -> None:
    """The leak that the driver is about, made by hand: a detach at home, and the mountpoint left in place."""
    _merged()
    with hold(propagation="private") as holder:
        calls.umount(b"/mnt/home/c/merged", abi.MNT_DETACH)
        assert holder.is_mounted(b"/mnt/home/c/merged")
        make().put("c")
        assert not holder.is_mounted(b"/mnt/home/c/merged")


def _copy_of(holder: Namespace) -> bool:
    return holder.is_mounted(b"/mnt/home/c/merged")


def test_remove_takes_the_copies_too() -> None:
    driver = _merged()
    with hold(propagation="private") as holder:
        assert _copy_of(holder)
        driver.remove("c")
        assert not _copy_of(holder)


def test_apply_over_a_mounted_container_makes_an_image_and_lets_go() -> None:
    driver = _merged()
    with hold(propagation="private") as holder:
        driver.apply_diff("c", "base", tars.tar(("n", b"3")))
        assert not _copy_of(holder)
    assert driver.get("c") == b"/mnt/home/c/root"
    assert sorted(os.listdir(HOME / "c")) == ["parent", "root"]


def test_a_copied_upper_forgets_where_its_files_came_from() -> None:
    driver = _merged()
    Path("/mnt/home/c/merged/d/f").chmod(0o600)
    driver.put("c")
    assert "trusted.overlay.origin" in os.listxattr(HOME / "c/upper/d/f")
    driver.create("next", "c")
    assert os.listxattr(HOME / "next/upper/d/f") == []


def test_two_processes_on_one_home_do_not_mount_twice() -> None:
    image(make())
    make().create("c", "base")
    pids = []
    for _ in range(6):
        pid = os.fork()
        if not pid:
            make().get("c")
            os._exit(0)
        pids.append(pid)
    assert {os.waitpid(pid, 0)[1] for pid in pids} == {0}
    assert len(mountinfo()) == 1
