"""A restart of the service within a leak's life: what is found again keeps its history, and nothing else gets one."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Evidence, Finding, Kind, Tier
from mountwarden.mounts.table import Table
from mountwarden.observe.enter import own_namespace
from mountwarden.scan import stored_history
from mountwarden.scan.scanner import Scanner
from mountwarden.scan.stored_history import StoredHistory

from tests.kernel.topology import CONFIG, ROOT, Home
from tests.support import tiers
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay
from tests.support.wait import wait_until

MERGED = ROOT + b"/X/merged"
HISTORY, SPOT = [Evidence.HISTORY], [Evidence.SPOT]
Numbers = tuple[int, int, int, str]
"""What names a copy on an old kernel: the namespace's inode, its own and its parent's small id, the device."""
ATTEMPTS = 20
"""How often the kernel is asked for the same numbers again; others on this machine may have taken one."""


@dataclass
class Runs:
    """Runs of the service in home, each of which takes up what the one before it saved, as text. The first one runs."""

    scanner: Scanner = field(init=False)
    saved: StoredHistory | None = None

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, tier: Tier | None = None) -> None:
        """The next run begins."""
        if self.saved is not None:
            self.saved, why = stored_history.load(stored_history.dump(self.saved, 1 << 24), self.saved.boot_id)
            assert why is None
        self.scanner = Scanner(CONFIG, home=own_namespace(), tier=tier, history=self.saved, keep=self._keep)

    def _keep(self, saved: StoredHistory) -> None:
        self.saved = saved

    def renumber(self, before: Numbers, now: Numbers) -> None:
        """Had the kernel given a copy these numbers then, this would have been saved."""
        assert self.saved
        if before != now:
            space, small, parent, device = now
            (mount,) = self.saved.mounts
            (row,) = (row for one in self.saved.namespaces for row in one.copies if row[0] == before[1])
            spaces = (
                replace(one, inode=space, copies=((small, row[1], parent, 0),)) if one.inode == before[0] else one
                for one in self.saved.namespaces
            )
            self.saved = replace(self.saved, mounts=(replace(mount, device=device),), namespaces=tuple(spaces))

    def found(self, kind: Kind) -> list[Finding]:
        """What a scan finds, when it is sure that the holders are older: their start is known to 10 ms."""
        until = time.monotonic() + 0.02
        wait_until(lambda: time.monotonic() > until, 1)
        return [finding for finding in self.scanner.scan(resync=True).findings if finding.kind is kind]

    def evidence(self) -> list[Evidence | None]:
        """The evidence of each leak that a scan finds."""
        return [finding.evidence for finding in self.found(Kind.LEAKED)]


def layer() -> None:
    """Mount the layer, with the same options each time: the first mount of a new upperdir has others."""
    overlay(ROOT + b"/X")
    syscalls.umount(MERGED)
    overlay(ROOT + b"/X")


def copy_of(holder: Namespace) -> Numbers:
    (mount,) = (one for one in Table.from_text(holder.mountinfo()).mounts if one.point == MERGED)
    return holder.inode, mount.id, mount.parent, mount.device


def test_what_was_left_behind_keeps_its_history(home: Home) -> None:
    def run() -> None:
        layer()
        runs = Runs()
        with hold():
            assert runs.evidence() == []
            syscalls.umount(MERGED)
            assert runs.evidence() == HISTORY
            for _ in range(3):
                runs.restart()
                assert runs.evidence() == HISTORY
            assert runs.evidence() == HISTORY, "and within the run"
        runs.restart()
        assert runs.evidence() == []
        assert runs.saved
        assert runs.saved.mounts == (), "what ended is not kept"

    home.run(run)


def test_an_umount_while_no_service_ran_is_known_of_a_copy_that_was_seen_beside_home_s_mount(home: Home) -> None:
    def run() -> None:
        layer()
        runs = Runs()
        with hold():
            assert runs.evidence() == []
            syscalls.umount(MERGED)
            runs.restart()
            assert runs.evidence() == HISTORY

    home.run(run)


def test_a_copy_that_nobody_saw_beside_home_s_mount_has_no_history(home: Home) -> None:
    def run() -> None:
        layer()
        runs = Runs()
        assert runs.evidence() == []
        with hold():
            syscalls.umount(MERGED)
            runs.restart()
            assert runs.evidence() == SPOT

    home.run(run)


def test_a_bind_elsewhere_is_found_again(home: Home) -> None:
    def run() -> None:
        layer()
        os.makedirs("/mnt/o")
        runs = Runs()
        with hold() as holder:
            holder.run(syscalls.mount, MERGED, b"/mnt/o", None, abi.MS_BIND)
            holder.run(syscalls.umount, MERGED)
            assert runs.evidence() == []
            syscalls.umount(MERGED)
            for _ in range(2):
                runs.restart()
                (finding,) = runs.found(Kind.LEAKED)
                assert (finding.evidence, finding.first.seen_at) == (Evidence.HISTORY, b"/mnt/o")

    home.run(run)


PAIRS = [
    pytest.param(first, then, marks=[] if then is tiers.available()[at - 1] else [pytest.mark.long])
    for at, first in enumerate(tiers.available())
    for then in tiers.available()
]


@pytest.mark.parametrize(("first", "then"), PAIRS, ids=str)
def test_another_tier_after_the_restart(first: Tier, then: Tier) -> None:
    def run() -> None:
        layer()
        runs = Runs()
        runs.restart(first)
        with hold():
            assert runs.evidence() == []
            runs.restart(then)
            assert runs.evidence() == []
            syscalls.umount(MERGED)
            runs.restart(first)
            assert runs.evidence() == HISTORY
            runs.restart(then)
            assert runs.evidence() == HISTORY

    with Sandbox() as sandbox:
        made = Home(sandbox)
        made.shared()
        made.run(run)


@contextmanager
def reused(runs: Runs, before: Numbers) -> Iterator[Namespace]:
    """Mount the layer again, which has the same options, in a new namespace whose every number is that of before."""
    for attempt in range(ATTEMPTS):
        overlay(ROOT + b"/X")
        with hold() as holder:
            if (now := copy_of(holder)) == before or attempt == ATTEMPTS - 1:
                runs.renumber(before, now)
                yield holder
                return
        syscalls.umount(MERGED)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("left", [False, True])
def test_a_copy_that_has_all_numbers_of_one_of_before_has_no_history(home: Home, left: bool) -> None:
    """The kernel gives a namespace's inode, mount ids and an overlay's device number to the next that asks."""

    def run() -> None:
        layer()
        runs = Runs()
        with hold() as holder:
            before = copy_of(holder)
            assert runs.evidence() == []
            syscalls.umount(MERGED)
            if left:
                assert runs.evidence() == HISTORY
        with reused(runs, before):
            syscalls.umount(MERGED)
            runs.restart()
            assert runs.evidence() == SPOT

    home.sandbox.run(run, timeout=50)


def remount(runs: Runs, holder: Namespace, before: Numbers, mount: Callable[[], object]) -> None:
    """The holder itself mounts another on the spot, which has all numbers of its copy of before."""
    os.mkdir("/mnt/other")
    for attempt in range(ATTEMPTS):
        holder.run(syscalls.umount, MERGED)
        holder.run(mount)
        if copy_of(holder) == before:
            return
        holder.run(syscalls.umount, MERGED)
        taker = b"/mnt/taker%d" % attempt  # each on its own: on one another, shared mounts double each time
        os.mkdir(taker)
        syscalls.mount(b"/mnt/other", taker, None, abi.MS_BIND)  # takes the lowest id that is free
        holder.run(mount)
    runs.renumber(before, copy_of(holder))


@pytest.mark.timeout(60)
def test_another_layer_with_the_device_of_before_has_no_history(home: Home) -> None:
    """In the same namespace, by a process that was in it before: its options tell, or its unique id."""

    def run() -> None:
        layer()
        runs = Runs()
        with hold() as holder:
            before = copy_of(holder)
            assert runs.evidence() == []
            syscalls.umount(MERGED)
            remount(runs, holder, before, other_upper)
            runs.restart()
            assert runs.evidence() == SPOT

    home.sandbox.run(run, timeout=50)


def other_upper() -> None:
    options = b"lowerdir=%b/X/lower,upperdir=%b/X/upper2,workdir=%b/X/work2" % (ROOT, ROOT, ROOT)
    for name in (b"upper2", b"work2"):
        os.makedirs(ROOT + b"/X/" + name, exist_ok=True)
    syscalls.mount(b"overlay", MERGED, b"overlay", 0, options)


@pytest.mark.timeout(60)
def test_the_same_layer_mounted_again_by_the_holder_itself_is_told_apart_by_its_unique_id(
    home: Home, tier: Tier
) -> None:
    """The one imitation that an old kernel lets pass: every number, the same directories, the same process."""

    def run() -> None:
        layer()
        runs = Runs()
        with hold() as holder:
            before = copy_of(holder)
            assert runs.evidence() == []
            syscalls.umount(MERGED)
            remount(runs, holder, before, lambda: overlay(ROOT + b"/X"))
            runs.restart()
            assert runs.evidence() == (HISTORY if tier is Tier.MOUNTINFO else SPOT)

    home.sandbox.run(run, timeout=50)


def test_a_layer_that_home_has_again_is_live(home: Home) -> None:
    def run() -> None:
        layer()
        os.mkdir("/mnt/kept")
        runs = Runs()
        with hold():
            assert runs.evidence() == []
            syscalls.mount(MERGED, b"/mnt/kept", None, abi.MS_BIND)
            syscalls.umount(MERGED)
            runs.restart()
            assert runs.evidence() == [], "home has it elsewhere"
            syscalls.mount(b"/mnt/kept", MERGED, None, abi.MS_BIND)
            syscalls.umount(b"/mnt/kept")
            runs.restart()
            assert runs.evidence() == []
            syscalls.umount(MERGED)
            assert runs.evidence() == HISTORY

    home.run(run)


@pytest.mark.timeout(60)
def test_what_processes_keep_open_is_pinned_after_a_restart_too(home: Home) -> None:
    def run() -> None:
        layer()
        runs = Runs()
        with hold(cwd=MERGED) as holder:
            assert runs.evidence() == []
            syscalls.umount(MERGED)
            holder.run(syscalls.umount, MERGED, abi.MNT_DETACH)
            assert [finding.count for finding in runs.found(Kind.PINNED)] == [1]
            for _ in range(2):
                runs.restart()
                assert [finding.count for finding in runs.found(Kind.PINNED)] == [1]
        runs.restart()
        assert runs.found(Kind.PINNED) == []

    home.sandbox.run(run, timeout=50)
