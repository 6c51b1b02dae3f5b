"""How the overlay driver lets go of its mounts, in every namespace."""

import os
from pathlib import Path

import pytest
from mountwarden.graphdriver.overlay import OverlayDriver
from mountwarden.kernel import abi, syscalls

from tests.kernel.graphdriver import tars
from tests.kernel.graphdriver.overlays import HOME, image, make, mountinfo
from tests.support.scratch_ns import Namespace, hold


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
        syscalls.umount(b"/mnt/home/c/merged", abi.MNT_DETACH)
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
