"""The overlay driver's home: whose it is, what it may lie on, and that its propagation stays as it is."""

import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from mountwarden.graphdriver import support
from mountwarden.graphdriver.driver import GraphdriverError, NotSupported
from mountwarden.graphdriver.home import mount_options
from mountwarden.graphdriver.overlay import OverlayDriver
from mountwarden.kernel import abi, syscalls

from tests.kernel.graphdriver import tars
from tests.kernel.graphdriver.overlays import HOME, MAPS, image, make, mountinfo


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
    syscalls.mount(None, b"/mnt", None, abi.MS_SHARED)
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
    syscalls.mount(b"overlay", b"/mnt/m", b"overlay", 0, b"lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w")
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
    syscalls.umount(b"/mnt/disk")


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
        syscalls.umount(b"/mnt/disk")


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
        syscalls.umount(b"/mnt/disk")


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
    assert mount_options() == b",index=off,metacopy=off"
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
