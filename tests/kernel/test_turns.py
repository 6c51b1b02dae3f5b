"""Which namespaces a scan reads that has no time for all of them, and what is known of what it leaves."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

import pytest
from mountwarden.kernel import syscalls
from mountwarden.ledger import update
from mountwarden.ledger.update import Ledger, Now
from mountwarden.model import Kind, Tier
from mountwarden.observe.budgets import LATER, OVER
from mountwarden.observe.enter import own_namespace
from mountwarden.scan import readings
from mountwarden.scan.part import Part
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.kernel import crash
from tests.kernel.topology import CONFIG, ROOT
from tests.support import tenants, tiers
from tests.support.scratch_ns import hold, overlay

T = TypeVar("T")

MERGED = ROOT + b"/X/merged"


class Watched(Scanner):
    """A scanner on which the time is up after so many readings of namespaces, and that tells which they were."""

    def __init__(self, tier: Tier = Tier.MOUNTINFO) -> None:
        super().__init__(CONFIG, home=own_namespace(), deadline=1000.0, tier=tier)
        self.most: float = float("inf")
        self.reads: list[int] = []
        read, refusal = self._observer.read, self._budgets.refusal

        def counted(inode: int, *rest: object) -> object:
            self.reads.append(inode)
            return read(inode, *rest)  # type: ignore[arg-type]

        self._observer.read = counted  # type: ignore[method-assign, assignment]
        self._budgets.refusal = (  # type: ignore[method-assign]
            lambda owner: LATER if len(self.reads) >= self.most else refusal(owner)
        )

    def next(
        self, most: float = float("inf"), part: Part | None = None, *, resync: bool = False
    ) -> tuple[Scan, list[int]]:
        """A scan, and what it read in turn."""
        self.most, self.reads = most, []
        return self.scan(part, resync=resync), self.reads


def in_processes(judge: Callable[[], T]) -> T:
    return crash.in_few_processes(lambda _sandbox: judge(), 60)


def unread(scan: Scan) -> dict[int, tuple[str, str | None]]:
    return {gap.namespace: (gap.reason, gap.owner) for gap in scan.gaps if gap.namespace is not None}


@contextlib.contextmanager
def holders(count: int) -> Iterator[list[int]]:
    """Inodes of private copies of the caller's namespace."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(hold()).inode for _ in range(count)]


def leaked(scan: Scan) -> set[int]:
    return {inode for one in scan.findings if one.kind is Kind.LEAKED for inode in one.namespaces}


def test_a_scan_that_has_no_time_leaves_all_and_says_so() -> None:
    def judge() -> None:
        with holders(3) as spaces, contextlib.closing(Scanner(CONFIG, home=own_namespace(), deadline=1e-9)) as scanner:
            scan = scanner.scan()
            assert scan.owes
            assert not scan.complete
            assert {inode: unread(scan)[inode] for inode in spaces} == dict.fromkeys(spaces, (LATER, None))

    in_processes(judge)


def test_the_next_scans_read_what_was_left_and_nothing_twice() -> None:
    def judge() -> None:
        with holders(5) as spaces, contextlib.closing(Watched()) as scanner:
            done: list[int] = []
            for most in (2, 2):
                scan, reads = scanner.next(most)
                assert scan.owes
                assert len(reads) == most
                assert not unread(scan).keys() & set(done + reads)
                done += reads
            scan, reads = scanner.next(1000)
            assert set(spaces) <= set(done + reads)
            assert not set(done) & set(reads)
            assert (scan.owes, unread(scan)) == (False, {})

    in_processes(judge)


def test_suspects_and_new_ones_come_before_what_was_left_and_that_before_the_rest() -> None:
    def judge() -> None:
        overlay(ROOT + b"/X")
        with holders(1) as suspects, contextlib.closing(Watched()) as scanner:
            scanner.next()
            syscalls.umount(MERGED)
            with holders(6) as spaces:
                scan, _ = scanner.next()
                assert leaked(scan) == set(suspects)
                _, early = scanner.next(4, resync=True)
                rest = set(spaces) - set(early)
                with holders(2) as new:
                    scan, reads = scanner.next(resync=True)
                first, then = reads[:3], reads[3:]
                assert set(first) == {*suspects, *new}
                assert rest
                assert set(then[: len(rest)]) == rest
                assert set(early) - set(suspects) <= set(then[len(rest) :])
                assert leaked(scan) == set(suspects)

    in_processes(judge)


def test_a_leak_in_what_was_left_when_home_unmounted_has_history() -> None:
    def judge() -> None:
        overlay(ROOT + b"/X")
        with holders(3) as spaces, contextlib.closing(Watched()) as scanner:
            scanner.next()
            syscalls.umount(MERGED)
            scan, reads = scanner.next(0)
            assert (reads, leaked(scan)) == ([], set())
            scan, reads = scanner.next(1)
            assert len(leaked(scan)) == 1
            scan, _ = scanner.next()
            assert leaked(scan) == set(spaces)
            found = [one for one in scan.findings if one.kind is Kind.LEAKED]
            assert [one.evidence for one in found] == ["history"] * len(found)
            assert not scanner._history.departed, "no namespace waits any more"
            scan, _ = scanner.next()
            assert [one.evidence for one in scan.findings if one.kind is Kind.LEAKED] == ["history"] * len(found)

    in_processes(judge)


def test_another_mount_of_the_same_device_number_has_none() -> None:
    """The layer ended while its namespace waited, and its number is that of what a container mounted since."""

    def judge() -> bool:
        overlay(ROOT + b"/X")
        with hold() as space, contextlib.closing(Watched()) as scanner:
            scanner.next()
            device = os.stat(MERGED).st_dev
            syscalls.umount(MERGED)
            scanner.next(0)
            if not space.run(lambda: is_reused(device)):
                return False
            for _ in range(2):
                scan, reads = scanner.next()
                assert space.inode in reads
                assert "history" not in [one.evidence for one in scan.findings]
        return True

    if not any(in_processes(judge) for _ in range(5)):
        pytest.skip("others on this machine took the number")


def is_reused(device: int) -> bool:
    """Unmount the copy, and mount other overlays on its spot until one has its device number."""
    syscalls.umount(MERGED)
    for number in range(50):
        made = overlay(b"%s/other%d" % (ROOT, number), mounted=False)
        options = b"lowerdir=%b,upperdir=%b,workdir=%b" % (made.lower, made.upper, made.work)
        syscalls.mount(b"overlay", MERGED, b"overlay", 0, options)
        if os.stat(MERGED).st_dev == device:
            return True
    return False


@pytest.mark.parametrize("which", tiers.available(), ids=str)
def test_what_could_not_be_read_is_unread_until_it_was(which: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read of it before is of no use: home has unmounted since."""
    monkeypatch.setattr(readings, "LONGEST_PAUSE", 0.5)

    def judge() -> None:
        overlay(ROOT + b"/X")
        with hold() as space, contextlib.closing(Scanner(CONFIG, home=own_namespace(), tier=which)) as scanner:
            for _ in range(4):
                assert unread(scanner.scan()) == {}
            syscalls.umount(MERGED)
            read = scanner._observer.read
            scanner._observer.read = lambda *_: beyond()  # type: ignore[method-assign]
            assert unread(scanner.scan())[space.inode][0].startswith("ETIME")
            scanner._observer.read = read  # type: ignore[method-assign]
            for _ in range(2):
                scan = scanner.scan()
                assert unread(scan)[space.inode][0].startswith("ETIME"), "it is tried again after a pause"
            time.sleep(1.1)
            scan = scanner.scan()
            assert (unread(scan), leaked(scan)) == ({}, {space.inode})

    in_processes(judge)


def beyond() -> NoReturn:
    raise OSError(errno.ETIME, os.strerror(errno.ETIME))


@pytest.mark.parametrize("ends", [False, True])
def test_what_an_owner_had_is_kept_while_he_is_over_his_budget_and_over_when_it_ended(*, ends: bool) -> None:
    def judge() -> None:
        overlay(ROOT + b"/X")
        ledger, at = Ledger("boot"), 0.0

        def scan(burst: float) -> tuple[Scan, list[str]]:
            nonlocal ledger, at
            scanner._budgets._burst, at = burst, at + 100.0
            made = scanner.scan(resync=True)
            spaces = made.picture.namespaces
            now = Now(1e9 + at, at)
            ledger, events = update.update(ledger, made.findings, now, CONFIG, gaps=made.gaps, namespaces=spaces)
            return made, [str(event.kind) for event in events]

        with tenants.tenant() as space, hold() as other, contextlib.closing(Watched()) as scanner:
            scan(100.0)
            syscalls.umount(MERGED)
            for _ in range(3):
                made, _events = scan(100.0)
            assert leaked(made) == {space.inode, other.inode}
            (held,) = ledger.entries
            made, events = scan(-1.0)
            assert unread(made) == {space.inode: (OVER, f"user {tenants.UID}")}
            assert leaked(made) == {other.inode}, "others are read"
            other.kill()
            made, more = scan(-1.0)
            assert leaked(made) == set()
            assert list(ledger.entries) == [held]
            assert events + more == ["gap"]
            if ends:
                space.kill()
            made, events = scan(100.0)
            assert leaked(made) == (set() if ends else {space.inode})
            assert events == (["cleared", "gap-over"] if ends else ["gap-over"])

    in_processes(judge)
