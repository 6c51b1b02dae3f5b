"""pinned, found by a first scan: what no namespace has mounted and a process, or the kernel, keeps all the same."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest
from mountwarden.busy import find
from mountwarden.config.schema import Config
from mountwarden.errors import MountwardenError
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Finding, Gap, Kind, Severity
from mountwarden.observe.enter import own_namespace
from mountwarden.scan.scanner import Scanner

from tests.kernel.topology import ROOT, Home
from tests.support import seccomp
from tests.support.scratch_ns import hold

LAYER = ROOT + b"/X"
MERGED = LAYER + b"/merged"
HOST = Config(engines=("host",))


@contextlib.contextmanager
def process(home: Home, prepare: Callable[[], object]) -> Iterator[int]:
    """A process in home's very namespace that did `prepare`, keeps what that returned, and waits."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            syscalls.die_with_parent(signal.SIGKILL)
            fd = os.open(f"/proc/{home.sandbox.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            syscalls.setns(fd, abi.CLONE_NEWNS)
            os.close(fd)
            kept_open = prepare()
            os.write(tell, b"x")
            signal.pause()
            del kept_open
        os._exit(1)
    os.close(tell)
    try:
        assert os.read(told, 1) == b"x", "the process could not prepare"
        yield pid
    finally:
        os.close(told)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def pinned(home: Home) -> list[Finding]:
    return [finding for finding in home.findings() if finding.kind is Kind.PINNED]


def lazily(home: Home, point: bytes = MERGED) -> None:
    home.umount(point, abi.MNT_DETACH)


def test_a_working_directory_names_its_layer_and_process(home: Home) -> None:
    home.layer()
    with process(home, lambda: os.chdir(MERGED)) as pid:
        assert pinned(home) == [], "it is mounted"
        lazily(home)
        (finding,) = pinned(home)
        assert (finding.layer, finding.mountpoint, finding.severity) == (b"X", MERGED, Severity.WARNING)
        assert (finding.evidence, finding.fstype, finding.spaces) == (None, "overlay", 0)
        assert [holder.pid for holder in finding.holders] == [pid]
        assert finding.detail == f"held by process {pid} (python, cwd)"
    assert pinned(home) == []


def test_it_is_the_finding_that_the_service_has_by_its_history(home: Home) -> None:
    home.layer()

    def watched() -> list[str]:
        scanner = Scanner(home.config, home=own_namespace())
        scanner.scan()
        syscalls.umount(MERGED, abi.MNT_DETACH)
        return [finding.id for finding in scanner.scan().findings if finding.kind is Kind.PINNED]

    with process(home, lambda: os.chdir(MERGED)):
        (known,) = home.run(watched)
        (finding,) = pinned(home)
        assert finding.id == known
        assert home.run(lambda: _both(home)) == 1, "and by one scan it is told once"


def _both(home: Home) -> int:
    scanner = Scanner(home.config, home=own_namespace())
    scanner.scan(resync=True)
    return len([one for one in scanner.scan(resync=True).findings if one.kind is Kind.PINNED])


def test_a_removed_layer_is_named_by_a_file_of_it(home: Home) -> None:
    home.layer()
    home.run(lambda: os.close(os.open(MERGED + b"/big", os.O_CREAT | os.O_WRONLY)))
    with process(home, lambda: os.open(MERGED + b"/big", os.O_RDONLY)) as pid:
        lazily(home)
        home.run(lambda: shutil.rmtree(LAYER))
        (finding,) = pinned(home)
        assert (finding.layer, finding.mountpoint) == (b"X", MERGED)
        assert [holder.pid for holder in finding.holders] == [pid]


def test_a_mapped_file_alone_is_seen(home: Home) -> None:
    home.layer()

    def use() -> object:
        fd = os.open(MERGED + b"/mapped", os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 4096)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        assert libc.mmap(None, 4096, 1, 2, fd, 0)  # unlike the mmap module, which keeps a descriptor
        os.close(fd)
        return None

    with process(home, use) as pid:
        lazily(home)
        (finding,) = pinned(home)
        assert finding.detail == f"held by process {pid} (python, map)"


def test_what_another_namespace_has_mounted_is_not_pinned(home: Home) -> None:
    home.layer()
    with process(home, lambda: os.chdir(MERGED)), hold(home.sandbox, propagation="private") as other:
        lazily(home)
        assert pinned(home) == []
        other.run(lambda: syscalls.umount(MERGED, abi.MNT_DETACH))
        assert len(pinned(home)) == 1


def test_of_a_file_that_layers_share_the_layer_is_not_known(home: Home) -> None:
    home.layer()
    with_lower(home)
    with process(home, lambda: os.open(MERGED + b"/shared", os.O_RDONLY)):
        lazily(home)
        (finding,) = pinned(home)
        assert (finding.layer, finding.severity) == (None, Severity.INFO)
        assert "only one that others share is known" in finding.detail


def with_lower(home: Home) -> None:
    def again() -> None:
        syscalls.umount(MERGED)
        with open(LAYER + b"/lower/shared", "w") as file:
            file.write("x")
        layers = b"lowerdir=%b/lower,upperdir=%b/upper,workdir=%b/work" % (LAYER, LAYER, LAYER)
        syscalls.mount(b"overlay", MERGED, b"overlay", 0, layers)

    home.run(again)


def _elsewhere() -> object:
    """An overlay of no root."""
    os.makedirs("/mnt/own/l")
    os.makedirs("/mnt/own/m")
    for name in ("u", "w"):
        os.mkdir(f"/mnt/own/{name}")
    syscalls.mount(b"o", b"/mnt/own/m", b"overlay", 0, b"lowerdir=/mnt/own/l,upperdir=/mnt/own/u,workdir=/mnt/own/w")
    os.chdir("/mnt/own/m")
    syscalls.umount(b"/mnt/own/m", abi.MNT_DETACH)
    return None


def _tmpfs() -> object:
    os.mkdir("/mnt/t")
    syscalls.mount(b"t", b"/mnt/t", b"tmpfs")
    os.chdir("/mnt/t")
    syscalls.umount(b"/mnt/t", abi.MNT_DETACH)
    return None


def _clone() -> object:
    """A detached mount of the live layer."""
    return syscalls.open_tree(abi.AT_FDCWD, MERGED, abi.OPEN_TREE_CLONE)


def _kernel_s_own() -> object:
    memory = os.memfd_create("m")
    os.ftruncate(memory, 4096)
    unnamed = os.open(MERGED, os.O_TMPFILE | os.O_RDWR)
    return memory, unnamed, os.pipe(), os.open("/proc/self/ns/net", os.O_RDONLY), os.eventfd(0)


@pytest.mark.parametrize("use", [_elsewhere, _tmpfs, _clone, _kernel_s_own])
def test_what_is_in_no_mountinfo_and_no_layer_that_went_is_not_pinned(home: Home, use: Callable[[], object]) -> None:
    home.layer()
    with process(home, use):
        assert pinned(home) == []


def test_a_mount_that_was_never_attached_is_said_to_be_one(home: Home) -> None:
    home.layer()

    def use() -> int:
        tree = syscalls.open_tree(abi.AT_FDCWD, MERGED, abi.OPEN_TREE_CLONE)
        syscalls.umount(MERGED)
        return tree

    with process(home, use):
        (finding,) = pinned(home)
        assert "never attached" in finding.detail
        assert finding.layer == b"X"


@contextlib.contextmanager
def loop(home: Home, file: bytes) -> Iterator[str]:
    device = home.run(lambda: subprocess.check_output(["losetup", "--find", "--show", os.fsdecode(file)], text=True))
    try:
        yield device.strip()
    finally:
        subprocess.run(["losetup", "--detach", device.strip()], check=True)


def test_a_loop_device_keeps_a_removed_layer(home: Home) -> None:
    home.layer()

    def image() -> None:
        with open(MERGED + b"/i", "wb") as file:
            file.truncate(1 << 20)

    home.run(image)
    with loop(home, MERGED + b"/i") as device:
        assert pinned(home) == []
        lazily(home)
        home.run(lambda: shutil.rmtree(LAYER))
        (finding,) = pinned(home)
        assert (finding.layer, finding.holders) == (b"X", ())
        assert finding.detail == f"held by loop device {device}"


def test_what_a_loop_device_is_on_is_asked_by_a_child_that_may_be_lost(home: Home) -> None:
    """The call may hang in that file system; here it ends whoever makes it."""
    home.layer()
    home.run(lambda: os.close(os.open(MERGED + b"/i", os.O_CREAT | os.O_WRONLY)))
    home.run(lambda: os.truncate(MERGED + b"/i", 1 << 20))

    def scanned() -> tuple[list[Kind], list[Gap]]:
        seccomp.forbid(syscalls.USTAT or 0, seccomp.KILL)
        scan = Scanner(home.config, home=own_namespace()).scan()
        return [one.kind for one in scan.findings], [gap for gap in scan.gaps if "kept" in gap.what]

    with loop(home, MERGED + b"/i"):
        lazily(home)
        assert home.run(scanned) == ([], []), "what is not known is not reported, and the search goes on"


def test_a_block_device_is_named_by_its_node(home: Home) -> None:
    home.config = HOST

    def disk() -> None:
        with open("/mnt/disk", "wb") as file:
            file.truncate(8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "/mnt/disk"], check=True)
        os.mkdir("/mnt/d")

    home.run(disk)
    with loop(home, b"/mnt/disk") as device:
        home.run(lambda: syscalls.mount(device.encode(), b"/mnt/d", b"ext4"))
        number = f"7:{os.minor(os.stat(device).st_rdev)}"
        with process(home, lambda: os.chdir("/mnt/d")) as pid:
            lazily(home, b"/mnt/d")
            (finding,) = pinned(home)
            assert (finding.mountpoint, finding.fstype, finding.layer) == (device.encode(), "ext4", None)
            assert [holder.pid for holder in finding.holders] == [pid]
            home.run(lambda: syscalls.mount(b"dev", b"/dev", b"tmpfs"))
            for asked, kept_by in ((number, [pid]), ("/dev", [])):  # where its node is, nothing is kept
                found = home.run(lambda asked=asked: find.who(asked).keepers)  # type: ignore[misc]
                assert [h.pid for one in found for h in one.holders] == kept_by
        assert pinned(home) == []


def test_who_says_of_a_layer_s_directory_what_the_report_does(home: Home) -> None:
    home.layer()
    home.run(lambda: os.close(os.open(MERGED + b"/big", os.O_CREAT | os.O_WRONLY)))
    with process(home, lambda: os.open(MERGED + b"/big", os.O_RDONLY)) as pid:
        lazily(home)
        for asked in (LAYER, MERGED):
            found = home.run(lambda asked=asked: find.who(os.fsdecode(asked)).keepers)  # type: ignore[misc]
            # Of the directory `merged`, which is empty now, nothing is kept.
            assert [[holder.pid for holder in one.holders] for one in found] == ([[pid]] if asked == LAYER else [])
        home.run(lambda: shutil.rmtree(LAYER))
        (keeper,) = home.run(lambda: find.who(os.fsdecode(LAYER)).keepers)
        assert (keeper.how, [holder.pid for holder in keeper.holders]) == ("file", [pid])
    with pytest.raises(MountwardenError, match="No such file"):
        home.run(lambda: find.who(os.fsdecode(LAYER)))


def test_who_says_which_loop_device_keeps_a_removed_layer(home: Home) -> None:
    home.layer()
    home.run(lambda: os.close(os.open(MERGED + b"/i", os.O_CREAT | os.O_RDWR)))
    home.run(lambda: os.truncate(MERGED + b"/i", 1 << 20))
    with loop(home, MERGED + b"/i") as device:
        lazily(home)
        home.run(lambda: shutil.rmtree(LAYER))
        (keeper,) = home.run(lambda: find.who(os.fsdecode(LAYER)).keepers)
        assert (keeper.how, keeper.detail) == ("loop", f"backs {device}")


def test_of_a_path_that_is_not_below_a_bind_mount_who_knows_nothing(home: Home) -> None:
    def bind() -> None:
        os.makedirs("/mnt/a/b")
        os.mkdir("/mnt/c")
        syscalls.mount(b"/mnt/a", b"/mnt/c", None, abi.MS_BIND)

    home.run(bind)
    with process(home, lambda: os.chdir("/mnt/c/b")), pytest.raises(MountwardenError, match="No such file"):
        home.run(lambda: find.who("/mnt/c/x"))
