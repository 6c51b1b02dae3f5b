"""What a container or a user may make of its own namespace to deceive the agent, to starve it, or to break it."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from mountwarden.config.schema import PolicyEntry, RootEntry
from mountwarden.escape import printable
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Evidence, Finding, Kind, Policy, Severity, Tier
from mountwarden.observe import budgets, processes
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply
from mountwarden.remedies.plan import plan
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.kernel.crash import in_few_processes
from tests.kernel.topology import DOCKER, LAYER, ROOT, Home, dockerd
from tests.support import costs, tiers
from tests.support.scratch_ns import Namespace, Overlay, Sandbox, hold, overlay

MERGED = ROOT + b"/X/merged"
MANY = 60_000
"""Mounts that a test makes in one namespace: made by doubling, so as many as a second or two allow."""


@pytest.fixture
def home() -> Iterator[Home]:
    with Sandbox() as sandbox:
        made = Home(sandbox)
        made.shared()
        yield made


def timed(home: Home) -> tuple[Scan, float]:
    """A scan by a fresh process, and its processor seconds."""
    return home.run(lambda: costs.timed(Scanner(home.config, home=own_namespace())))


def own(scan: Scan, *spaces: Namespace) -> list[Finding]:
    inodes = {space.inode for space in spaces}
    return [finding for finding in scan.findings if inodes & {*finding.namespaces}]


def imitated(judge: Callable[[Scanner, Namespace, Finding], None]) -> None:
    """Calls `judge` with the suspicion of a mount that has the text of a real leak, once that leak is detached.

    It is made in a user namespace, at the very path, with the very options, on file systems of its own; and dockerd
    runs, whose record says that the layer is unmounted.
    """

    def run(_sandbox: Sandbox) -> None:
        with dockerd(), hold(propagation="private", userns=True) as hostile:
            real = overlay(LAYER)
            with hold() as watcher:
                syscalls.umount(real.merged)
                hostile.run(lambda: (syscalls.mount(b"tmpfs", b"/var/lib", b"tmpfs"), overlay(LAYER)))
                line = next(line for line in hostile.mountinfo().splitlines() if b" %b " % real.merged in line)
                assert b"upperdir=" + real.upper in line, "word for word what the engine's own would say"
                scanner = Scanner(DOCKER, home=own_namespace())
                scan = scanner.scan()
                (leak,) = own(scan, watcher)
                assert (leak.evidence, leak.namespaces) == (Evidence.RECORD, (watcher.inode,))
                assert own(scan, hostile) == [], "a claim adds nothing to what is proven"
                assert apply.carry_out(leak, scanner, Action.DETACH).done
                assert hostile.is_mounted(real.merged)
                (claim,) = own(scanner.scan(resync=True), hostile)
                assert claim.id == leak.id
                judge(scanner, hostile, claim)
                assert hostile.is_mounted(real.merged)

    in_few_processes(run, 20)


def test_an_overlay_with_the_text_of_a_real_leak_is_info_and_never_acted_on() -> None:
    def judge(scanner: Scanner, _hostile: Namespace, claim: Finding) -> None:
        assert (claim.severity, claim.evidence) == (Severity.INFO, Evidence.CLAIMED)
        for action in (Action.DETACH, Action.UNMOUNT):
            assert apply.carry_out(claim, scanner, action).code == "claimed"

    imitated(judge)


def double(count: int, base: str = "/mnt") -> int:
    """Multiply a bind until there are `count` mounts below /mnt/flood (or another base); how many there are."""
    flood = f"{base}/flood".encode()
    os.makedirs(flood)
    syscalls.mount(b"tmpfs", flood, b"tmpfs")
    syscalls.mount(None, flood, None, abi.MS_PRIVATE)
    made = 1
    os.mkdir(flood + b"/0")
    syscalls.mount(b"tmpfs", flood + b"/0", b"tmpfs")
    number = 1
    while made < count:
        target = b"%b/%d" % (flood, number)
        os.mkdir(target)
        # Binds everything below, this target's siblings too: the number doubles.
        syscalls.mount(flood, target, None, abi.MS_BIND | abi.MS_REC)
        made = made * 2 + 1
        number += 1
    return made


def fill(count: int, base: str) -> int:
    """Make `count` mounts exactly: doubled as far as that goes, and then bound once more in pieces."""
    doubled = 1 << (count.bit_length() - 2)
    double(doubled - 1, base)
    more = f"{base}/more".encode()
    os.mkdir(more)
    syscalls.mount(b"tmpfs", more, b"tmpfs")
    syscalls.mount(None, more, None, abi.MS_PRIVATE)
    left, number = count - len(processes.read("/proc/self/mountinfo").splitlines()), 0
    while left > 1:
        piece = min(left.bit_length() - 1, doubled.bit_length() - 2)  # flood/N has 2**N mounts
        target = b"%b/%d" % (more, number)
        os.mkdir(target)
        syscalls.mount(f"{base}/flood/{piece}".encode(), target, None, abi.MS_BIND | abi.MS_REC)
        left, number = left - (1 << piece), number + 1
    return left


MOST = 99_000
"""Mounts in one namespace, next to what fs.mount-max allows by default."""


BASES = {"short": "/mnt", "long": "/mnt/" + "a" * 250 + "/" + "b" * 250}
"""Where they are: with the longer paths, the text of mountinfo has 54 MiB."""


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("tier", tiers.available(), ids=str)
@pytest.mark.parametrize("base", BASES)
def test_a_leak_beside_as_many_mounts_as_a_namespace_can_hold(home: Home, tier: Tier, base: str) -> None:
    if (allowed := int(processes.read("/proc/sys/fs/mount-max"))) < MOST + 1000:
        pytest.skip(f"fs.mount-max is {allowed}")
    home.layer()
    with hold(home.sandbox, propagation="private") as flood, hold(home.sandbox, propagation="private") as holder:
        assert flood.run(fill, MOST, BASES[base], timeout=120) <= 1
        began = time.thread_time()
        text = flood.mountinfo()
        reading = time.thread_time() - began  # what the kernel takes to write it
        assert MOST - 10 <= len(text.splitlines()) <= MOST
        home.umount(MERGED)
        with tiers.forced(tier):
            scan, seconds = timed(home)
        assert own(scan, holder), "the leak is found"
        assert seconds < 1 + 10 * reading, (seconds, reading)
        gaps = [gap.reason for gap in scan.gaps if gap.namespace == flood.inode]
        assert bool(own(scan, flood)) == (gaps == []), "its own copy is found, or that it could not be read is said"


def test_a_leak_beside_a_flood_of_mounts_costs_3_seconds_at_most_and_is_found(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as flood, hold(home.sandbox, propagation="private") as holder:
        flood.run(double, MANY)
        assert len(flood.mountinfo().splitlines()) >= MANY
        home.umount(MERGED)
        scan, seconds = timed(home)
        assert own(scan, holder), "the leak is found"
        assert seconds < 3, seconds


def test_a_namespace_beyond_its_budget_is_a_gap_and_the_leak_elsewhere_is_found(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as flood, hold(home.sandbox, propagation="private") as holder:
        flood.run(double, 4_000)
        monkeypatch.setattr(budgets, "HOSTS_OWN", replace(budgets.HOSTS_OWN, size=256 << 10))
        home.umount(MERGED)
        scan, seconds = timed(home)
        assert own(scan, holder)
        (gap,) = (gap for gap in scan.gaps if gap.namespace == flood.inode)
        assert gap.reason.startswith("EFBIG")
        assert seconds < 3, seconds
        (finding,) = own(scan, holder)
        assert not home.act(finding, Action.DETACH).done, "what was not read may use the layer"


def stack(times: int) -> None:
    """Mounts on one another, twice as many each time: the kernel walks down through all of them for each one's line."""
    os.mkdir("/mnt/stack")
    syscalls.mount(b"/mnt/stack", b"/mnt/stack", None, abi.MS_BIND)
    syscalls.mount(None, b"/mnt/stack", None, abi.MS_SHARED)
    for _ in range(times):
        syscalls.mount(b"/mnt/stack", b"/mnt/stack", None, abi.MS_BIND)


@pytest.mark.parametrize("tier", tiers.available(), ids=str)
def test_a_stack_of_mounts_that_takes_too_long_to_read_is_a_gap_and_the_leak_elsewhere_is_found(
    home: Home, tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as flood, hold(home.sandbox, propagation="private") as holder:
        flood.run(stack, 13)
        monkeypatch.setattr(budgets, "HOSTS_OWN", replace(budgets.HOSTS_OWN, seconds=0.1))
        home.umount(MERGED)
        with tiers.forced(tier):
            scan, seconds = timed(home)
        assert own(scan, holder)
        (gap,) = (gap for gap in scan.gaps if gap.namespace == flood.inode)
        assert gap.reason.startswith("ETIME")
        assert seconds < 3, seconds


NAMES = (
    b"new\nline",
    b"tab\tand space",
    b"\\134 backslash\\",
    b"\x1b[2J\x1b]0;title\x07",
    b"\xff\xfe not UTF-8",
    "\u202e right to left".encode(),
    b"#comment - overlay x y",
    b"*",
)


def mount(layer: Overlay) -> None:
    """A backslash is overlayfs's own escape in its options."""
    parts = [path.replace(b"\\", b"\\\\") for path in (layer.lower, layer.upper, layer.work)]
    syscalls.mount(b"overlay", layer.merged, b"overlay", 0, b"lowerdir=%b,upperdir=%b,workdir=%b" % tuple(parts))


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_of_any_bytes_is_found_shown_and_detached(home: Home, name: bytes) -> None:
    layer = home.layer(name, mounted=False)
    home.run(lambda: mount(layer))
    with hold(home.sandbox, propagation="private"):
        home.umount(layer.merged)
        (finding,) = home.leaked()
        assert finding.mountpoint == layer.merged
        assert finding.layer == name
        text = printable(finding.mountpoint)
        assert text.isprintable()
        assert "\n" not in text
        outcome = home.act(finding, Action.DETACH)
        assert outcome.done, outcome.text
        assert home.leaked() == ()


def test_mounts_on_the_longest_paths_hide_no_leak(home: Home) -> None:
    """4,095 bytes, and beyond by walking down: the kernel itself cannot show the latter."""
    home.layer()
    with hold(home.sandbox, propagation="private") as hostile, hold(home.sandbox, propagation="private") as holder:

        def deep() -> None:
            syscalls.mount(b"tmpfs", b"/mnt", b"tmpfs")
            os.chdir("/mnt")
            for _ in range(24):
                os.mkdir(b"d" * 200)
                os.chdir(b"d" * 200)
                syscalls.mount(b"tmpfs", b".", b"tmpfs")
                os.chdir(b"/proc/self/cwd/../" + b"d" * 200)

        hostile.run(deep)
        home.umount(MERGED)
        scan, seconds = timed(home)
        assert own(scan, holder)
        assert len(own(scan, hostile)) == 1, "its own copy too, though a tmpfs covers it"
        assert max(map(len, hostile.mountinfo().splitlines())) > 3_500
        assert seconds < 3


def test_processes_that_end_or_move_while_looked_at_cost_nothing_but_themselves(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as holder, contextlib.ExitStack() as stack:
        home.umount(MERGED)
        stack.callback(os.waitpid, restless(home.sandbox), 0)

        def run() -> list[tuple[int, list[str]]]:
            scanner = Scanner(home.config, home=own_namespace())
            until, seen = time.monotonic() + 2, []
            while time.monotonic() < until:
                scan = scanner.scan(resync=True)
                found = [f for f in scan.findings if f.kind is Kind.LEAKED and inode in f.namespaces]
                seen.append((len(found), [gap.what for gap in scan.gaps if gap.what.startswith("lines")]))
            return seen

        inode = holder.inode
        seen = home.run(run)
        assert len(seen) >= 2
        assert {number for number, _gaps in seen} == {1}, "it is in each look"
        assert all(gaps == [] for _number, gaps in seen)


def restless(within: Namespace, seconds: float = 2.5) -> int:
    """A process that makes namespaces, moves between them and forks children that end at once."""
    pid = os.fork()
    if pid:
        return pid
    try:
        fd = os.open(f"/proc/{within.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            syscalls.setns(fd, abi.CLONE_NEWNS)
            child = os.fork()
            if child == 0:
                syscalls.unshare(abi.CLONE_NEWNS)
                os._exit(0)
            syscalls.unshare(abi.CLONE_NEWNS)
            os.waitpid(child, 0)
    finally:
        os._exit(0)


def test_a_policy_cannot_make_a_claim_automatic() -> None:
    """Nothing in the text of a foreign namespace ever leads to an act, however the host is configured."""
    root = b"/var/lib/docker"
    entries = tuple(PolicyEntry(action, Policy.AUTO, root=root) for action in Action)
    config = replace(DOCKER, policies=entries, roots=(RootEntry(root, policy=Policy.AUTO),))

    def judge(_scanner: Scanner, _hostile: Namespace, claim: Finding) -> None:
        assert plan(claim, config).remedies == (), "not even offered"
        real = plan(replace(claim, evidence=Evidence.HISTORY), config)
        assert any(remedy.automatic for remedy in real.remedies), "what is not its evidence would allow it"

    imitated(judge)
