"""Whether a superblock lives: by ustat(2), and by inotify(7) where that is forbidden; and what hangs in it."""

import contextlib
import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from mountwarden.config.schema import Config
from mountwarden.kernel import abi, child, syscalls
from mountwarden.model import SuperblockTest
from mountwarden.observe import processes, superblock_child, superblocks
from mountwarden.observe.enter import own_namespace
from mountwarden.observe.superblocks import Superblocks
from mountwarden.scan.scanner import Scanner
from mountwarden.service import loop

from tests.support import seccomp
from tests.support.scratch_ns import Sandbox, hold, overlay
from tests.support.wait import wait_until

USTAT, INOTIFY, NONE = SuperblockTest
ABSENT = "0:1048575"
"""A number that no superblock has."""
FILLERS = 30

Case = Callable[[Superblocks], None]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


@pytest.fixture(params=[USTAT, INOTIFY])
def asked(request: pytest.FixtureRequest, sandbox: Sandbox) -> Callable[[Case], None]:
    """Run a case in a process of the sandbox, whose Superblocks has this way to ask."""
    return lambda case: sandbox.run(_run, request.param, case)


def by(way: SuperblockTest, sandbox: Sandbox, case: Case) -> None:
    sandbox.run(_run, way, case)


def _run(way: SuperblockTest, case: Case) -> None:
    if syscalls.USTAT is None and way is USTAT:
        pytest.skip("this architecture has no ustat(2)")
    if syscalls.USTAT is not None and way is INOTIFY:
        seccomp.forbid(syscalls.USTAT)
    with contextlib.closing(Superblocks()) as made:
        assert made.way is way, made.why
        case(made)
        assert made.way is way, made.why


def home() -> dict[str, bytes]:
    """The superblocks of the mounts below the sandbox's /mnt, as a scan sees them."""
    lines = [line.split(b" ") for line in processes.read("/proc/self/mountinfo").splitlines()]
    first = max(at for at, line in enumerate(lines) if line[4] == b"/mnt")
    return {line[2].decode(): line[4] for line in lines[first + 1 :] if line[4].startswith(b"/mnt/")}


def device(path: bytes) -> str:
    return next(one for one, mountpoint in home().items() if mountpoint == path)


def a_tmpfs(name: bytes = b"a") -> bytes:
    path = b"/mnt/" + name
    os.makedirs(path, exist_ok=True)
    syscalls.mount(b"tmpfs", path, b"tmpfs")
    return path


def an_overlay() -> bytes:
    return overlay(b"/mnt/layer").merged


def a_disk() -> bytes:
    image, path = "/mnt/image", "/mnt/disk"
    for command in (f"truncate -s 8M {image}", f"mkfs.ext4 -q {image}", f"mkdir {path}", f"mount {image} {path}"):
        subprocess.run(command.split(), check=True, capture_output=True)  # its loop device goes with the mount
    return path.encode()


def a_btrfs() -> bytes:
    os.mkdir("/mnt/b")
    subprocess.run(["mount", "/mnt/image", "/mnt/b"], check=True, capture_output=True)
    return b"/mnt/b"


def check(condition: bool) -> None:
    assert condition


def above(make: Callable[[], bytes]) -> bytes:
    """Make it, with free numbers below its own: what others mount meanwhile gets those, and not the one that ends."""
    fillers = [a_tmpfs(b"filler-%d" % at) for at in range(FILLERS)]
    path = make()
    for filler in fillers:
        syscalls.umount(filler)
    return path


KINDS = pytest.mark.parametrize("make", [an_overlay, a_tmpfs, a_disk])


@KINDS
def test_a_plain_umount_ends_it_at_once(asked: Callable[[Case], None], make: Callable[[], bytes]) -> None:
    def case(one: Superblocks) -> None:
        path = above(make)
        number = device(path)
        one.follow(home())
        assert one.ask([number]) == {number: True}
        syscalls.umount(path)
        assert one.ask([number]) == {number: False}
        one.follow(home())
        assert one.ask([number]) == {number: False}

    asked(case)


@KINDS
def test_a_copy_in_a_private_namespace_keeps_it(asked: Callable[[Case], None], make: Callable[[], bytes]) -> None:
    def case(one: Superblocks) -> None:
        path = above(make)
        number = device(path)
        one.follow(home())
        with hold():
            syscalls.umount(path)
            one.follow(home())
            assert one.ask([number]) == {number: True}
        wait_until(lambda: one.ask([number]) == {number: False}, 5, "it ended with the namespace")

    asked(case)


@KINDS
def test_an_open_file_keeps_it(asked: Callable[[Case], None], make: Callable[[], bytes]) -> None:
    def case(one: Superblocks) -> None:
        path = above(make)
        number = device(path)
        one.follow(home())
        fd = os.open(path, os.O_RDONLY)
        syscalls.umount(path, abi.MNT_DETACH)
        one.follow(home())
        assert one.ask([number]) == {number: True}
        os.close(fd)
        wait_until(lambda: one.ask([number]) == {number: False}, 5, "it ended with the file")

    asked(case)


def test_btrfs_has_the_number_that_mountinfo_shows(asked: Callable[[Case], None]) -> None:
    def case(one: Superblocks) -> None:
        for command in ("truncate -s 128M /mnt/image", "mkfs.btrfs -q /mnt/image"):
            subprocess.run(command.split(), check=True, capture_output=True)
        number = device(above(a_btrfs))
        one.follow(home())
        with hold():
            syscalls.umount(b"/mnt/b")
            assert one.ask([number]) == {number: True}
        wait_until(lambda: one.ask([number]) == {number: False}, 5, "it ended with the namespace")

    if shutil.which("mkfs.btrfs") is None or b"\tbtrfs\n" not in processes.read("/proc/filesystems"):
        pytest.skip("no btrfs here")
    asked(case)


def reused() -> str:
    """A number that one superblock had and another one has by now, on the same path."""
    for _attempt in range(200):  # others mount meanwhile, too
        number = device(a_tmpfs())
        syscalls.umount(b"/mnt/a")
        if device(a_tmpfs()) == number:
            return number
        syscalls.umount(b"/mnt/a")
    raise AssertionError("no number was given again")


def test_a_number_given_again_lives_so_the_caller_must_know_whose_it_is(sandbox: Sandbox) -> None:
    """What was asked for has ended. Home's table has the number again; and no reading from before may count."""

    def case(one: Superblocks) -> None:
        number = reused()
        assert one.ask([number]) == {number: True}
        assert number in home()

    by(USTAT, sandbox, case)


def test_a_watch_is_of_the_superblock_that_home_has_now(sandbox: Sandbox) -> None:
    """With the same number on the same path, `follow` gets the same mapping: the kernel says that the one has ended."""

    def case(one: Superblocks) -> None:
        for _attempt in range(200):
            number = device(a_tmpfs())
            first = home()
            one.follow(first)
            syscalls.umount(b"/mnt/a")
            a_tmpfs()
            if home() == first:
                break
            syscalls.umount(b"/mnt/a")
        assert one.ask([number]) == {number: False}, "that which was watched"
        one.follow(home())
        assert one.ask([number]) == {number: True}, "that which is there"
        with hold():
            syscalls.umount(b"/mnt/a")
            one.follow(home())
            assert one.ask([number]) == {number: True}
        wait_until(lambda: one.ask([number]) == {number: False}, 5, "it ended with the namespace")

    by(INOTIFY, sandbox, case)


def test_what_is_not_watched_is_not_known(sandbox: Sandbox) -> None:
    """A mount that came and went between two calls; one that another covers; one that is not there any more."""

    def case(one: Superblocks) -> None:
        before = home()
        number = device(a_tmpfs())
        seen = home()
        syscalls.umount(b"/mnt/a")
        one.follow(before)
        assert one.ask([number]) == {}
        one.follow(seen)
        assert one.ask([number]) == {}, "the path leads to the file system below"
        below = device(a_tmpfs())
        syscalls.mount(b"tmpfs", b"/mnt/a", b"tmpfs")
        above = [one for one in home() if one not in (below, *before)]
        one.follow({below: b"/mnt/a"})
        assert one.ask([below, *above]) == {}
        one.follow(dict.fromkeys((below, *above), b"/mnt/a"))
        assert one.ask([below, *above]) == dict.fromkeys(above, True)
        assert watches(one) == 1, "none stays on what is another superblock"

    by(INOTIFY, sandbox, case)


def watches(one: Superblocks) -> int:
    return len(syscalls.watched_devices(one._watches._fd))


def test_a_watch_keeps_nothing_busy_and_goes_with_its_superblock(sandbox: Sandbox) -> None:
    def case(one: Superblocks) -> None:
        for _ in range(50):
            number = device(a_tmpfs())
            one.follow(home())
            syscalls.umount(b"/mnt/a")
            assert one.ask([number]) == {number: False}
        assert watches(one) == 0

    by(INOTIFY, sandbox, case)


def test_where_nothing_changed_nothing_is_asked(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def case(one: Superblocks) -> None:
        a_tmpfs()
        absent = {"0:1": b"/mnt/absent"}
        one.follow(home() | absent)
        asked = list[list[bytes]]()
        monkeypatch.setattr(superblock_child, "answers", lambda _what, items, _fds: asked.append(items) or {})
        one.follow(home() | absent)
        assert asked == []
        a_tmpfs(b"b")
        one.follow(home())
        assert asked == [[b"/mnt/b"]]

    by(INOTIFY, sandbox, case)


def limit(number: int, what: str = "watches") -> None:
    with open(f"/proc/sys/user/max_inotify_{what}", "w") as file:
        file.write(str(number))


def test_the_limit_of_watches_is_said_and_the_rest_not_known() -> None:
    """Within a user namespace's own limits."""

    def case(one: Superblocks) -> None:
        limit(1)
        first, second = device(a_tmpfs(b"a")), device(a_tmpfs(b"b"))
        one.follow(home())
        assert one.ask([first, second]) == {first: True}
        assert one.why.endswith("; the user's limit of inotify watches is reached (fs.inotify.max_user_watches)")
        limit(100)
        third = device(a_tmpfs(b"c"))
        one.follow(home())
        assert one.ask([first, second, third]) == dict.fromkeys((first, second, third), True)
        assert "limit" not in one.why

    with Sandbox(userns=True) as sandbox:
        by(INOTIFY, sandbox, case)


def test_without_an_inotify_nothing_says_it() -> None:
    def none() -> None:
        limit(0, "instances")
        assert syscalls.USTAT is None or not seccomp.forbid(syscalls.USTAT)
        with contextlib.closing(Superblocks()) as one:
            number = device(a_tmpfs())
            one.follow(home())
            assert (one.way, one.ask([number])) == (NONE, {})
            assert "inotify: EMFILE" in one.why
            limit(10, "instances")
            assert one.way is INOTIFY

    with Sandbox(userns=True) as sandbox:
        sandbox.run(none)


def test_events_that_were_lost_make_all_unknown_until_it_is_watched_again(sandbox: Sandbox) -> None:
    def case(one: Superblocks) -> None:
        gone, there = device(a_tmpfs(b"gone")), device(a_tmpfs(b"there"))
        one.follow(home())
        with open("/proc/sys/fs/inotify/max_queued_events") as file:
            most = int(file.read())
        for _ in range(most):  # each watch that is removed is an event
            watch = syscalls.inotify_add_watch(one._watches._fd, b"/mnt", abi.IN_UNMOUNT)
            syscalls.inotify_rm_watch(one._watches._fd, watch)
        syscalls.umount(b"/mnt/gone")
        assert one.ask([gone, there]) == {}
        one.follow(home())
        assert one.ask([gone, there]) == {there: True}

    by(INOTIFY, sandbox, case)


def test_a_process_that_was_forked_since_takes_no_event_away(sandbox: Sandbox) -> None:
    def case(one: Superblocks) -> None:
        number = device(a_tmpfs())
        one.follow(home())
        syscalls.umount(b"/mnt/a")
        assert child.ask(lambda: one.ask([number]), deadline=5) == {}
        assert one.ask([number]) == {number: False}

    by(INOTIFY, sandbox, case)


def test_paths_are_those_of_the_process_s_own_namespace(sandbox: Sandbox) -> None:
    """It may have gone to another one since its child was started."""

    def case(one: Superblocks) -> None:
        a_tmpfs()
        one.follow(home())
        syscalls.unshare(abi.CLONE_NEWNS)
        number = device(a_tmpfs(b"b"))
        one.follow(home())
        assert one.ask([number]) == {number: True}

    by(INOTIFY, sandbox, case)


def test_why_it_is_not_ustat(sandbox: Sandbox) -> None:
    def case(one: Superblocks) -> None:
        expected = "EPERM, forbidden: a system call filter or a missing capability"
        assert one.why == ("this architecture has no ustat(2)" if syscalls.USTAT is None else f"ustat(2): {expected}")

    by(INOTIFY, sandbox, case)


def test_an_architecture_without_the_call(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "USTAT", None)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        syscalls.is_superblock(ABSENT)
    sandbox.run(lambda: check(Superblocks().why == "this architecture has no ustat(2)"))


def test_a_scan_carries_it_and_its_scanner_ends_the_child(sandbox: Sandbox) -> None:
    def scanned() -> tuple[SuperblockTest, str]:
        with contextlib.closing(Scanner(Config(engines=("host",)), home=own_namespace())) as scanner:
            said = scanner.scan().superblock_test
        assert superblock_child._child.kept.current() is None
        return said

    expected = (INOTIFY, "this architecture has no ustat(2)") if syscalls.USTAT is None else (USTAT, "ustat(2) works")
    assert sandbox.run(scanned) == expected


def test_many_are_asked_for_in_their_order(sandbox: Sandbox) -> None:
    def case(one: Superblocks) -> None:
        alive = [device(a_tmpfs(b"%d" % at)) for at in range(40)]
        absent = [f"0:{1048575 - at}" for at in range(40)]
        mixed = [number for pair in zip(alive, absent, strict=True) for number in pair]
        assert one.ask(mixed) == {number: number in alive for number in mixed}

    by(USTAT, sandbox, case)


def test_ten_cost_little_more_than_their_calls_and_are_counted() -> None:
    numbers = [f"0:{1048575 - at}" for at in range(10)]
    if syscalls.USTAT is None:
        pytest.skip("this architecture has no ustat(2)")
    with contextlib.closing(Superblocks()) as one:
        one.ask(numbers)

        def cost() -> float:
            own, all_of_it = time.process_time(), loop._cpu()
            for _ in range(50):
                assert len(one.ask(numbers)) == 10
            assert superblocks.cpu_seconds() > 0
            asked = (loop._cpu() - all_of_it) / 50
            assert asked * 50 > time.process_time() - own, "the child's share is counted"
            began = time.process_time()
            for _ in range(50):
                for number in numbers:
                    syscalls.is_superblock(number)
            return asked - (time.process_time() - began) / 50

        assert min(cost() for _ in range(5)) < 0.0003
