"""What a scan of the service reads when home has unmounted something: what can have it, and nothing else."""

import contextlib
import os
import time
from collections.abc import Iterator

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Evidence, Kind, Tier
from mountwarden.observe import namespaces
from mountwarden.scan import departures
from mountwarden.scan.part import Part
from mountwarden.scan.result import Scan

from tests.kernel.test_turns import MERGED, Watched, in_processes, leaked
from tests.kernel.topology import ROOT
from tests.support.scratch_ns import Namespace, hold, overlay
from tests.support.wait import wait_until

PART = Part()
TIERS = (Tier.MOUNTINFO, Tier.STATMOUNT)


@contextlib.contextmanager
def crowd(scanner: Watched, count: int) -> Iterator[list[Namespace]]:
    """Namespaces to which home's umounts propagate, once they need not be read again."""
    with contextlib.ExitStack() as stack:
        spaces = [stack.enter_context(hold(propagation="slave")) for _ in range(count)]
        settle(scanner)
        yield spaces


def settle(scanner: Watched) -> None:
    """Scan until what is new has been read for good."""
    scanner.next(part=PART)
    time.sleep(namespaces.SETUP + 0.05)
    wait_until(lambda: scanner.next(part=PART)[1] == [], 10, "nothing is to be read")


@contextlib.contextmanager
def scanning(tier: Tier = Tier.MOUNTINFO) -> Iterator[Watched]:
    syscalls.mount(None, b"/", None, abi.MS_SHARED | abi.MS_REC)
    with contextlib.closing(Watched(tier)) as scanner:
        scanner.next()
        yield scanner


def looked_for(scanner: Watched, part: Part = PART) -> tuple[Scan, list[int]]:
    """The first scan after the time for which a superblock may live on."""
    scanner.next(part=part)
    time.sleep(departures.SOON + 0.02)
    return scanner.next(part=part)


def without_the_call(scanner: Watched) -> None:
    """As where there is neither ustat(2) nor inotify(7)."""
    scanner.superblocks.ask = lambda devices: {}  # type: ignore[method-assign]


@pytest.mark.parametrize("used", TIERS)
def test_what_ended_everywhere_costs_no_reading(used: Tier) -> None:
    """Others on the machine may have its device number at once: not three times in a row."""

    def judge() -> bool:
        with scanning(used) as scanner, crowd(scanner, 4):
            for _ in range(2):
                overlay(ROOT + b"/X")
                assert scanner.next(part=PART)[1] == [], "what is mounted can't have been left behind"
                syscalls.umount(MERGED)
                scan, reads = scanner.next(part=PART)
                assert leaked(scan) == set()
                if scanner._history.departed:
                    return False
                assert (reads, scanner.due) == ([], (None, None))
        return True

    assert any(in_processes(judge) for _ in range(3)), "its superblock has ended"


@pytest.mark.parametrize("used", TIERS)
def test_a_leak_is_found_by_reading_the_namespace_that_had_it(used: Tier) -> None:
    def judge() -> None:
        with scanning(used) as scanner, crowd(scanner, 4):
            overlay(ROOT + b"/X")
            scanner.next(part=PART)
            with hold(propagation="private") as space:
                settle(scanner)
                syscalls.umount(MERGED)
                scan, reads = looked_for(scanner)
                assert (set(reads), leaked(scan)) == ({space.inode}, {space.inode})
                (found,) = (one for one in scan.findings if one.kind is Kind.LEAKED)
                assert found.evidence is Evidence.HISTORY

    in_processes(judge)


def test_what_keeps_an_earlier_layer_is_not_read_again_because_another_one_went() -> None:
    def judge() -> None:
        with scanning() as scanner, contextlib.ExitStack() as stack:
            spaces = []
            for name in (b"/X", b"/Y", b"/Z"):
                overlay(ROOT + name)
                scanner.next(part=PART)
                spaces.append(stack.enter_context(hold(propagation="private")))
                settle(scanner)
                syscalls.umount(ROOT + name + b"/merged")
                scan, reads = looked_for(scanner)
                assert (set(reads) & {one.inode for one in spaces}, leaked(scan) >= {spaces[-1].inode}) == (
                    {spaces[-1].inode},
                    True,
                )

    in_processes(judge)


def test_a_bind_of_a_namespace_that_was_never_read_is_of_the_layer() -> None:
    def judge() -> None:
        with scanning() as scanner:
            overlay(ROOT + b"/X")
            scanner.next(part=PART)
            with hold(propagation="slave") as space:
                space.run(lambda: (os.mkdir(b"/mnt/b"), syscalls.mount(MERGED, b"/mnt/b", None, abi.MS_BIND)))
                space.run(syscalls.mount, None, b"/mnt/b", None, abi.MS_PRIVATE)
                syscalls.umount(MERGED)
                scan, _reads = looked_for(scanner)
                assert leaked(scan) == {space.inode}
                (found,) = (one for one in scan.findings if one.kind is Kind.LEAKED)
                assert (found.evidence, found.first.seen_at) == (Evidence.HISTORY, b"/mnt/b")

    in_processes(judge)


def test_a_namespace_that_was_never_read_is_read_for_it() -> None:
    def judge() -> None:
        with scanning() as scanner, crowd(scanner, 3):
            overlay(ROOT + b"/X")
            scanner.next(part=PART)
            with hold(propagation="private") as space:
                syscalls.umount(MERGED)
                assert scanner.next(part=PART)[1] == [], "it may be about to change"
                time.sleep(departures.SOON + 0.02)
                scan, reads = scanner.next(part=PART)
                assert (reads, leaked(scan)) == ([space.inode], {space.inode})

    in_processes(judge)


def test_one_that_has_cut_itself_off_is_found_when_all_are_read() -> None:
    def judge() -> None:
        with scanning() as scanner, crowd(scanner, 4) as spaces:
            overlay(ROOT + b"/X")
            scanner.next(part=PART)
            spaces[2].run(syscalls.mount, None, b"/", None, abi.MS_PRIVATE | abi.MS_REC)
            syscalls.umount(MERGED)
            scan, reads = looked_for(scanner)
            assert (reads, leaked(scan)) == ([], set())
            time.sleep(departures.LINGER)
            scanner.recheck()
            assert (scanner.suspects, scanner.presses) == (True, True)
            every: set[int] = set()
            while not leaked(scan):
                scan, reads = scanner.next(part=PART)
                assert len(reads) == 1, "without an allowance one at a time"
                every.update(reads)
            assert leaked(scan) == {spaces[2].inode}
            assert not scanner.presses, "it is found"
            (found,) = (one for one in scan.findings if one.kind is Kind.LEAKED)
            assert found.evidence is Evidence.HISTORY

    in_processes(judge)


@pytest.mark.parametrize("used", TIERS)
@pytest.mark.parametrize("how", ["never read", "read before", "cut off later"])
def test_who_asks_is_told_at_once(used: Tier, how: str) -> None:
    def judge() -> None:
        with scanning(used) as scanner, crowd(scanner, 4) as spaces, contextlib.ExitStack() as stack:
            overlay(ROOT + b"/X")
            scanner.next(part=PART)
            space = spaces[2] if how == "cut off later" else stack.enter_context(hold(propagation="private"))
            if how == "cut off later":
                space.run(syscalls.mount, None, b"/", None, abi.MS_PRIVATE | abi.MS_REC)
            if how == "read before":
                settle(scanner)
            syscalls.umount(MERGED)
            scan, _reads = scanner.next(part=Part(allowance=10.0, again=True))
            assert leaked(scan) == {space.inode}
            (found,) = (one for one in scan.findings if one.kind is Kind.LEAKED)
            assert found.evidence is Evidence.HISTORY

    in_processes(judge)


def test_an_allowance_reads_many_at_once() -> None:
    def judge() -> None:
        with scanning() as scanner, crowd(scanner, 4) as spaces:
            overlay(ROOT + b"/X")
            scanner.next(part=PART)
            spaces[3].run(syscalls.mount, None, b"/", None, abi.MS_PRIVATE | abi.MS_REC)
            syscalls.umount(MERGED)
            scanner.next(part=PART)
            time.sleep(departures.LINGER + 0.02)
            scan, reads = scanner.next(part=Part(allowance=10.0))
            assert {space.inode for space in spaces} <= set(reads)
            assert leaked(scan) == {spaces[3].inode}
            assert not scanner._history.departed

    in_processes(judge)


def test_without_an_answer_all_are_read_within_the_allowance() -> None:
    def judge() -> None:
        with scanning() as scanner, crowd(scanner, 4):
            without_the_call(scanner)
            overlay(ROOT + b"/X")
            scanner.next(part=PART)
            with hold(propagation="private") as space:
                settle(scanner)
                syscalls.umount(MERGED)
                for _ in range(6):
                    scan, reads = scanner.next(part=PART)
                    assert len(reads) == 1
                    if leaked(scan):
                        break
                assert leaked(scan) == {space.inode}
                (found,) = (one for one in scan.findings if one.kind is Kind.LEAKED)
                assert found.evidence is Evidence.HISTORY, "the very mount was there before"

    in_processes(judge)


@pytest.mark.parametrize("used", Tier)
def test_what_home_had_between_two_scans_is_known_by_a_peek(used: Tier) -> None:
    def judge() -> None:
        with scanning(used) as scanner, crowd(scanner, 3):
            overlay(ROOT + b"/X")
            assert not scanner.peek()
            with hold(propagation="private") as space:
                syscalls.umount(MERGED)
                assert not scanner.peek(), "no root has moved"
                assert not scanner.suspects
                time.sleep(departures.SOON + 0.02)
                scanner.recheck()
                assert scanner.suspects
                scan, reads = scanner.next(part=PART)
                others = set(reads) - {space.inode}
                assert space.inode in reads
                assert not others or used is Tier.EVENTS, "but for those in which it was, and came to an end"
                (found,) = (one for one in scan.findings if one.kind is Kind.LEAKED)
                assert found.evidence is Evidence.HISTORY
                assert not scanner.suspects

    in_processes(judge)


@pytest.mark.parametrize("used", Tier)
def test_a_peek_says_when_a_root_has_moved(used: Tier) -> None:
    def judge() -> None:
        with scanning(used) as scanner:
            assert not scanner.peek()
            syscalls.mount(None, b"/", None, abi.MS_PRIVATE | abi.MS_REC)
            assert scanner.peek()
            assert "private-root" in [one.kind for one in scanner.next(part=PART)[0].findings]

    in_processes(judge)


@pytest.mark.parametrize("asked", [False, True], ids=["at-once", "after-the-question"])
@pytest.mark.parametrize("how", ["home", "elsewhere", "nowhere"])
def test_what_was_read_before_a_superblock_ended_shows_no_copy_of_a_later_one(how: str, *, asked: bool) -> None:
    """A device number is given anew at once: an old reading then looks as if it were of what lives."""

    def judge() -> bool:
        with scanning() as scanner, crowd(scanner, 2) as spaces:
            overlay(ROOT + b"/X")
            device = os.stat(MERGED).st_dev
            scanner.next(part=PART)
            with hold(propagation="private") as space:
                settle(scanner)
                assert scanner._observer.seen(space.inode).candidates  # type: ignore[union-attr]
                space.run(syscalls.umount, MERGED)
                syscalls.umount(MERGED)
                if asked:
                    assert leaked(scanner.next(part=PART)[0]) == set()
                if how == "nowhere":
                    reused = True
                elif how == "home":
                    reused = is_given_anew(device, ROOT)
                else:
                    reused = spaces[0].run(is_given_anew, device, b"/mnt")
                for number in range(4):
                    overlay(b"/mnt/other%d" % number)  # so that the last scan does not stand
                    scan, _reads = scanner.next(part=PART)
                    assert leaked(scan) == set()
                    assert "history" not in [one.evidence for one in scan.findings]
                    time.sleep(0.25)
        return reused

    if not any(in_processes(judge) for _ in range(5)):
        pytest.skip("others on this machine took the number")


def is_given_anew(device: int, below: bytes) -> bool:
    """Mount overlays until one has that device number, which is the lowest that is free."""
    for number in range(20):
        overlay(below + b"/again%d" % number)
        if os.stat(below + b"/again%d/merged" % number).st_dev == device:
            return True
    return False


def test_what_is_not_due_is_not_read_again() -> None:
    """A network namespace's file is reported after a minute and a half: until then nothing is read for it."""

    def judge() -> bool:
        with scanning() as scanner:
            overlay(ROOT + b"/X")
            scanner.next(part=PART)
            with hold(propagation="private") as space:
                settle(scanner)
                syscalls.umount(MERGED)
                looked_for(scanner)
                assert scanner.next(part=PART)[1] == [], "its confirm time is not over"
                time.sleep(1.0)
                assert scanner.next(part=PART)[1] == [space.inode]
                assert scanner.next(part=PART)[1] == [], "it is confirmed"
                assert scanner.next(part=Part(again=True))[1] == [space.inode], "somebody asks"
                space.run(syscalls.umount, MERGED)
                scan, reads = scanner.next(part=PART)
                return (leaked(scan), reads) == (set(), [])

    assert any(in_processes(judge) for _ in range(3)), "its superblock has ended; others may have its number at once"


def test_a_resync_reads_an_eighth_and_eight_of_them_all() -> None:
    def judge() -> None:
        with scanning() as scanner, crowd(scanner, 8) as spaces:
            every: list[int] = []
            for _ in range(8):
                assert scanner.next(part=PART, resync=True)[1] == [], "there is no time for it"
                assert scanner.next(part=PART)[1] == []
                _scan, reads = scanner.next(part=Part(allowance=10.0), resync=True)
                mine = [inode for inode in reads if inode in {space.inode for space in spaces}]
                every += mine
            assert sorted(every) == sorted(space.inode for space in spaces)
            assert set(scanner.next(part=Part(share=1.0), resync=True)[1]) >= set(every)

    in_processes(judge)


def test_a_namespace_that_came_after_home_unmounted_it_is_not_read_for_it() -> None:
    def judge() -> None:
        with scanning() as scanner, crowd(scanner, 2):
            overlay(ROOT + b"/X")
            scanner.next(part=PART)
            fd = os.open(MERGED, os.O_RDONLY | os.O_DIRECTORY)
            syscalls.umount(MERGED, abi.MNT_DETACH)
            scanner.next(part=Part(allowance=10.0))
            with hold(propagation="private") as space:
                time.sleep(departures.LINGER + 0.02)
                for _ in range(3):
                    _scan, reads = scanner.next(part=Part(allowance=10.0))
                    assert space.inode not in reads
                assert scanner.due[0] is not None, "it is read for itself, later"
            os.close(fd)

    in_processes(judge)
