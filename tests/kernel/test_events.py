"""The events tier on a real kernel: what it is told, what it misses and says, and that it keeps nothing alive."""

import contextlib
import gc
import os
import re
import select
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Evidence, Kind, Missed, Tier
from mountwarden.observe import entry_server, namespaces
from mountwarden.observe.enter import in_namespace, own_namespace
from mountwarden.observe.tiers import event_budget, listed, listing, statmount
from mountwarden.observe.tiers import events as tier
from mountwarden.observe.tiers.events import EventsObserver
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.kernel.topology import CONFIG, ROOT, Home
from tests.support import tiers
from tests.support.ours import only_ours
from tests.support.scratch_ns import Namespace, Propagation, hold, overlay
from tests.support.wait import wait_until

pytestmark = pytest.mark.skipif(Tier.EVENTS not in tiers.available(), reason="this kernel tells of no mounts")

MERGED = ROOT + b"/X/merged"


def watcher() -> Scanner:
    """A Looker in this process's namespace that has marked every other one of this test run."""
    only_ours()
    scanner = Scanner(CONFIG, home=own_namespace(), tier=Tier.EVENTS)
    for _ in range(4):
        scanner.scan()
    return scanner


def leaks(scanner: Scanner) -> int:
    return len([finding for finding in scanner.scan().findings if finding.kind is Kind.LEAKED])


def storm(times: int) -> None:
    """So many mounts and umounts, by this process."""
    os.makedirs("/mnt/storm", exist_ok=True)
    for _ in range(times):
        syscalls.mount(b"storm", b"/mnt/storm", b"tmpfs", 0, b"size=4k")
        syscalls.umount(b"/mnt/storm")


def marked(scanner: Scanner) -> set[int]:
    """Inodes of the namespaces that the groups have marks on, by the kernel's own word."""
    assert isinstance(scanner._observer, EventsObserver)
    groups = scanner._observer._homes, scanner._observer._rest
    text = "".join(Path(f"/proc/self/fdinfo/{group.fd}").read_text() for group in groups)
    return set(map(int, re.findall("fanotify mnt_ns:([0-9]+)", text)))


def resync(scanner: Scanner, inode: int) -> Scan:
    """A full look, and more until the next one is not the one that reads that namespace's text again anyway."""
    scan, observer = scanner.scan(resync=True), scanner._observer
    assert isinstance(observer, EventsObserver)
    return scan if (observer._round + 1 - inode) % tier._ROUNDS else resync(scanner, inode)


def reasons(missed: Iterable[Missed]) -> list[str]:
    return [one.reason for one in missed]


def test_a_quiet_look_reads_nothing_and_a_new_copy_is_no_text(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave") as other:

        def check() -> list[tuple[set[int], bool]]:
            scanner, texts, asked = watcher(), list[int](), list[int]()
            read, lister = namespaces.read, scanner._observer._lister
            ids = lister.ids
            lister.ids = lambda namespace, seconds: (asked.append(namespace), ids(namespace, seconds))[1]
            statmount.read = listed.read = lambda inode, *rest, **more: (
                texts.append(inode),
                read(inode, *rest, **more),
            )[1]
            ours, seen = {own_namespace(): "home", other.inode: "other"}, []
            own = listing.identify(other.pid, other.inode)
            for step in (lambda: None, lambda: overlay(ROOT + b"/Y")):
                step()
                texts.clear()
                asked.clear()
                scanner.scan()
                seen.append(({ours[inode] for inode in texts if inode in ours}, own is not None and own.id in asked))
            return seen

        assert home.run(check) == [(set(), False), (set(), True)]


def test_what_a_namespace_does_itself_is_seen_at_the_next_look(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as other:

        def check() -> list[int]:
            scanner = watcher()
            syscalls.umount(MERGED)
            seen = [leaks(scanner), leaks(scanner)]
            other.run(lambda: syscalls.umount(MERGED))
            seen.append(leaks(scanner))
            other.run(lambda: overlay(ROOT + b"/X"))
            return [*seen, leaks(scanner)]

        assert home.run(check) == [1, 1, 0, 1]


@pytest.mark.parametrize("propagation", ["private", "slave"])
def test_a_copy_that_is_moved_is_seen_where_it_is(home: Home, propagation: Propagation) -> None:
    """As a slave it was within home's reach, so that nothing but its ids was kept."""
    home.layer()
    with hold(home.sandbox, propagation=propagation) as other:

        def move() -> None:
            os.mkdir("/mnt/moved")
            syscalls.mount(MERGED, b"/mnt/moved", None, abi.MS_MOVE)

        def check() -> list[bytes]:
            scanner = watcher()
            other.run(move)
            return [copy.mount.point for copy in scanner.scan().picture.copies if copy.namespace == other.inode]

        assert home.run(check) == [b"/mnt/moved"]


def test_a_root_made_private_is_seen_though_no_event_tells(home: Home) -> None:
    home.layer()

    def check() -> list[list[str]]:
        scanner, seen = watcher(), []
        for propagation in (abi.MS_PRIVATE, abi.MS_SHARED):
            syscalls.mount(None, b"/mnt", None, propagation)
            seen.append([one.kind for one in scanner.scan().findings if {*one.namespaces} <= {own_namespace()}])
        return seen

    private, shared = home.run(check)
    assert Kind.PRIVATE_ROOT in private
    assert Kind.PRIVATE_ROOT not in shared


def test_each_text_is_read_again_when_its_turn_comes(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave") as other:

        def check() -> int:
            scanner, texts = watcher(), list[int]()
            scanner.scan(resync=True)
            read = namespaces.read
            statmount.read = listed.read = lambda inode, *rest, **more: (
                texts.append(inode),
                read(inode, *rest, **more),
            )[1]
            for _ in range(tier._ROUNDS):
                scanner.scan(resync=True)
            return texts.count(other.inode)

        assert home.run(check) == 1


def test_at_a_resync_what_decides_is_compared_in_each_namespace(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave") as other:

        def check() -> list[set[str]]:
            scanner = watcher()
            resync(scanner, other.inode)
            other.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_REC | abi.MS_PRIVATE))
            scans = [scanner.scan(resync=full) for full in (False, True)]
            return [{one.kind for one in scan.findings if other.inode in one.namespaces} for scan in scans]

        assert home.run(check) == [set(), {Kind.SEVERED}]


def test_at_a_resync_the_mounts_of_each_namespace_are_counted(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave") as other:

        def check() -> list[int]:
            scanner = watcher()
            mounts = resync(scanner, other.inode).picture.mounts
            other.run(lambda: syscalls.umount(MERGED))
            assert isinstance(scanner._observer, EventsObserver)
            scanner._observer._rest.drain()  # as if the kernel had not told
            return [scanner.scan(resync=full).picture.mounts - mounts for full in (False, True)]

        assert home.run(check) == [0, -1]


def test_a_new_namespace_is_marked_at_its_first_look_and_forgotten_with_its_end(home: Home) -> None:
    home.layer()

    def check() -> tuple[list[bool], list[int], bool]:
        scanner = watcher()
        syscalls.umount(MERGED)
        with hold(propagation="private") as other:
            inode = other.inode
            there = [inode in marked(scanner)]
            scanner.scan()
            there.append(inode in marked(scanner))
            other.run(lambda: overlay(ROOT + b"/X"))
            seen = [leaks(scanner)]
            other.run(lambda: syscalls.umount(MERGED))
            seen.append(leaks(scanner))
        wait_until(lambda: inode not in marked(scanner), 10, "its mark goes with it")
        scanner.scan()
        assert isinstance(scanner._observer, EventsObserver)
        return there, seen, inode in scanner._observer._marked

    assert home.run(check) == ([False, True], [1, 0], False)


def test_home_s_mounts_wake_and_those_of_others_do_not(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as other:

        def check() -> list[bool]:
            scanner = watcher()
            assert scanner.wake is not None
            poll, seen = select.poll(), []
            poll.register(scanner.wake, select.POLLIN)
            for step in (lambda: None, lambda: other.run(lambda: storm(1)), lambda: storm(1)):
                step()
                seen.append(bool(poll.poll(0)))
                scanner.scan()
            return [*seen, bool(poll.poll(0))]

        assert home.run(check) == [False, False, True, False]


def test_an_overflow_is_told_and_nothing_is_unseen(home: Home) -> None:
    """Unmounted in one namespace and home among 17,000 events more than the queue holds."""
    home.layer()
    limit = int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())
    with hold(home.sandbox, propagation="private") as other, hold(home.sandbox, propagation="private") as loud:

        def check() -> tuple[list[list[str]], int, int]:
            event_budget.A_SECOND = 10**9
            scanner = watcher()
            loud.run(lambda: storm(limit // 2 + 100))
            syscalls.umount(MERGED)
            first = scanner.scan()
            tier.RESYNC = 3600.0
            found = {inode for f in first.findings if f.kind is Kind.LEAKED for inode in f.namespaces}
            loud.run(lambda: storm(limit // 2 + 100))
            other.run(lambda: syscalls.umount(MERGED))
            second = scanner.scan()
            tier.RESYNC = 0.0
            third = scanner.scan()
            left = {inode for f in third.findings if f.kind is Kind.LEAKED for inode in f.namespaces}
            return [reasons(scan.missed) for scan in (first, second, third)], len(found), len(left)

        assert home.run(check) == ([["overflow"], [], ["overflow"]], 2, 1), "the second one is put off"


def test_what_was_missed_at_home_between_two_scans_is_told_by_the_next_one(home: Home) -> None:
    """Home has a layer when it is looked at, behind more events than the queue holds; and none at the next scan."""
    home.run(lambda: os.mkdir(ROOT))
    limit = int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())

    def check() -> tuple[bool, list[str], list[str], list[Evidence]]:
        scanner = watcher()
        storm(limit // 2 + 100)
        overlay(ROOT + b"/X")
        needs_scan = scanner.peek()
        with hold(propagation="private"):
            syscalls.umount(MERGED)
            first = scanner.scan()
            evidence = [one.evidence for one in first.findings if one.kind is Kind.LEAKED]
            return needs_scan, reasons(first.missed), reasons(scanner.scan().missed), evidence

    assert home.run(check) == (False, ["overflow"], [], [Evidence.HISTORY])


def test_a_namespace_over_its_budget_is_polled_and_marked_again_later(home: Home) -> None:
    home.run(lambda: os.mkdir(ROOT))
    with hold(home.sandbox, propagation="private") as loud:

        def check() -> tuple[list[str], list[bool], list[int], bool]:
            tier.POLLED = 3600.0
            scanner = watcher()
            observer = scanner._observer
            assert isinstance(observer, EventsObserver)
            there = [loud.inode in marked(scanner)]
            reached, reach = os.pipe()
            go, let_go = os.pipe()
            pid = os.fork()
            if pid == 0:
                in_namespace(loud.pid, lambda: (storm(2000), os.write(reach, b"x"), os.read(go, 1)), deadline=50)
                os._exit(0)
            os.read(reached, 1)
            scan = scanner.scan()
            there.append(loud.inode in marked(scanner))
            os.write(let_go, b"x")
            os.waitpid(pid, 0)
            seen = [leaks(scanner)]
            loud.run(lambda: overlay(ROOT + b"/X"))
            seen.append(leaks(scanner))
            observer._polled[loud.inode] = 0.0  # the hour is over
            scanner.scan()
            there.append(loud.inode in marked(scanner))
            return reasons(scan.missed), there, seen, loud.inode in observer._polled

        assert home.run(check) == (["budget"], [True, False, True], [0, 1], False)


def test_a_looker_that_is_dropped_gives_its_groups_back(home: Home) -> None:
    def check() -> tuple[bool, bool]:
        scanner = watcher()
        fd = scanner.wake
        link = f"/proc/self/fd/{fd}"
        there = os.readlink(link)
        del scanner
        gc.collect()  # an error that was caught may hold it in a cycle
        return "fanotify" in there, os.path.islink(link)

    assert home.run(check) == (True, False)


def walked() -> set[int]:
    """Ids, which are never reused, of every mount namespace that the kernel has: from outside of whoever watches."""
    return {syscalls.mnt_ns_info(fd)[0] for fd in entry_server.neighbours()}


def identity(space: Namespace) -> int:
    found = listing.identify(space.pid, space.inode)
    assert found is not None
    return found.id


@pytest.mark.long
@pytest.mark.timeout(300)
def test_500_namespaces_that_come_and_go_end_while_they_are_watched(home: Home) -> None:
    home.layer()
    try:
        walked()
    except OSError as error:
        pytest.skip(f"the walk over all mount namespaces is not allowed here: {error}")
    stop, stopped = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(stopped)
            home.sandbox.run(lambda: look_until(stop), timeout=280)
        finally:
            os._exit(0)
    os.close(stop)
    try:
        for _ in range(20):
            with contextlib.ExitStack() as held:
                ids = {identity(held.enter_context(hold(home.sandbox, propagation="slave"))) for _ in range(25)}
                assert ids <= walked()
                home.umount(MERGED)
                home.layer()
            wait_until(partial(ended, ids), 30, "they end while the watcher looks")
    finally:
        os.close(stopped)
        os.waitpid(pid, 0)


def ended(ids: set[int]) -> bool:
    return not ids & walked()


def look_until(stop: int) -> None:
    """Look as the service does, but ten times as often."""
    scanner = watcher()
    while not select.select([stop], [], [], 0.1)[0]:
        scanner.scan()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_100_000_events_leave_no_descriptor_child_or_memory(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave"), hold(home.sandbox, propagation="private") as loud:

        def check() -> list[tuple[int, int, int]]:
            event_budget.A_SECOND = 10**9
            scanner, used = watcher(), []
            for number in range(1, 101):
                storm(125)  # in the slave too
                loud.run(lambda: storm(250))
                scanner.scan(resync=number % 10 == 0)
                if number in (10, 100):
                    status = Path("/proc/self/status").read_text()
                    anonymous = int(status.partition("RssAnon:")[2].split()[0])
                    children = Path(f"/proc/self/task/{os.getpid()}/children")
                    used.append((len(os.listdir("/proc/self/fd")), len(children.read_text().split()), anonymous))
            return used

        (fds, children, before), (fds_now, children_now, after) = home.sandbox.run(check, timeout=280)
    assert (fds_now, children_now) == (fds, children)
    assert after - before <= 1024, f"RssAnon grew by {after - before} KiB"
