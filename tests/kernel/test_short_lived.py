"""A namespace whose only process forks and exits each millisecond is never taken for one that has ended."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from mountwarden.errors import Declined
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Kind, Outcome, Tier
from mountwarden.observe import ids
from mountwarden.observe.enter import own_namespace
from mountwarden.observe.newcomers import Newcomers
from mountwarden.remedies import apply, checks
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.kernel.topology import ROOT, Home
from tests.support import tiers
from tests.support.ours import only_namespaces
from tests.support.scratch_ns import Sandbox, hold
from tests.support.short_lived import chain
from tests.support.wait import wait_until

MERGED = ROOT + b"/X/merged"
UNSEEN = "mount namespaces of new processes"
"""A gap of a scan that came to no end with them, as on a machine that is too busy."""

pytestmark = pytest.mark.timeout(300)


def forbid(monkeypatch: pytest.MonkeyPatch, *, ids: bool) -> None:
    """The walk over all namespaces (Linux 6.12), and with `ids` their 64-bit ids (6.11)."""
    info = syscalls.mnt_ns_info

    def refused(fd: int, request: int = abi.NS_MNT_GET_INFO) -> tuple[int, int, int | None]:
        if ids or request != abi.NS_MNT_GET_INFO:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return info(fd, request)

    def no_id(fd: int) -> int:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    monkeypatch.setattr(syscalls, "mnt_ns_info", refused)
    if ids:
        monkeypatch.setattr(syscalls, "mnt_ns_id", no_id)


@dataclass(frozen=True)
class ShortLived:
    """A home with a mount, and a copy of it in which only short-lived processes are, until `end`."""

    home: Home
    inode: int
    end: Callable[[], None]


ALL = [
    (tier, kernel, threads)
    for tier in Tier
    for kernel in ("6.12", "6.11", "older")
    for threads in (False, True)
    if kernel != "older" or tier is Tier.MOUNTINFO  # the other tiers need ids
]
SHORT = [(Tier.EVENTS, "6.12", False), (Tier.MOUNTINFO, "older", False)]


@pytest.fixture(
    params=[pytest.param(one, marks=() if one in SHORT else pytest.mark.long) for one in ALL],
    ids=lambda one: f"{one[0]}-{one[1]}-{'threads' if one[2] else 'processes'}",
)
def short_lived(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShortLived]:
    """On each tier and kernel, a home with a layer, and a chain in a copy of it."""
    tier, kernel, threads = request.param
    if tier not in tiers.available():
        pytest.skip(f"this kernel has no {tier}")
    if kernel != "6.12":
        forbid(monkeypatch, ids=kernel == "older")
    with tiers.forced(tier), Sandbox() as sandbox, contextlib.ExitStack() as stack:
        home = Home(sandbox)
        home.shared()
        home.layer()
        with hold(sandbox, propagation="private") as held:
            inode = held.inode
            end = stack.enter_context(chain(held, threads=threads))
        yield ShortLived(home, inode, end)


def shows(scan: Scan, inode: int) -> str:
    """ "found", "gap", or an empty string where the scan says nothing of a leak in that namespace."""
    if any(inode in finding.namespaces for finding in scan.findings if finding.kind is Kind.LEAKED):
        return "found"
    return "gap" if any(gap.namespace == inode or gap.what == UNSEEN for gap in scan.gaps) else ""


def scan_anew(home: Home) -> Scan:
    """By a scanner that knows nothing."""
    with contextlib.closing(Scanner(home.config, home=own_namespace())) as scanner:
        return scanner.scan()


def test_no_scan_takes_it_for_ended_before_it_has(short_lived: ShortLived) -> None:
    home, inode = short_lived.home, short_lived.inode

    def run() -> tuple[list[str], list[str], list[str]]:
        only_namespaces(own_namespace(), inode)
        scanner = Scanner(home.config, home=own_namespace())
        scanner.scan()
        syscalls.umount(MERGED)
        again = [shows(scanner.scan(), inode) for _ in range(10)]
        anew = [shows(scan_anew(home), inode) for _ in range(5)]
        short_lived.end()
        wait_until(lambda: not shows(scanner.scan(), inode), 10, "it has ended, and nothing is said of it")
        return again, anew, [shows(scanner.scan(resync=resync), inode) for resync in (False, True)]

    again, anew, ended = home.sandbox.run(run, timeout=280)
    assert all(again), again
    assert all(anew), anew
    assert "found" in again
    assert "found" in anew
    assert ended == ["", ""]


def test_a_leak_in_it_is_detached(short_lived: ShortLived) -> None:
    home, inode = short_lived.home, short_lived.inode

    def run() -> Outcome:
        only_namespaces(own_namespace(), inode)
        scanner = Scanner(home.config, home=own_namespace())
        scanner.scan()
        syscalls.umount(MERGED)
        for _ in range(20):
            found = [f for f in scanner.scan().findings if f.kind is Kind.LEAKED and inode in f.namespaces]
            outcome = apply.carry_out(found[0], scanner, Action.DETACH) if found else None
            if outcome and outcome.done:
                assert not shows(scanner.scan(), inode)
                return outcome
        assert outcome
        return outcome

    outcome = home.sandbox.run(run, timeout=280)
    assert outcome.done, outcome.text


def test_what_is_read_of_it_right_before_an_action_is_never_nothing(short_lived: ShortLived) -> None:
    """A reading that found nobody would let an action take what it uses from it."""
    home, inode = short_lived.home, short_lived.inode

    def read_now(scan: Scan) -> str:
        try:
            blocks = checks.of_namespace(inode, scan, lambda lines: len(list(lines.blocks())))
        except Declined as error:
            return error.code
        return "read" if blocks else "nothing"

    def run() -> tuple[bool, list[str]]:
        only_namespaces(own_namespace(), inode)
        scan = scan_anew(home)
        listed = inode in scan.picture.namespaces or shows(scan, inode) == "gap"
        return listed, [read_now(scan) for _ in range(10)] if inode in scan.picture.namespaces else ["read"]

    listed, found = home.sandbox.run(run, timeout=280)
    assert listed
    assert set(found) <= {"read", "unread"}
    assert "read" in found


def test_the_end_of_one_is_seen_by_its_id_where_processes_end_unasked(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine they always do: no action may be kept back by each namespace that has ended."""
    forbid(monkeypatch, ids=False)
    monkeypatch.setattr(Newcomers, "all_asked", property(lambda _self: False))

    def run() -> tuple[bool, bool]:
        """Whether there are ids, and whether others were read and this one not, which was listed."""
        with hold() as held:
            inode = held.inode
            only_namespaces(own_namespace(), inode)
            scan = scan_anew(home)
        try:
            read = [one for one, _ in checks.of_each(scan, lambda one, _lines: one)]
        except Declined:
            read = []
        return ids._has_ids(), inode in scan.picture.namespaces and bool(read) and inode not in read

    if not home.sandbox.run(run)[0]:
        pytest.skip("this kernel has no ids of mount namespaces")
    # Where many namespaces and processes come and go, another one has its inode at once, or a pid that was listed.
    wait_until(lambda: home.sandbox.run(run)[1], 60, "others are read, and the one that has ended is not")
