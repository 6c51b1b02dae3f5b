"""Mount namespaces that no process is in: held by a bind of their nsfs file, or by a descriptor."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.kernel.probe import probe
from mountwarden.model import Action, Door, Finding, Kind, NamespaceKind, Outcome, Tier
from mountwarden.observe import all_mounts, entries, newcomers, processes, processless
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply
from mountwarden.scan.scanner import Scanner

from tests.kernel.topology import ROOT, Home
from tests.support import mountinfo
from tests.support.ours import only_namespaces
from tests.support.scratch_ns import Namespace, hold

MERGED = ROOT + b"/X/merged"
BIND = b"/mnt/ns/snap.mnt"


def bound(home: Home, within: Namespace | None = None) -> int:
    """A copy of home that only a bind on `BIND` keeps, in home or `within` another namespace; its inode."""
    within = within or home.sandbox

    def prepare() -> None:
        os.mkdir("/mnt/ns")
        syscalls.mount(b"tmpfs", b"/mnt/ns", b"tmpfs")
        syscalls.mount(None, b"/mnt/ns", None, abi.MS_PRIVATE)
        os.close(os.open(BIND, os.O_CREAT | os.O_RDONLY))

    within.run(prepare)
    for processor in sorted(os.sched_getaffinity(0)):
        with on(processor), hold(home.sandbox, propagation="private") as held:
            source = b"/proc/%d/ns/mnt" % held.pid
            try:
                within.run(syscalls.mount, source, BIND, None, abi.MS_BIND)
                return held.inode
            except OSError as error:
                # A namespace may hold those with higher ids only, which Linux gives by processor since 6.18: a later
                # one of the same processor has a higher one.
                if error.errno != errno.EINVAL:
                    raise
    raise AssertionError("no copy has a higher id than home")


@contextlib.contextmanager
def on(processor: int) -> Iterator[None]:
    """Run this process, and what it forks, on that processor alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def leaked(scanner: Scanner) -> tuple[Finding, ...]:
    return tuple(finding for finding in scanner.scan().findings if finding.kind is Kind.LEAKED)


def detached(home: Home) -> tuple[Finding, Outcome, str, tuple[Finding, ...]]:
    """Umount at home, look, detach, look again; with the way by which the namespace was reached."""

    def run() -> tuple[Finding, Outcome, str, tuple[Finding, ...]]:
        syscalls.umount(MERGED)
        scanner = Scanner(home.config, home=own_namespace())
        seen = scanner.scan()
        (finding,) = (f for f in seen.findings if f.kind is Kind.LEAKED)
        door = seen.picture.namespaces[finding.first.namespace or 0].door
        outcome = apply.carry_out(finding, scanner, Action.DETACH)
        return finding, outcome, door.via if door else "process", leaked(Scanner(home.config, home=own_namespace()))

    return home.run(run)


def test_a_leak_in_a_namespace_that_a_bind_keeps_is_found_and_detached(home: Home) -> None:
    home.layer()
    inode = bound(home)
    finding, outcome, via, left = detached(home)
    assert (finding.namespaces, finding.first.namespace_kind, via) == ((inode,), NamespaceKind.BARE, "bind")
    assert finding.holders == ()
    assert outcome.done, outcome.text
    assert left == ()


def test_a_leak_in_a_namespace_that_a_descriptor_keeps_is_found_and_detached(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as held:
        inode = held.inode
        fd = os.open(f"/proc/{held.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        finding, outcome, via, left = detached(home)
    finally:
        os.close(fd)
    assert (finding.namespaces, finding.first.namespace_kind, via) == ((inode,), NamespaceKind.BARE, "fd")
    # Each process forked since has the descriptor too; one of them is named.
    assert finding.holders
    assert outcome.done, outcome.text
    assert left == ()


def test_a_bare_namespace_that_is_gone_is_no_gap_and_no_finding(home: Home) -> None:
    home.layer()
    bound(home)

    def run() -> tuple[int, int, int]:
        scanner = Scanner(home.config, home=own_namespace())
        syscalls.umount(MERGED)
        before = leaked(scanner)
        syscalls.umount(BIND)
        after = scanner.scan()
        return (
            len(before),
            len([f for f in after.findings if f.kind is Kind.LEAKED]),
            len([g for g in after.gaps if g.namespace]),
        )

    assert home.run(run) == (1, 0, 0)


def test_what_was_put_in_the_place_of_a_bind_is_not_opened(home: Home) -> None:
    inode = bound(home)

    def put_a_fifo() -> bool:
        syscalls.umount(BIND)
        os.unlink(BIND)
        os.mkfifo(BIND)
        return gone(lambda: processless.through(processless.Door("bind", 0, BIND), inode, own_namespace, deadline=2))

    assert home.run(put_a_fifo)


def gone(function: Callable[[], object]) -> bool:
    try:
        function()
    except ProcessLookupError:
        return True
    return False


def test_a_leak_that_the_walk_alone_shows_is_found_and_detached(home: Home) -> None:
    need_walk()
    home.layer()
    with hold(home.sandbox, propagation="slave") as other:
        inode = bound(home, other)  # a bind that home does not show
        finding, outcome, via, left = detached(home)
    assert (finding.namespaces, finding.first.namespace_kind, via) == ((inode,), NamespaceKind.BARE, "walk")
    assert outcome.done, outcome.text
    assert left == ()


def test_a_closed_door_is_not_the_last_one(home: Home) -> None:
    """A descriptor that another process has too keeps the leak in sight when the first one is closed."""
    home.layer()
    with hold(home.sandbox, propagation="private") as held:
        inode = held.inode
        first = os.open(f"/proc/{held.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        second = os.dup(first)

    def run() -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        syscalls.umount(MERGED)
        scanner = Scanner(home.config, home=own_namespace())
        before = leaked(scanner)
        doors = scanner._spaces.doors
        scanner._spaces.doors = {inode: processless.Door("fd", 1, b"/proc/self/fd/999") for inode in doors}
        return [f.namespaces for f in before], [f.namespaces for f in leaked(scanner)]

    try:
        assert home.run(run) == ([(inode,)], [(inode,)])
    finally:
        os.close(first)
        os.close(second)


def may_walk() -> bool:
    fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        neighbour = syscalls.mnt_ns_info(fd, abi.NS_MNT_GET_NEXT)[2]
    except OSError as error:
        return error.errno == errno.ENOENT
    finally:
        os.close(fd)
    if neighbour is not None:
        os.close(neighbour)
    return True


def need_walk() -> None:
    """Skip the test where the kernel refuses it."""
    if not may_walk():
        pytest.skip(
            "the walk over all mount namespaces is refused here (not the initial pid namespace, or before 6.12)"
        )


def test_a_namespace_whose_process_the_listing_missed_is_read(home: Home) -> None:
    """In which each process forks the next and exits: a listing of /proc may show none of them."""
    need_walk()
    with hold(home.sandbox, propagation="private") as missed:
        listed = [pid for pid in processes.pids() if pid != missed.pid]
        found = all_mounts.survey(listed)
        assert missed.inode in found.tables
        assert found.pids[missed.inode] == (missed.pid,)
        assert missed.inode not in found.doors, "it has a process"


def test_a_scan_reads_a_namespace_whose_process_its_listing_missed(home: Home) -> None:
    need_walk()
    home.layer()
    with hold(home.sandbox, propagation="private") as missed:
        pid, inode = missed.pid, missed.inode

        def run() -> list[tuple[int, ...]]:
            syscalls.umount(MERGED)
            only_namespaces(own_namespace(), inode)
            every, listings = processes.pids, [0]

            def pids() -> list[int]:
                listings[0] += 1
                return [one for one in every() if one != pid or listings[0] > 1]

            processes.pids = pids
            newcomers.Newcomers._given = lambda _: iter(())  # type: ignore[method-assign]
            return [finding.namespaces for finding in leaked(Scanner(home.config, home=own_namespace()))]

        assert home.run(run) == [(inode,)]


def test_a_namespace_that_ended_before_the_walk_came_to_it_is_no_error() -> None:
    need_walk()
    # Not the inode of one that has ended: they are reused at once.
    assert gone(lambda: processless.through(processless.Door("walk"), 1, own_namespace))
    assert mountinfo.whole(1, (), processless.Door("walk")) is None


def test_once_its_id_is_known_it_is_looked_at_from_outside(home: Home, tier: Tier) -> None:
    """It is entered by a child otherwise, at each change of home."""
    home.layer()
    inode = bound(home)

    def run() -> tuple[list[int], set[int]]:
        scanner, entered = Scanner(home.config, home=own_namespace()), [0]
        enter = entries.opened_mountinfo

        def counted(way: int | Door, space: int) -> contextlib.AbstractContextManager[int]:
            entered[-1] += space == inode
            return enter(way, space)

        entries.opened_mountinfo = counted  # type: ignore[assignment]
        for number in range(10):
            os.mkdir(f"/mnt/{number}")
            syscalls.mount(b"x", b"/mnt/%d" % number, b"tmpfs")  # home's table is another one
            entered.append(0)
            scanner.scan()
            if not entered[-1]:
                break
        syscalls.umount(MERGED)
        return entered, {inode for finding in leaked(scanner) for inode in finding.namespaces}

    entered, seen = home.run(run)
    assert any(entered)
    # statmount(2) of Linux 6.12 tells no source, so that such a namespace goes on being entered.
    assert (entered[-1] > 0) == (tier is Tier.MOUNTINFO or not probe().fields.available)
    assert seen == {inode}
