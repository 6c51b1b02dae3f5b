"""The findings besides leaked, each on its topology made for real."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from mountwarden.config.schema import Config
from mountwarden.judge.stacked import DEPTH
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Evidence, Finding, Kind, Outcome, Reach, Severity
from mountwarden.observe import detached_users, processes
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.kernel.topology import CONFIG, ROOT, Home
from tests.support.scratch_ns import hold, overlay
from tests.support.wait import wait_until

MERGED = ROOT + b"/X/merged"


def scans(home: Home, *steps: Callable[[], None], kind: Kind) -> list[list[Finding]]:
    """The findings of one kind at a look before the first step, and after each, by one looker."""

    def watched() -> list[list[Finding]]:
        scanner = Scanner(home.config, home=own_namespace())
        seen: list[Scan] = [scanner.scan()]
        for step in steps:
            step()
            seen.append(scanner.scan())
        return [[finding for finding in scan.findings if finding.kind is kind] for scan in seen]

    return home.run(watched)


def test_severed_names_the_private_copy_and_not_the_slave(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as cut, hold(home.sandbox, propagation="slave"):
        (finding,) = (f for f in home.findings() if f.kind is Kind.SEVERED)
        assert (finding.namespaces, finding.count) == ((cut.inode,), 1)
        assert finding.severity is Severity.WARNING, "a [[root]]'s engine is not known to rmdir on put"


def test_a_slave_of_a_slave_is_reached(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave") as first:
        first.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_SHARED))
        with hold(first, propagation="slave") as second:
            assert [f for f in home.findings() if f.kind is Kind.SEVERED] == []
            home.umount(MERGED)
            assert not second.is_mounted(MERGED), "as the kernel then shows"
            assert home.leaked() == ()


def test_a_mount_that_went_while_a_process_holds_a_file_is_pinned(home: Home) -> None:
    layer = home.layer()
    with hold(home.sandbox, propagation="slave", cwd=MERGED) as holder:

        def watched() -> list[Finding]:
            detached_users.PERIOD = 0.0  # a scan at each look
            scanner = Scanner(home.config, home=own_namespace())
            scanner.scan()
            syscalls.umount(layer.merged, abi.MNT_DETACH)
            first = scanner.scan()
            return [f for scan in (first, scanner.scan()) for f in scan.findings if f.kind is Kind.PINNED]

        found = home.run(watched)
        assert len(found) == 2, "it stays while it is held"
        assert {h.pid for f in found for h in f.holders} == {holder.pid}
        assert found[0].first.reach is Reach.HOLDERS
        assert not holder.is_mounted(MERGED), "no mount is left"


def test_a_mount_that_went_and_that_nobody_holds_is_not_pinned(home: Home) -> None:
    home.layer()
    assert scans(home, lambda: syscalls.umount(MERGED), kind=Kind.PINNED) == [[], []]


def test_a_self_bind_that_multiplies_is_stacked(home: Home) -> None:
    home.layer()

    def again() -> None:
        for _ in range(3):
            syscalls.mount(MERGED, MERGED, None, abi.MS_BIND)

    before, after = scans(home, again, kind=Kind.STACKED)
    assert before == []
    # On a shared mount each bind of it on itself doubles what is there.
    assert [(f.count, f.mountpoint, f.remedies) for f in after] == [(8, MERGED, ())]


def test_what_a_chroot_shows_once_more_is_not_stacked_but_what_is_bound_on_itself_there_is(home: Home) -> None:
    """`ip netns add demo; mount --rbind / DIR; mount --make-rprivate DIR`, and then a self-bind of the copy."""
    home.config = Config(engines=("netns",))
    chroot, netns = b"/mnt/chroot", b"/run/netns/demo"

    def add() -> None:
        syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_SHARED)
        syscalls.mount(b"run", b"/run", b"tmpfs")
        os.makedirs(b"/run/netns")
        syscalls.mount(b"/run/netns", b"/run/netns", None, abi.MS_BIND)
        os.close(os.open(netns, os.O_CREAT | os.O_RDONLY))
        syscalls.unshare(0x40000000)  # CLONE_NEWNET
        syscalls.mount(b"/proc/self/ns/net", netns, None, abi.MS_BIND)

    def bind() -> None:
        os.mkdir(chroot)
        syscalls.mount(b"/", chroot, None, abi.MS_REC | abi.MS_BIND)
        syscalls.mount(None, chroot, None, abi.MS_REC | abi.MS_PRIVATE)

    def again() -> None:
        for _ in range(DEPTH - 1):
            syscalls.mount(chroot + netns, chroot + netns, None, abi.MS_BIND)

    home.run(add)
    assert scans(home, bind, again, kind=Kind.STACKED)[:2] == [[], []]
    points = [line.split(b" ")[4] for line in home.sandbox.mountinfo().splitlines()]
    assert points.count(netns) == 2, "also on the directory that the self-bind of /run/netns covers"
    assert points.count(chroot + netns) == DEPTH + 1
    with hold(home.sandbox, propagation="private"):
        (found,) = (f for f in home.findings() if f.kind is Kind.STACKED)
        assert (found.mountpoint, found.count, found.spaces) == (netns, DEPTH, 1), "what home has is told of home alone"
        assert [(copy.namespace, copy.seen_at) for copy in found.copies] == [(home.sandbox.inode, chroot + netns)]


def test_a_container_whose_layer_home_unmounts_is_orphaned(home: Home) -> None:
    layer = home.layer()
    home.run(lambda: os.makedirs(layer.merged + b"/old"))
    with hold(home.sandbox, propagation="private") as container:

        def enter() -> None:
            os.chdir(layer.merged)
            syscalls.pivot_root(b".", b"old")
            syscalls.umount(b"/old", abi.MNT_DETACH)

        inode = container.inode
        pid = container.pid

        def end() -> None:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: b"\nState:\tZ" in processes.read(f"/proc/{pid}/status"), 30, "it has ended")

        container.run(enter)  # pivot_root(2) moves the roots of all processes of the namespace
        before, after, gone = scans(home, lambda: syscalls.umount(MERGED), end, kind=Kind.ORPHANED)
        assert before == []
        (finding,) = after
        assert (finding.namespaces, finding.first.seen_at, finding.evidence) == ((inode,), b"/", Evidence.HISTORY)
        assert finding.holders
        assert gone == [], "it ends with its processes"


def test_a_layer_bound_elsewhere_is_only_known_with_a_history(home: Home) -> None:
    home.layer()
    with hold(home.sandbox) as holder:

        def bind() -> None:
            os.mkdir("/mnt/o")
            syscalls.mount(MERGED, b"/mnt/o", None, abi.MS_BIND)
            syscalls.umount(MERGED)

        holder.run(bind)
        _before, after = scans(home, lambda: syscalls.umount(MERGED), kind=Kind.LEAKED)
        (found,) = after
        (copy,) = found.copies
        assert (found.evidence, copy.reach, copy.seen_at) == (Evidence.HISTORY, Reach.INSIDE, b"/mnt/o")
        assert home.leaked() == (), "a fresh look has nothing but an attacker's text to go by"


def test_two_overlays_on_one_upperdir_are_critical(home: Home) -> None:
    home.layer()
    with hold(home.sandbox):
        home.umount(MERGED)
        home.run(lambda: overlay(ROOT + b"/X"))
        (finding,) = home.leaked()
        assert finding.severity is Severity.CRITICAL
        assert "two overlays" in finding.detail


@pytest.fixture
def disk(home: Home) -> Iterator[bytes]:
    """A loop device with an ext4, mounted on /mnt/disk at home."""

    def make() -> bytes:
        os.mkdir("/mnt/disk")
        for command in ("truncate -s 8M /mnt/image", "mkfs.ext4 -q /mnt/image"):
            subprocess.run(command.split(), check=True)
        shown = subprocess.run(["losetup", "--find", "--show", "/mnt/image"], check=True, capture_output=True)
        syscalls.mount(shown.stdout.strip(), b"/mnt/disk", b"ext4")
        return shown.stdout.strip()

    device = home.run(make)
    yield device
    subprocess.run(["losetup", "--detach", device], check=False, capture_output=True)


def attached(device: bytes) -> bool:
    return os.path.exists(b"/sys/block/" + os.path.basename(device) + b"/loop/backing_file")


def test_a_block_device_that_a_copy_keeps_busy_is_critical_and_a_detach_frees_it(home: Home, disk: bytes) -> None:
    home.config = replace(CONFIG, engines=("host",))
    with hold(home.sandbox, propagation="private") as holder:

        def watched() -> tuple[list[Finding], Outcome, bool]:
            scanner = Scanner(home.config, home=own_namespace())
            scanner.scan()
            syscalls.umount(b"/mnt/disk")
            subprocess.run([b"losetup", b"--detach", disk], check=True)
            busy = attached(disk)
            found = [f for f in scanner.scan().findings if f.kind is Kind.LEAKED]
            return found, apply.carry_out(found[0], scanner, Action.DETACH), busy

        (finding,), outcome, busy = home.run(watched)
        assert busy, "losetup says nothing, and the device stays"
        assert (finding.severity, finding.first.reach, finding.mountpoint) == (
            Severity.CRITICAL,
            Reach.RMDIR,
            b"/mnt/disk",
        )
        assert outcome.done, outcome.text
        assert not holder.is_mounted(b"/mnt/disk")
        wait_until(lambda: not attached(disk), 30, "the device is free")


def test_a_namespace_with_the_inode_of_one_that_ended_is_read_anew(home: Home) -> None:
    home.layer()
    home.umount(MERGED)  # before any look: only the spot tells

    def watched() -> tuple[int, int]:
        scanner = Scanner(home.config, home=own_namespace())
        for _attempt in range(200):
            with hold(propagation="private") as first:
                inode = first.inode
                scanner.scan()
            with hold(propagation="private") as second:
                if second.inode != inode:
                    continue
                second.run(lambda: overlay(ROOT + b"/X"))  # no event at home
                found = [f for f in scanner.scan().findings if f.kind is Kind.LEAKED]
                return inode, len([f for f in found if inode in f.namespaces])
        return 0, 0

    inode, found = home.run(watched)
    if not inode:
        pytest.skip("the kernel reused no inode in 200 tries")
    assert found == 1
