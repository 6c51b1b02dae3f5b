"""The scratch namespaces behave as the kernel's rules say, and end with their tests."""

import errno
import os
from pathlib import Path

import pytest
from mountwarden.kernel import abi, syscalls

from tests.support.scratch_ns import Sandbox, hold, in_child

LAYER = Sandbox.scratch + b"/layer"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces as root")


def test_run_gives_back_values_and_errors() -> None:
    with Sandbox() as home:
        assert home.run(lambda: b"x" * 300_000) == b"x" * 300_000, "more than a pipe holds"
        with pytest.raises(ZeroDivisionError) as caught:
            home.run(lambda: 1 // 0)
        assert "in the child" in caught.value.__notes__[0]
        with pytest.raises(FileNotFoundError) as missing:
            home.run(os.stat, "/no/such")
        assert missing.value.filename == "/no/such"


def test_a_child_that_hangs_is_killed() -> None:
    with pytest.raises(TimeoutError):
        in_child(lambda: os.read(os.pipe()[0], 1), timeout=0.2)


def test_nothing_of_a_sandbox_shows_outside() -> None:
    before = Path("/proc/self/mountinfo").read_bytes()
    with Sandbox() as home:
        layer = home.overlay(LAYER)
        assert home.is_mounted(layer.merged)
        assert Path("/proc/self/mountinfo").read_bytes() == before
        assert home.inode != os.stat("/proc/self/ns/mnt").st_ino
    assert Path("/proc/self/mountinfo").read_bytes() == before


def share(path: bytes) -> None:
    syscalls.mount(None, path, None, abi.MS_SHARED)


@pytest.mark.parametrize(("propagation", "stays"), [("private", True), ("slave", False), ("shared", False)])
def test_an_umount_at_home_reaches_a_copy_by_its_parents_propagation(propagation: str, stays: bool) -> None:
    with Sandbox() as home:
        home.run(share, Sandbox.scratch)
        layer = home.overlay(LAYER)
        with hold(home, propagation=propagation) as other:  # type: ignore[arg-type]
            assert other.is_mounted(layer.merged)
            home.run(syscalls.umount, layer.merged)
            assert other.is_mounted(layer.merged) is stays


def test_rmdir_detaches_a_copy_that_a_user_namespace_locks() -> None:
    with Sandbox() as home:
        layer = home.overlay(LAYER)
        with hold(home, userns=True) as other:
            home.run(syscalls.umount, layer.merged)
            with pytest.raises(OSError, match="umount2") as caught:
                other.run(syscalls.umount, layer.merged)
            assert caught.value.errno == errno.EINVAL
            home.run(os.rmdir, layer.merged)
            assert not other.is_mounted(layer.merged)


def test_a_copy_pinned_by_a_working_directory_goes_too() -> None:
    with Sandbox() as home:
        layer = home.overlay(LAYER)
        with hold(home, cwd=layer.merged) as other:
            assert os.readlink(f"/proc/{other.pid}/cwd") == os.fsdecode(layer.merged)
            home.run(syscalls.umount, layer.merged)
            assert other.is_mounted(layer.merged)
            home.run(os.rmdir, layer.merged)
            assert not other.is_mounted(layer.merged)


def test_a_chrooted_process_shows_only_its_jail() -> None:
    with Sandbox() as home:
        layer = home.overlay(LAYER)
        with hold(home, chroot=layer.merged) as other:
            assert [line.split()[4] for line in other.mountinfo().splitlines()] == [b"/"]
            assert other.run(os.path.isdir, layer.merged), "code that enters is not in the jail"


def test_a_sandbox_in_a_user_namespace() -> None:
    with Sandbox(userns=True) as home:
        layer = home.overlay(LAYER)
        assert home.is_mounted(layer.merged)
        assert os.readlink(f"/proc/{home.pid}/ns/user") != os.readlink("/proc/self/ns/user")


def test_a_set_up_that_fails_says_so_and_leaves_nobody() -> None:
    with pytest.raises(FileNotFoundError), hold(cwd=b"/no/such"):
        pass
