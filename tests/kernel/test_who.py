"""Who keeps a file system, a device or a layer busy, on real mounts."""

import json
import mmap
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from mountwarden.busy import find
from mountwarden.busy.answer import BusyReport, Keeper
from mountwarden.cli import main as command_line
from mountwarden.errors import MountwardenError
from mountwarden.kernel import abi, syscalls

from tests.kernel.topology import ROOT, Home
from tests.support.scratch_ns import Namespace, hold, in_child

MERGED = ROOT + b"/X/merged"


def who(home: Home, asked: bytes | str) -> BusyReport:
    return home.run(lambda: find.who(os.fsdecode(asked)))


def hows(answer: BusyReport, how: str) -> list[Keeper]:
    return [keeper for keeper in answer.keepers if keeper.how == how]


def device_of(home: Home) -> bytes:
    line = next(line for line in home.sandbox.mountinfo().splitlines() if b" /mnt/root/X/merged " in line)
    return line.split()[2]


@contextmanager
def process(home: Home, prepare: Callable[[], object]) -> Iterator[int]:
    """A process that did `prepare` and now waits, in a namespace of its own that no umount in home's reaches."""
    with hold(home.sandbox, propagation="private") as space, resident(space, prepare) as pid:
        yield pid


@contextmanager
def resident(space: Namespace, prepare: Callable[[], object]) -> Iterator[int]:
    """A process in a namespace that did `prepare` and now waits."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    go, let_go = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            fd = os.open(f"/proc/{space.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            syscalls.setns(fd, abi.CLONE_NEWNS)
            os.close(fd)
            syscalls.die_with_parent(9)
            kept = prepare()
            os.write(tell, b"x")
            os.close(let_go)
            os.read(go, 1)
            del kept
        finally:
            os._exit(0)
    os.close(tell)
    os.close(go)
    try:
        assert os.read(told, 1) == b"x", "the process could not prepare"
        yield pid
    finally:
        os.close(told)
        os.close(let_go)
        os.waitpid(pid, 0)


def test_a_copy_in_another_namespace_and_what_its_process_does_there_are_told(home: Home) -> None:
    home.layer()

    def use() -> object:
        os.chdir(MERGED)
        fd = os.open(MERGED + b"/file", os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 4096)
        mapped = mmap.mmap(fd, 4096)  # which has a descriptor of its own
        os.close(fd)
        return mapped

    with process(home, use) as pid:
        device = device_of(home)
        home.umount(MERGED)
        answer = who(home, device)
        (mount,) = hows(answer, "mount")
        assert (mount.where, mount.namespace) == (MERGED, os.stat(f"/proc/{pid}/ns/mnt").st_ino)
        assert pid in [holder.pid for holder in mount.holders]
        for how in ("cwd", "file", "map"):
            (keeper,) = hows(answer, how)
            assert [holder.pid for holder in keeper.holders] == [pid], how
            assert f"process {pid} must" in keeper.needs
        assert len(answer.keepers) == 4


def test_a_working_directory_on_a_detached_mount_is_told_where_fuser_is_blind(home: Home) -> None:
    home.layer()
    with process(home, lambda: os.chdir(MERGED)) as pid:
        device = device_of(home)
        home.umount(MERGED)
        home.run(lambda: os.rmdir(MERGED))  # drops the copy too
        (keeper,) = who(home, device).keepers
        assert (keeper.how, [holder.pid for holder in keeper.holders]) == ("cwd", [pid])
        assert "detached" in keeper.detail
    # The device's number may be another file system's by now.
    assert hows(who(home, device), "cwd") == []


def test_nobody_is_told_to_end_process_1_or_what_lives_with_it(home: Home) -> None:
    """Asked from another mount namespace than that of process 1, which uses a file system with all its might."""
    home.layer()

    def ask() -> tuple[int, BusyReport]:
        syscalls.unshare(abi.CLONE_NEWNS)
        return os.stat("/proc/1/ns/mnt").st_ino, find.who(os.fsdecode(MERGED))

    def init() -> tuple[int, BusyReport]:
        assert os.getpid() == 1
        syscalls.mount(b"proc", b"/proc", b"proc")
        os.chdir(MERGED)
        fd = os.open(MERGED + b"/file", os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 4096)
        with mmap.mmap(fd, 4096):
            return in_child(ask)

    def boot() -> tuple[int, BusyReport]:
        syscalls.unshare(abi.CLONE_NEWNS | 0x20000000)  # CLONE_NEWPID
        return in_child(init)

    inode, answer = home.run(boot)
    (there,) = (keeper for keeper in hows(answer, "mount") if keeper.namespace == inode)
    assert there.holders[0].pid == 1
    assert there.needs == "what is busy in it must release it; then it goes with an umount here"
    needs = {(keeper.how, keeper.needs) for keeper in answer.keepers if keeper.needs.startswith("process 1 ")}
    ways = {"cwd": "leave the directory", "file": "close it", "map": "release it"}
    assert needs == {(how, f"process 1 must {way}") for how, way in ways.items()}


def test_a_root_and_an_executable_are_told(home: Home) -> None:
    layer = home.layer()
    home.run(lambda: subprocess.run(["cp", "/bin/sleep", layer.merged + b"/sleep"], check=True))

    def start() -> object:
        child = subprocess.Popen([MERGED + b"/sleep", "20"])
        os.chroot(MERGED)
        return child

    with process(home, start) as pid:
        answer = who(home, MERGED)
        (executable,) = hows(answer, "exe")
        child = executable.holders[0].pid
        try:
            assert [holder.pid for keeper in hows(answer, "root") for holder in keeper.holders] == [pid]
            assert child != pid
        finally:
            os.kill(child, 9)


def test_a_layer_s_directory_is_kept_by_the_overlay_that_is_made_of_it_and_not_by_its_neighbour_s(home: Home) -> None:
    home.layer()
    home.layer(b"Y")
    answer = who(home, ROOT + b"/X/upper")
    assert [(k.how, k.where, k.namespace) for k in answer.keepers] == [("overlay", MERGED, home.sandbox.inode)]
    (keeper,) = answer.keepers
    assert keeper.detail.startswith("upperdir")
    assert [k.detail.split(",")[0] for k in hows(who(home, ROOT + b"/X/lower"), "overlay")] == ["lowerdir"]
    assert {k.where for k in hows(who(home, "/mnt"), "overlay")} == {MERGED, ROOT + b"/Y/merged"}


def test_binds_of_a_directory_and_what_is_stacked_below_it_are_told(home: Home) -> None:
    def make() -> None:
        for name in ("d", "d/below", "o", "other"):
            os.mkdir("/mnt/" + name)
        syscalls.mount(b"/mnt/d", b"/mnt/o", None, abi.MS_BIND)
        syscalls.mount(b"tmpfs", b"/mnt/d/below", b"tmpfs")
        syscalls.mount(b"tmpfs", b"/mnt/other", b"tmpfs")

    home.run(make)
    answer = who(home, "/mnt/d")
    assert [k.where for k in hows(answer, "mount")] == [b"/mnt/o"]
    assert b"/mnt/d/below" in [k.where for k in hows(answer, "stacked")]
    assert b"/mnt/other" not in [k.where for k in answer.keepers]


@pytest.fixture
def loop(home: Home) -> Iterator[str]:
    """A loop device with an ext4, not mounted, on /mnt/image."""

    def make() -> str:
        for command in ("truncate -s 8M /mnt/image", "mkfs.ext4 -q /mnt/image"):
            subprocess.run(command.split(), check=True)
        command = ["losetup", "--find", "--show", "/mnt/image"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    device = home.run(make)
    yield device
    subprocess.run(["losetup", "--detach", device], check=False, capture_output=True)


def test_a_device_its_mount_its_node_and_its_backing_file(home: Home, loop: str) -> None:
    def mount() -> None:
        os.mkdir("/mnt/disk")
        syscalls.mount(loop.encode(), b"/mnt/disk", b"ext4")

    home.run(mount)
    (backing,) = hows(who(home, "/mnt"), "loop")
    assert (backing.where, backing.needs) == (b"/mnt/image", f"losetup --detach {loop}")
    with process(home, lambda: open(loop, "rb")) as pid:
        home.umount(b"/mnt/disk")
        answer = who(home, loop)
        assert [k.where for k in hows(answer, "mount")] == [b"/mnt/disk"], "only the copy is left"
        assert [h.pid for k in hows(answer, "device") for h in k.holders] == [pid]


def test_a_loop_device_whose_file_is_on_a_file_system_of_another_namespace(home: Home, loop: str) -> None:
    line = next(line for line in home.sandbox.mountinfo().splitlines() if line.split()[4] == b"/mnt")
    answer = in_child(lambda: find.who(line.split()[2].decode()))  # from where /mnt is something else
    assert f"losetup --detach {loop}" in [k.needs for k in hows(answer, "loop")]


def test_a_swap_file_is_told(home: Home, loop: str) -> None:
    def make() -> None:
        os.mkdir("/mnt/disk")
        syscalls.mount(loop.encode(), b"/mnt/disk", b"ext4")
        subprocess.run(
            ["dd", "if=/dev/zero", "of=/mnt/disk/swap", "bs=64K", "count=4"], check=True, capture_output=True
        )
        os.chmod("/mnt/disk/swap", 0o600)
        subprocess.run(["mkswap", "/mnt/disk/swap"], check=True, capture_output=True)
        subprocess.run(["swapon", "/mnt/disk/swap"], check=True, capture_output=True)

    try:
        home.run(make)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no swap file here: {error.stderr}")
    try:
        (keeper,) = hows(who(home, "/mnt/disk"), "swap")
        assert keeper.where == b"/mnt/disk/swap"
    finally:
        home.run(lambda: subprocess.run(["swapoff", "/mnt/disk/swap"], check=True))


def test_a_dead_fuse_never_blocks_it(home: Home) -> None:
    """A FUSE mount whose daemon never answers: asked about itself, about a path below it, and with it open."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("this machine has no /dev/fuse")

    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:

        def mount() -> None:
            os.mkdir("/mnt/dead")
            syscalls.mount(b"dead", b"/mnt/dead", b"fuse", 0, b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fuse)

        home.run(mount)
        with process(home, lambda: os.open("/mnt/dead", os.O_PATH)) as pid:
            for asked in ("/mnt/dead", "/mnt/dead/a/b", "/mnt"):
                started = time.monotonic()
                answer = who(home, asked)
                assert time.monotonic() - started < 8, asked
                assert answer.keepers or asked == "/mnt/dead/a/b", asked
            (keeper,) = hows(who(home, "/mnt/dead"), "file")
            assert keeper.holders[0].pid == pid
    finally:
        os.close(fuse)


def test_the_exit_status_and_the_document(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    home.layer()
    assert home.run(lambda: command_line.main(["who", os.fsdecode(MERGED), "--json"])) == 1
    document = json.loads(capfd.readouterr().out)
    assert document["schema"] == "mountwarden.who/1"
    assert [k["where"] for k in document["keepers"]] == [os.fsdecode(MERGED)]
    assert document["keepers"][0]["needs"] == "umount it here"
    assert home.run(lambda: command_line.main(["who", "0:999999"])) == 0
    assert "kept busy by nothing" in capfd.readouterr().out
    assert home.run(lambda: command_line.main(["who", "/mnt/absent"])) == 2
    told = capfd.readouterr().err
    assert told.startswith("mountwarden: /mnt/absent: No such file or directory\n")
    assert home.run(lambda: command_line.main(["who", os.fsdecode(MERGED)])) == 1
    assert "to release it: umount it here" in capfd.readouterr().out


def test_a_mount_id_means_its_file_system(home: Home) -> None:
    home.layer()
    line = next(line for line in home.sandbox.mountinfo().splitlines() if b" /mnt/root/X/merged " in line)
    answer = who(home, line.split()[0])
    assert [k.where for k in answer.keepers] == [MERGED]


def test_a_unique_mount_id_is_never_taken_for_a_small_one(home: Home) -> None:
    """In our own namespace, and in another one."""
    home.layer()
    with hold(home.sandbox, propagation="private") as other:

        def unique() -> int | None:
            reached = os.open(MERGED, os.O_PATH)
            try:
                return syscalls.mount_id(reached, unique=True)
            finally:
                os.close(reached)

        if home.run(unique) is None:
            pytest.skip("this kernel has no unique mount ids")
        for space in (home.sandbox, other):
            answer = who(home, str(space.run(unique)))
            assert {k.namespace for k in hows(answer, "mount")} == {home.sandbox.inode, other.inode}
    with pytest.raises(MountwardenError, match="no container 4611686018427387905 is running"):
        who(home, str((1 << 62) + 1))
