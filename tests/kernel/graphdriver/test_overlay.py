"""The overlay driver's layers: their layout on disk, and their mounts."""

import os
import shutil
from pathlib import Path

import pytest
from mountwarden.graphdriver.driver import GraphdriverError, LayerExists
from mountwarden.kernel import syscalls

from tests.kernel.graphdriver import tars
from tests.kernel.graphdriver.overlays import HOME, image, make, mountinfo

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
    syscalls.mount(b"tmpfs", b"/mnt/home/c/upper", b"tmpfs")  # somebody else's, below the layer

    pid = os.fork()
    if not pid:  # lets go while remove is at it
        import time

        time.sleep(0.3)
        syscalls.umount(b"/mnt/home/c/upper")
        os._exit(0)
    driver.remove("c")
    os.waitpid(pid, 0)
    assert not driver.exists("c")
    assert mountinfo() == []


def test_cleanup_leaves_mounts_of_others_alone() -> None:
    """What somebody else mounted on or in the home is not the driver's to take away."""
    os.mkdir(HOME)
    syscalls.mount(b"tmpfs", bytes(HOME), b"tmpfs")
    driver = make()
    image(driver)
    driver.create("c", "base")
    driver.get("c")
    (HOME / "base/root/vol").mkdir()
    syscalls.mount(b"tmpfs", b"/mnt/home/base/root/vol", b"tmpfs")
    driver.cleanup()
    assert [line.split()[4] for line in mountinfo()] == [f"{HOME}/base/root/vol"]
    assert os.path.ismount(HOME)
