"""rejoin: make a severed copy of a root a slave of home's mount again, from outside, with nothing restarted."""

import contextlib
import functools
import os
from typing import TYPE_CHECKING

from ..errors import Declined, NoAnswer
from ..model import Action, Copy, Finding, Mount, NamespaceKind, Outcome, RootState
from ..mounts.table import Table, below
from ..observe import directory_users, processes
from ..observe.mount_lines import MountLines
from .checks import of_namespace, other_members, scan_again
from .children import at_home
from .results import Performed
from .sharing_group import Pair, alive, join_all
from .unread import check_unread, of_each_readable

if TYPE_CHECKING:
    from ..scan.result import Scan
    from ..scan.scanner import Scanner


def rejoin(
    finding: Finding,
    scanner: "Scanner",
    *,
    named: frozenset[str] = frozenset(),
    also_unread: frozenset[int] = frozenset(),
) -> Outcome:
    """Make the service's mounts slaves of home's.

    `named` are units that the operator named: one with a root directory of its own, or a read-only one, is rejoined
    only then. `also_unread` are other mount namespaces, by inode, that do not keep it back though they can't be read.
    Raises: Declined where any precondition does not hold; OSError and NoAnswer of the scan or the child.
    """
    scan, now = scan_again(finding, scanner, Action.REJOIN)
    pid = _service(now)
    tables = _tables(now, scan)
    _check_view(now, tables, named)
    pairs = _pairs(now, scan, tables[0])
    _check_alone(finding, pairs, scan, also_unread)
    saw = "; ".join(f"mount {p.target.id} at {os.fsdecode(p.target.point)} has no master" for p in pairs)
    join = functools.partial(join_all, pairs, pid, now.first.namespace or 0)
    with contextlib.ExitStack() as fds:
        proc = directory_users.open_proc()
        fds.callback(os.close, proc)
        with alive(pid):
            root = os.open(f"{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
        fds.callback(os.close, root)
        at_home(now.home, scan, functools.partial(join, root, proc))
    did = "; ".join(f"made mount {p.target.id} a slave of the host's peer group {p.source.shared}" for p in pairs)
    return _verified(Performed(now, Action.REJOIN, saw, did), scanner, pairs)


def _service(now: Finding) -> int:
    """A process of the service. Raises: Declined unless it is one in the host's own user namespace."""
    if now.first.namespace_kind is not NamespaceKind.SERVICE or not now.first.holders:
        raise Declined("not-a-service", f"it is in a {now.first.namespace_kind or 'namespace'}, not in a service")
    for holder in now.first.holders:
        if holder.container:
            raise Declined("not-a-service", f"process {holder.pid} of it is in a container")
        try:
            user = processes.link_inode(holder.pid, "user")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if user != os.stat("/proc/self/ns/user").st_ino:
            raise Declined("user-namespace", f"process {holder.pid} of it is in a user namespace of its own")
    return now.first.holders[0].pid


def _tables(now: Finding, scan: "Scan") -> tuple[Table, Table]:
    """The service's mounts and home's, as they are now."""
    found = []
    for inode in (now.first.namespace, now.home):
        table = of_namespace(inode, scan, lambda lines: Table.from_blocks(lines.blocks()))
        if table is None:
            raise Declined("gone", f"namespace {inode} has no process any more")
        found.append(table)
    return found[0], found[1]


def _check_view(now: Finding, tables: tuple[Table, Table], named: frozenset[str]) -> None:
    """RootDirectory= and ProtectSystem=strict keep the host's mounts from a service: the operator has to name it."""
    service, home = (table.root() for table in tables)
    if service is None or home is None:
        raise Declined("unread", 'the "/" of the service or of the host is not seen')
    if any(holder.unit in named for holder in now.first.holders):
        return
    if service.identity != home.identity:
        raise Declined("own-root", "the service has a root directory of its own (RootDirectory=), and was not named")
    if _read_only(service) and not _read_only(home):
        raise Declined("strict", 'its "/" is read-only (ProtectSystem=strict): new mounts would be writable; not named')


def _read_only(mount: Mount) -> bool:
    return b"ro" in mount.options.split(b",")


def _pairs(now: Finding, scan: "Scan", service: Table) -> list[Pair]:
    """For each mount of the service that holds severed copies, home's mount that holds the originals."""
    states = [s for s in scan.picture.roots if s.root == now.root and s.home == now.home]
    pairs: dict[int, Pair] = {}
    for copy in now.target.copies if now.target else ():
        target = service.get(copy.parent.id) if copy.parent else None
        if target is None or copy.parent is None or target.identity != copy.parent.identity:
            raise Declined("changed", "the mounts that hold it are not those that were judged")
        sources = [parent for state in states for parent in _originals(copy, state)]
        if not sources:
            raise Declined("changed", "the host does not have it mounted any more")
        pairs[target.id] = _checked(max(sources, key=lambda source: _fit(source, target)), target)
    if not pairs:
        raise Declined("changed", "no copy is severed any more")
    return list(pairs.values())


def _originals(copy: Copy, state: RootState) -> list[Mount]:
    """Home's mounts that hold a live original of the copy: two, where a root that is mounted on itself is shared."""
    live = state.live.get(copy.match.spot, ()) if copy.match else ()
    held = (state.parents.get(m.id) for m in live if m.identity == copy.mount.identity)
    return [parent for parent in held if parent]


def _fit(source: Mount, target: Mount) -> tuple[bool, bool, int]:
    """How well the mount of home suits: it must show all that the target shows, and little more."""
    shows_all = source.device == target.device and below(source.root, target.root) is not None
    return shows_all, bool(source.shared), len(source.root)


def _checked(source: Mount, target: Mount) -> Pair:
    """What the kernel would refuse with a bare EINVAL, each by its reason and the mount of the service."""
    here, there = os.fsdecode(source.point), f"its mount at {os.fsdecode(target.point)}"
    if not source.shared:
        raise Declined("home-private", f"the host's mount at {here} is not shared: share it first")
    if target.master:
        raise Declined("member", f"{there} has another master already, which it would lose")
    if source.device != target.device:
        raise Declined("other-superblock", f"{there} is of another file system than the host's at {here}")
    if below(source.root, target.root) is None:
        raise Declined("narrow", f"{there} shows more of the file system than the host's at {here}")
    return Pair(source, target)


def _check_alone(finding: Finding, pairs: list[Pair], scan: "Scan", also_unread: frozenset[int]) -> None:
    """A peer group that has other members or slaves is not left. Raises: Declined."""
    groups = {pair.target.shared for pair in pairs if pair.target.shared}
    own = {pair.target.id for pair in pairs}
    unread: dict[int, str] = {}

    def others_in(_inode: int, lines: MountLines) -> list[Mount]:
        return other_members(lines, groups, own)

    for inode, others in of_each_readable(scan, others_in, unread) if groups else ():
        for mount in others:
            where = f"{os.fsdecode(mount.point)} in namespace {inode}"
            raise Declined("member", f"the copy is in one peer group with {where}, which would lose it")
    left = unread.keys() - also_unread
    check_unread(finding, Action.REJOIN, {inode: unread[inode] for inode in left}, scan)


def _verified(performed: Performed, scanner: "Scanner", pairs: list[Pair]) -> Outcome:
    try:
        after = scanner.scan(resync=True)
        masters = {mount.id: mount.master for mount in _tables(performed.finding, after)[0].mounts}
    except (OSError, NoAnswer, Declined) as error:
        return performed.unverified(error)
    wrong = [pair for pair in pairs if masters.get(pair.target.id) != pair.source.shared]
    if wrong or any(other.id == performed.finding.id for other in after.findings):
        return performed.failed("still-severed", "it is still severed")
    mounts = f"{len(pairs)} mount{'s' if len(pairs) != 1 else ''}"
    return performed.done(
        f"umounts and new mounts on the host reach {mounts} there", "each has the host's peer group as its master"
    )
