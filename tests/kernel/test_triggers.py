"""What wakes the service, on a real kernel; and what must not."""

import os
import signal
import time
from pathlib import Path

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.service.triggers import Triggers, Wake
from mountwarden.service.watches import is_local, watch_list

from tests.support.scratch_ns import Sandbox, in_child

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces as root")

PLACE = Sandbox.scratch


def triggers() -> Triggers:
    one = Triggers("/proc/self/mountinfo")
    assert one.has_inotify
    return one


def test_a_mount_and_an_umount_wake_and_nothing_else_does() -> None:
    def check() -> list[set[str]]:
        one = triggers()
        seen = [set(one.drain())]
        os.mkdir(PLACE + b"/a")
        seen.append(set(one.drain()))
        syscalls.mount(b"x", PLACE + b"/a", b"tmpfs")
        seen += [set(one.wait(2)), set(one.drain())]
        syscalls.umount(PLACE + b"/a")
        seen += [set(one.wait(2)), set(one.drain())]
        return seen

    with Sandbox() as home:
        assert home.run(check) == [set(), set(), {Wake.MOUNTS}, set(), {Wake.MOUNTS}, set()]


def test_mounts_do_not_wake_who_waits_for_signals_only_and_are_not_lost() -> None:
    def check() -> tuple[set[str], set[str]]:
        one = triggers()
        syscalls.mount(b"x", PLACE, b"tmpfs")
        started = time.monotonic()
        muted = one.wait(0.2, look=True)
        assert time.monotonic() - started >= 0.2
        return set(muted), set(one.drain())

    with Sandbox() as home:
        assert home.run(check) == (set(), {Wake.MOUNTS})


def test_mounts_wake_who_waits_for_a_scan_that_is_put_off() -> None:
    def check() -> tuple[set[str], set[str]]:
        one = triggers()
        syscalls.mount(b"x", PLACE, b"tmpfs")
        return set(one.wait(2, scan=True)), set(one.drain())

    with Sandbox() as home:
        assert home.run(check) == ({Wake.MOUNTS}, set())


def test_what_is_followed_wakes_until_it_is_read_and_not_a_scan_that_comes_anyway() -> None:
    def check() -> list[set[str]]:
        one, (reader, writer) = triggers(), os.pipe()
        one.follow(reader)
        seen = [set(one.wait(0.01))]
        os.write(writer, b"x")
        seen += [set(one.wait(2)), set(one.wait(2)), set(one.drain()), set(one.wait(0.01, look=True))]
        one.follow(None)
        return [*seen, set(one.wait(0.01))]

    assert in_child(check, 10) == [set(), {Wake.MOUNTS}, {Wake.MOUNTS}, set(), set(), set()]


@pytest.mark.parametrize(
    ("number", "wake"),
    [(signal.SIGTERM, Wake.TERMINATE), (signal.SIGINT, Wake.TERMINATE), (signal.SIGHUP, Wake.RELOAD)],
)
def test_signals_wake(number: signal.Signals, wake: Wake) -> None:
    def check() -> tuple[set[str], set[str]]:
        one = triggers()
        os.kill(os.getpid(), number)
        return set(one.wait(2, look=True)), set(one.drain())

    assert in_child(check, 10) == ({wake}, set())


def test_a_root_that_appears_wakes_and_so_does_its_end() -> None:
    root = PLACE + b"/lib/engine/data"

    def check() -> list[set[str]]:
        os.mkdir(PLACE + b"/lib")
        one, seen = triggers(), []
        for step in (
            lambda: os.mkdir(PLACE + b"/lib/other"),
            lambda: os.mkdir(PLACE + b"/lib/engine"),
            lambda: os.mkdir(root),
            lambda: os.mkdir(root + b"/layer"),
            lambda: os.rename(root, root + b".old"),
        ):
            one.watch(watch_list([root], b"/etc/mountwarden"))
            step()
            seen.append(set(one.drain()))
        return seen

    with Sandbox() as home:
        assert home.run(check) == [set(), {Wake.ROOTS}, {Wake.ROOTS}, set(), {Wake.ROOTS}]


def test_our_configuration_wakes_when_a_file_is_complete() -> None:
    own = PLACE + b"/etc"

    def check() -> list[set[str]]:
        os.mkdir(own)
        one, seen = triggers(), []
        one.watch(watch_list([], own))
        file = os.open(own + b"/mountwarden.toml", os.O_WRONLY | os.O_CREAT)
        os.write(file, b"tick")
        seen.append(set(one.drain()))
        os.close(file)
        seen.append(set(one.drain()))
        os.close(os.open(own + b"/.mountwarden.toml.swp", os.O_WRONLY | os.O_CREAT))
        seen.append(set(one.drain()))
        os.rename(own + b"/mountwarden.toml", own + b"/old.toml")
        seen.append(set(one.drain()))
        return seen

    with Sandbox() as home:
        assert home.run(check) == [set(), {Wake.CONFIG}, set(), {Wake.CONFIG}]


def test_a_lost_queue_is_reported() -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    own = PLACE + b"/etc"

    def check() -> set[str]:
        os.mkdir(own)
        one = triggers()
        one.watch(watch_list([], own))
        for number in range(limit // 2 + 50):
            # Two events each; different names, so that the kernel does not merge them.
            os.rename(_touched(own + b"/%d" % number), own + b"/x%d" % number)
        return set(one.drain())

    with Sandbox() as home:
        assert Wake.OVERFLOW in home.run(check, timeout=50)


def _touched(path: bytes) -> bytes:
    os.mknod(path)
    return path


def test_a_busy_root_costs_nothing() -> None:
    """An engine that makes and removes layers all the time: no event, no wake-up, no time in us."""
    root = PLACE + b"/overlay2"

    def check() -> tuple[set[str], float]:
        os.mkdir(root)
        one = triggers()
        one.watch(watch_list([root], b"/etc/mountwarden"))
        for number in range(5000):
            os.mkdir(root + b"/%d" % number)
            os.rename(root + b"/%d" % number, root + b"/x")
            os.rmdir(root + b"/x")
        started = time.process_time()
        wakes = one.drain()
        return set(wakes), time.process_time() - started

    with Sandbox() as home:
        wakes, seconds = home.run(check, timeout=50)
    assert wakes == set()
    assert seconds < 0.01


def test_watches_do_not_pile_up() -> None:
    def check() -> tuple[int, int]:
        one = triggers()
        counts = []
        for number in range(50):
            os.mkdir(PLACE + b"/%d" % number)
            one.watch(watch_list([PLACE + b"/%d" % number], b"/etc/mountwarden"))
            text = Path(f"/proc/self/fdinfo/{one._inotify.fileno()}").read_text()
            counts.append(text.count("inotify wd:"))
        return counts[0], counts[-1]

    with Sandbox() as home:
        first, last = home.run(check)
    assert first == last


def test_a_watch_does_not_keep_a_file_system_busy() -> None:
    def check() -> set[str]:
        os.mkdir(PLACE + b"/a")
        syscalls.mount(b"x", PLACE + b"/a", b"tmpfs")
        one = triggers()
        one.watch(watch_list([PLACE + b"/a"], b"/etc/mountwarden"))
        syscalls.umount(PLACE + b"/a", abi.UMOUNT_NOFOLLOW)
        return set(one.drain())

    with Sandbox() as home:
        assert home.run(check) >= {Wake.MOUNTS}


@pytest.mark.parametrize(
    ("fstype", "expected"), [("ext4", True), ("overlay", True), ("nfs4", False), ("fuse.sshfs", False), ("9p", False)]
)
def test_paths_on_network_and_fuse_are_not_looked_up(fstype: str, expected: bool) -> None:
    assert is_local(fstype) is expected
