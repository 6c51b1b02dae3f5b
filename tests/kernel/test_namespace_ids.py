"""The 64-bit id of a finding's namespace, against what statmount(2) says of a mount in it."""

from collections.abc import Callable

from mountwarden.kernel import abi, syscalls
from mountwarden.kernel.abi import StatmountMask
from mountwarden.model import Door, Finding, Kind
from mountwarden.model import Namespace as Space
from mountwarden.observe import entries, ids, processless
from mountwarden.observe.enter import own_namespace
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.kernel.test_processless import bound
from tests.kernel.topology import ROOT, Home
from tests.support import mountinfo
from tests.support.scratch_ns import hold

MERGED = ROOT + b"/X/merged"


def by_statmount() -> int | None:
    """mnt_ns_id of the caller's root; None before Linux 6.11, which tells it by no other way either."""
    answer = syscalls.byte_buffer(1024)
    try:
        root = syscalls.mount_id(abi.AT_FDCWD, b"/", unique=True)
        syscalls.statmount(root or 0, StatmountMask.MNT_NS_ID, None, answer)
    except OSError:
        return None
    fields = abi.STATMOUNT.unpack_from(answer)
    return int(fields[19]) if fields[2] & StatmountMask.MNT_NS_ID else None


def scans(home: Home, *steps: Callable[[], None]) -> list[tuple[Scan, int | None]]:
    """A look after each step, by one looker, and the id of a bare namespace that then has a finding."""

    def watched() -> list[tuple[Scan, int | None]]:
        scanner, seen = Scanner(home.config, home=own_namespace()), list[tuple[Scan, int | None]]()
        for step in steps:
            step()
            scan = scanner.scan()
            doors = [(s.door, s.inode) for f in scan.findings if (s := space(scan, f)) and s.door]
            seen.append((scan, processless.through(*doors[0], by_statmount) if doors else None))
        return seen

    return home.run(watched)


def space(scan: Scan, finding: Finding) -> Space | None:
    return scan.picture.namespaces.get(finding.first.namespace or 0)


def only(scan: Scan, kind: Kind) -> Finding:
    (finding,) = (finding for finding in scan.findings if finding.kind is kind)
    return finding


def test_a_process_s_namespace(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as held:
        wanted = held.run(by_statmount)
        (severed, _), (leaked, _), (again, _) = scans(home, lambda: None, lambda: syscalls.umount(MERGED), lambda: None)
    assert only(severed, Kind.SEVERED).first.namespace_id == wanted
    assert [only(scan, Kind.LEAKED).first.namespace_id for scan in (leaked, again)] == [wanted, wanted]
    assert wanted is None or wanted > 0


def test_a_home_that_is_private(home: Home) -> None:
    home.layer()
    ((scan, _),) = scans(home, lambda: syscalls.mount(None, b"/mnt", None, abi.MS_PRIVATE))
    assert only(scan, Kind.PRIVATE_ROOT).first.namespace_id == home.run(by_statmount)


def test_a_namespace_without_a_process(home: Home) -> None:
    home.layer()
    bound(home)
    for scan, wanted in scans(home, lambda: syscalls.umount(MERGED), lambda: None):
        assert only(scan, Kind.LEAKED).first.namespace_id == wanted


def test_what_is_known_is_not_asked_for_again_through_a_door(home: Home) -> None:
    inode = bound(home)

    def run() -> tuple[list[int | None], int]:
        opened, open_namespace, asked = [0], entries.open_namespace, ids.NamespaceIds()

        def counted(door: int | Door, inode: int, **more: float) -> int:
            opened[0] += 1
            return open_namespace(door, inode, **more)

        entries.open_namespace = counted
        (door,) = (door for other, door in processless.unlisted({}, {}, ()).doors.items() if other == inode)
        return [asked.of([Space(inode, door=door)]).get(inode) for _ in range(3)], opened[0]

    found, entered = home.run(run)
    assert len(set(found)) == 1
    assert entered == (0 if found[0] is None else 1)


def test_an_inode_that_is_used_again_has_another_id() -> None:
    asked = ids.NamespaceIds()
    for _ in range(100):
        with hold() as first:
            before, inode = asked.of([Space(first.inode, (first.pid,))]), first.inode
        with hold() as second:
            after, reused = asked.of([Space(second.inode, (second.pid,))]), second.inode == inode
            wanted = second.run(by_statmount)
            assert after == ({} if wanted is None else {second.inode: wanted})
        if reused:
            assert before != after or wanted is None
            return
    raise AssertionError("no inode was used again")


def test_what_has_ended_has_no_id() -> None:
    with hold() as ended:
        pid, inode = ended.pid, ended.inode
    assert (
        ids.NamespaceIds().of([Space(inode, (pid,)), Space(1, door=processless.Door("bind", 0, b"/nonexistent"))]) == {}
    )
    assert mountinfo.whole(inode, (pid,)) is None
