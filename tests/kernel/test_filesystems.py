"""Detach on file systems that engines use: what is kept of the directory, and what is declined with its reason."""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Finding, Outcome

from tests.kernel.topology import ROOT, Home
from tests.support.loops import LOOP_CLR_FD
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay

MERGED = ROOT + b"/X/merged"
SIZES = {"ext4": 32, "xfs": 300, "btrfs": 120}
"""MiB; the smallest that mkfs takes."""
LOOP_SET_FD = 0x4C00
LOOP_CTL_GET_FREE = 0x4C82


@contextlib.contextmanager
def loop(image: Path) -> Iterator[str]:
    """A loop device over the image; detached at the end."""
    with open("/dev/loop-control", "rb") as control, open(image, "r+b") as backing:
        while True:
            name = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
            with open(name, "r+b") as device:
                try:
                    fcntl.ioctl(device, LOOP_SET_FD, backing.fileno())
                    break
                except OSError:
                    continue  # somebody else was faster
    try:
        yield name
    finally:
        with open(name, "rb") as device:
            fcntl.ioctl(device, LOOP_CLR_FD, 0)


@contextlib.contextmanager
def on(kind: str, directory: Path) -> Iterator[Home]:
    """A sandbox whose /mnt is a fresh file system of that kind, shared."""
    if not shutil.which(f"mkfs.{kind}"):
        pytest.skip(f"mkfs.{kind} is not installed")
    image = directory / "image"
    with open(image, "wb") as file:
        file.truncate(SIZES[kind] << 20)
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True, stdout=subprocess.DEVNULL)
    with loop(image) as device, Sandbox() as sandbox:
        home = Home(sandbox)
        try:
            home.run(lambda: syscalls.mount(device.encode(), b"/mnt", kind.encode()))
        except OSError as error:
            pytest.skip(f"this kernel can't mount {kind}: {error.strerror}")
        home.shared()
        yield home


@pytest.fixture(params=SIZES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def disk(kind: str, tmp_path: Path) -> Iterator[Home]:
    with on(kind, tmp_path) as home:
        yield home


@contextlib.contextmanager
def leaked(home: Home, dress: Callable[[], object] = list) -> Iterator[tuple[Namespace, Finding]]:
    """A leak on a mountpoint that `dress` has given attributes."""

    def make() -> None:
        overlay(ROOT + b"/X", mounted=False)
        dress()
        overlay(ROOT + b"/X")

    home.run(make)
    with hold(home.sandbox) as holder:
        home.umount(MERGED)
        (finding,) = home.leaked()
        yield holder, finding


def detached(home: Home, holder: Namespace, finding: Finding) -> Outcome:
    outcome = home.act(finding, Action.DETACH)
    assert outcome.done, outcome.text
    assert not holder.is_mounted(MERGED)
    assert home.run(lambda: sorted(os.listdir(ROOT + b"/X"))) == [b"lower", b"merged", b"upper", b"work"]
    return outcome


def declined(home: Home, holder: Namespace, finding: Finding, code: str) -> None:
    inode = home.run(lambda: os.stat(MERGED).st_ino)
    outcome = home.act(finding, Action.DETACH)
    assert outcome.code == code, outcome.text
    assert holder.is_mounted(MERGED)
    assert home.run(lambda: os.stat(MERGED).st_ino) == inode
    assert home.run(lambda: sorted(os.listdir(ROOT + b"/X"))) == [b"lower", b"merged", b"upper", b"work"]


def attributes() -> tuple[object, ...]:
    status = os.stat(MERGED)
    fd = os.open(MERGED, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags, project = syscalls.inode_flags(fd), syscalls.fsxattr(fd)
        if project is not None:  # whether there is room for xattrs says nothing
            project = (project[0] & ~abi.FS_XFLAG_HASATTR, *project[1:])
    finally:
        os.close(fd)
    xattrs = {name: os.getxattr(MERGED, name) for name in os.listxattr(MERGED)}
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, flags, project, xattrs


def test_acls_labels_and_times_are_kept(disk: Home) -> None:
    if not shutil.which("setfacl"):
        pytest.skip("setfacl is not installed")

    def dress() -> None:
        acls = ["setfacl", "-m", "u:1234:rwx,g:77:r-x,d:u:99:rw", os.fsdecode(MERGED)]
        subprocess.run(acls, check=True)
        os.chown(MERGED, 5, 6)
        os.chmod(MERGED, 0o3710)
        os.setxattr(MERGED, "security.selinux", b"system_u:object_r:container_file_t:s0\0")
        os.setxattr(MERGED, "user.note", b"x" * 200)
        os.utime(MERGED, ns=(1_000_000_001, 2_000_000_002))

    with leaked(disk, dress) as (holder, finding):
        before = disk.run(attributes)
        detached(disk, holder, finding)
        assert disk.run(attributes) == before
        assert stat.S_IMODE(before[0]) & 0o7000 == 0o3000  # type: ignore[operator]


def test_a_default_acl_of_the_parent_is_not_taken_over(disk: Home) -> None:
    if not shutil.which("setfacl"):
        pytest.skip("setfacl is not installed")

    def dress() -> None:
        subprocess.run(["setfacl", "-m", "d:u:99:rwx", os.fsdecode(ROOT + b"/X")], check=True)

    with leaked(disk, dress) as (holder, finding):
        before = disk.run(attributes)
        detached(disk, holder, finding)
        assert disk.run(attributes) == before


@pytest.mark.parametrize("kind", ["xfs"])
def test_a_project_id_is_kept(disk: Home) -> None:
    def dress() -> None:
        fd = os.open(MERGED, os.O_RDONLY | os.O_DIRECTORY)
        syscalls.set_fsxattr(fd, (abi.FS_XFLAG_PROJINHERIT, 0, 0, 4711, 0))
        os.close(fd)

    with leaked(disk, dress) as (holder, finding):
        before = disk.run(attributes)
        assert before[5][3] == 4711  # type: ignore[index]
        detached(disk, holder, finding)
        assert disk.run(attributes) == before


@pytest.mark.parametrize("kind", ["xfs"])
def test_another_project_than_the_parents_is_declined(disk: Home) -> None:
    def dress() -> None:
        for path, project in ((ROOT + b"/X", 42), (MERGED, 43)):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            syscalls.set_fsxattr(fd, (abi.FS_XFLAG_PROJINHERIT, 0, 0, project, 0))
            os.close(fd)

    with leaked(disk, dress) as (holder, finding):
        declined(disk, holder, finding, "attributes")


@pytest.mark.parametrize("kind", ["xfs"])
@pytest.mark.parametrize("error", [errno.EDQUOT, errno.ENOSPC])
def test_a_quota_that_is_used_up_when_the_project_is_set_is_declined(
    disk: Home, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's answer is ours here, since not every kernel has quotas on xfs."""

    def dress() -> None:
        fd = os.open(MERGED, os.O_RDONLY | os.O_DIRECTORY)
        syscalls.set_fsxattr(fd, (abi.FS_XFLAG_PROJINHERIT, 0, 0, 4711, 0))
        os.close(fd)

    def used_up(_fd: int, _attributes: tuple[int, ...]) -> None:
        raise OSError(error, os.strerror(error))

    with leaked(disk, dress) as (holder, finding):
        before = disk.run(attributes)
        with monkeypatch.context() as patch:
            patch.setattr(syscalls, "set_fsxattr", used_up)
            declined(disk, holder, finding, "no-space")
        assert disk.run(attributes) == before
        detached(disk, holder, finding)
        assert disk.run(attributes) == before


@pytest.mark.parametrize("kind", ["btrfs"])
def test_flags_that_have_no_xflag_are_kept(disk: Home) -> None:
    def dress() -> None:
        fd = os.open(MERGED, os.O_RDONLY | os.O_DIRECTORY)
        syscalls.set_inode_flags(fd, abi.FS_NOCOW_FL)
        os.close(fd)

    with leaked(disk, dress) as (holder, finding):
        before = disk.run(attributes)
        assert before[4] == abi.FS_NOCOW_FL
        detached(disk, holder, finding)
        assert disk.run(attributes) == before


@pytest.mark.parametrize("where", [MERGED, ROOT + b"/X"], ids=["directory", "parent"])
def test_the_immutable_flag_is_declined(disk: Home, where: bytes) -> None:
    def flag(flags: int) -> None:
        fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
        old = syscalls.inode_flags(fd) or 0
        syscalls.set_inode_flags(fd, old & ~abi.FS_IMMUTABLE_FL | flags)
        os.close(fd)

    with leaked(disk) as (holder, finding):
        disk.run(lambda: flag(abi.FS_IMMUTABLE_FL))
        declined(disk, holder, finding, "immutable")
        disk.run(lambda: flag(0))
        detached(disk, holder, finding)


def fill() -> None:
    """To the last block and inode."""
    with contextlib.suppress(OSError), open(b"/mnt/full", "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\1" * size)
    with contextlib.suppress(OSError):
        for number in range(100_000):
            os.close(os.open(b"/mnt/full.%d" % number, os.O_CREAT | os.O_WRONLY))
    with contextlib.suppress(OSError):
        for number in range(100_000):
            os.mkdir(b"/mnt/dir.%d" % number)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_full_disk_is_declined_or_does_not_matter(disk: Home) -> None:
    with leaked(disk) as (holder, finding):
        disk.run(fill)
        outcome = disk.act(finding, Action.DETACH)
        assert outcome.code in ("done", "no-space"), outcome.text
        assert disk.run(lambda: os.path.isdir(MERGED))
        assert disk.run(lambda: sorted(os.listdir(ROOT + b"/X"))) == [b"lower", b"merged", b"upper", b"work"]
        assert holder.is_mounted(MERGED) == (not outcome.done)


@pytest.mark.parametrize("kind", ["btrfs"])
def test_a_used_up_quota_is_declined(disk: Home) -> None:
    """btrfs counts by itself; the quotas of ext4 and xfs are an option of the kernel that may be absent."""
    if not shutil.which("btrfs"):
        pytest.skip("btrfs is not installed")

    with leaked(disk) as (holder, finding):
        for command in (["quota", "enable", "/mnt"], ["qgroup", "limit", "1", "0/5", "/mnt"]):
            disk.run(partial(subprocess.run, ["btrfs", *command], check=True, stdout=subprocess.DEVNULL))
        declined(disk, holder, finding, "no-space")


@pytest.mark.parametrize("kind", ["btrfs"])
def test_a_subvolume_as_mountpoint_survives(disk: Home) -> None:
    def dress() -> None:
        os.rmdir(MERGED)
        fd = os.open(ROOT + b"/X", os.O_RDONLY | os.O_DIRECTORY)
        create = 0x5000940E  # BTRFS_IOC_SUBVOL_CREATE of linux/btrfs.h
        fcntl.ioctl(fd, create, bytearray(struct.pack("=q4088s", 0, b"merged")))
        os.close(fd)

    with leaked(disk, dress) as (holder, finding):
        declined(disk, holder, finding, "not-empty")
