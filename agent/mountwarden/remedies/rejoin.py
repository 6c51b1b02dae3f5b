"""rejoin: make a severed copy of a root a slave of home's mount again, from outside, with nothing restarted.

move_mount(2) with MOVE_MOUNT_SET_GROUP (Linux 5.15) gives a mount the sharing group of another of the same superblock,
in whatever namespace it is. It takes private mounts only, and the other's root must be at or above the target's.
systemd leaves the mounts of a service shared: a copy in a peer group that has no other member, and no slave, is made
private first, which takes a child that enters the namespace, and shared again afterwards.
"""

import contextlib
import errno
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import Declined, NoAnswer
from ..kernel import abi, syscalls
from ..model import Action, Copy, Finding, Mount, NamespaceKind, Outcome, RootState
from ..mounts.table import Table, below
from ..observe import directory_users, processes
from .checks import other_members, scan_again, text_of, texts
from .children import at_home
from .results import Performed
from .share import propagate

if TYPE_CHECKING:
    from ..scan.scanner import Scan, Scanner

_HERE = abi.RESOLVE_NO_SYMLINKS | abi.RESOLVE_NO_MAGICLINKS
_WALK = abi.RESOLVE_IN_ROOT | _HERE


@dataclass(frozen=True, slots=True)
class _Pair:
    """Home's mount, and the one that is to become its slave."""

    source: Mount
    target: Mount


def rejoin(finding: Finding, scanner: "Scanner", *, named: frozenset[str] = frozenset()) -> Outcome:
    """`named` are units that the operator named: a unit in a jail or on a read-only root is rejoined only then."""
    scan, now = scan_again(finding, scanner, Action.REJOIN)
    pid = _service(now)
    tables = _tables(now, scan)
    _check_view(now, tables, named)
    pairs = _pairs(now, scan, tables[0])
    _check_alone(pairs, scan)
    saw = "; ".join(f"mount {p.target.id} at {os.fsdecode(p.target.point)} has no master" for p in pairs)
    act = functools.partial(_join_all, pairs, pid, now.namespace or 0)
    with contextlib.ExitStack() as fds:
        proc = directory_users.open_proc()
        fds.callback(os.close, proc)
        with _alive(pid):
            root = os.open(f"{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
        fds.callback(os.close, root)
        at_home(now.home, scan, functools.partial(act, root, proc))
    did = "; ".join(f"made mount {p.target.id} a slave of peer group {p.source.shared} of home" for p in pairs)
    return _verified(Performed(now, Action.REJOIN, saw, did), scanner, pairs)


def _service(now: Finding) -> int:
    """A process of the service. Raises: Declined for whatever is no service of the host's own user namespace."""
    if now.namespace_kind is not NamespaceKind.SERVICE or not now.holders:
        raise Declined("not-a-service", f"it is in a {now.namespace_kind or 'namespace'}, not in a service")
    for holder in now.holders:
        if holder.container:
            raise Declined("not-a-service", f"process {holder.pid} of it is in a container")
        try:
            user = processes.link_inode(holder.pid, "user")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if user != os.stat("/proc/self/ns/user").st_ino:
            raise Declined("user-namespace", f"process {holder.pid} of it is in a user namespace of its own")
    return now.holders[0].pid


def _tables(now: Finding, scan: "Scan") -> tuple[Table, Table]:
    """The service's mounts and home's, as they are now."""
    found = []
    for inode in (now.namespace, now.home):
        text = text_of(inode, scan)
        if text is None:
            raise Declined("gone", f"namespace {inode} has no process any more")
        found.append(Table.from_text(text))
    return found[0], found[1]


def _check_view(now: Finding, tables: tuple[Table, Table], named: frozenset[str]) -> None:
    """RootDirectory= and ProtectSystem=strict keep the host's mounts from a service: the operator has to name it."""
    service, home = (table.root() for table in tables)
    if service is None or home is None:
        raise Declined("unread", 'the "/" of the service or of home is not seen')
    if any(holder.unit in named for holder in now.holders):
        return
    if service.identity != home.identity:
        raise Declined("own-root", "the service has a root directory of its own (RootDirectory=), and was not named")
    if _read_only(service) and not _read_only(home):
        raise Declined("strict", 'its "/" is read-only (ProtectSystem=strict): new mounts would be writable; not named')


def _read_only(mount: Mount) -> bool:
    return b"ro" in mount.options.split(b",")


def _pairs(now: Finding, scan: "Scan", service: Table) -> list[_Pair]:
    """For each mount of the service that holds severed copies, home's mount that holds the originals."""
    states = [s for s in scan.picture.roots if s.root == now.root and s.home == now.home]
    pairs: dict[int, _Pair] = {}
    for copy in now.target.copies if now.target else ():
        source = next((found for state in states if (found := _original(copy, state))), None)
        target = service.get(copy.parent.id) if copy.parent else None
        if source is None or target is None or copy.parent is None or target.identity != copy.parent.identity:
            raise Declined("changed", "the mounts that hold it are not those that were judged")
        pairs[target.id] = _checked(source, target)
    if not pairs:
        raise Declined("changed", "no copy is severed any more")
    return list(pairs.values())


def _original(copy: Copy, state: RootState) -> Mount | None:
    """Home's mount that holds the live original of the copy."""
    live = state.live.get(copy.match.spot, ()) if copy.match else ()
    held = (state.parents.get(m.id) for m in live if m.identity == copy.mount.identity)
    return next((parent for parent in held if parent), None)


def _checked(source: Mount, target: Mount) -> _Pair:
    """What the kernel would refuse with a bare EINVAL, each by its reason."""
    if not source.shared:
        raise Declined("home-private", f"home's mount at {os.fsdecode(source.point)} is not shared: share it first")
    if target.master:
        raise Declined("member", "the copy has another master already, which it would lose")
    if source.device != target.device:
        raise Declined("other-superblock", "the copy is of another file system than home's mount")
    if below(source.root, target.root) is None:
        raise Declined("narrow", "home's mount shows less of the file system than the copy")
    return _Pair(source, target)


def _check_alone(pairs: list[_Pair], scan: "Scan") -> None:
    """A peer group that others are in, or follow, is not left."""
    groups = {pair.target.shared for pair in pairs if pair.target.shared}
    own = {pair.target.id for pair in pairs}
    for inode, text in texts(scan) if groups else ():
        for mount in other_members(text, groups, own):
            where = f"{os.fsdecode(mount.point)} in namespace {inode}"
            raise Declined("member", f"the copy is in one peer group with {where}, which would lose it")


def _join_all(pairs: list[_Pair], pid: int, namespace: int, root: int, proc: int) -> None:
    """In a child at home. `root` is the service's "/", `proc` our own /proc."""
    with contextlib.ExitStack() as fds:
        ready = []
        for pair in pairs:
            target = _target(pair.target, root)
            fds.callback(os.close, target)
            _check_target(target, pair.target, pid, namespace, proc)
            clone = _clone(pair.source)
            fds.callback(os.close, clone)
            propagate(clone, abi.MS_SLAVE)
            ready.append((pair.target, clone, target))
        if any(mount.shared for mount, _clone_fd, _target_fd in ready):
            _enter(pid, namespace, proc)
        for mount, clone, target in ready:
            _join(mount, clone, target)


def _target(mount: Mount, root: int) -> int:
    """The copy's root. RESOLVE_IN_ROOT: a symbolic link in the service's tree must not lead the walk into ours."""
    try:
        return syscalls.openat2(root, mount.point, os.O_PATH | os.O_DIRECTORY, resolve=_WALK)
    except OSError as error:
        raise Declined("changed", f"the way to the copy can't be walked: {error.strerror}") from error


@contextlib.contextmanager
def _alive(pid: int) -> Iterator[None]:
    """What is asked of a process that has ended is told as such; a zombie's mountinfo is EINVAL."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
            raise
        raise Declined("gone", f"process {pid} of it has ended") from error


def _enter(pid: int, namespace: int, proc: int) -> None:
    with _alive(pid):
        fd = os.open(f"{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        if os.fstat(fd).st_ino != namespace:
            raise Declined("changed", f"process {pid} is in another namespace now")
        syscalls.setns(fd, abi.CLONE_NEWNS)
    finally:
        os.close(fd)


def _join(mount: Mount, clone: int, target: int) -> None:
    if not mount.shared:
        _set_group(clone, target)
        return
    propagate(target, abi.MS_PRIVATE)  # a group of its own alone: nobody is cut off
    try:
        _set_group(clone, target)
    finally:
        propagate(target, abi.MS_SHARED)


def _check_target(fd: int, wanted: Mount, pid: int, namespace: int, proc: int) -> None:
    """By the id of the mount that `fd` now pins, in the text of the namespace that is meant: no pid reused, no id."""
    if syscalls.mount_id(fd) != wanted.id:
        raise Declined("covered", "another mount is on top of the copy there")
    with _alive(pid):
        text = _read(proc, f"{pid}/mountinfo")
        link = os.readlink(f"{pid}/ns/mnt", dir_fd=proc)
    if link != f"mnt:[{namespace}]" or Table.from_text(text).get(wanted.id) != wanted:
        raise Declined("changed", "the mount is not the one that was judged any more")


def _read(proc: int, path: str) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc), "rb", buffering=0) as file:
        return file.read()


def _clone(source: Mount) -> int:
    """A detached bind of home's mount. It is in the same peer group, and goes with its descriptor."""
    try:
        held = syscalls.openat2(abi.AT_FDCWD, source.point, os.O_PATH | os.O_DIRECTORY, resolve=_HERE)
        try:
            if syscalls.mount_id(held) != source.id:
                raise Declined("changed", "home has something else mounted there than what was judged")
            return syscalls.open_tree(held, b"", abi.OPEN_TREE_CLONE | abi.AT_EMPTY_PATH)
        finally:
            os.close(held)
    except OSError as error:
        raise _refused(error) from error


def _set_group(clone: int, target: int) -> None:
    flags = abi.MOVE_MOUNT_SET_GROUP | abi.MOVE_MOUNT_F_EMPTY_PATH | abi.MOVE_MOUNT_T_EMPTY_PATH
    try:
        syscalls.move_mount(clone, b"", target, b"", flags)
    except OSError as error:
        raise _refused(error) from error


def _refused(error: OSError) -> Declined:
    if error.errno == errno.ENOSYS or (error.errno == errno.EINVAL and not supported()):
        return Declined("kernel", "this kernel has no MOVE_MOUNT_SET_GROUP (Linux 5.15)")
    if error.errno == errno.EINVAL:
        return Declined("refused", "the kernel refuses it: the copy is locked, gone, or in a group meanwhile")
    return Declined("refused", f"the kernel refuses it: {error.strerror}")


def supported() -> bool:
    """Whether the kernel knows the flag: it looks at flags before it looks at descriptors."""
    flags = abi.MOVE_MOUNT_SET_GROUP | abi.MOVE_MOUNT_F_EMPTY_PATH | abi.MOVE_MOUNT_T_EMPTY_PATH
    try:
        syscalls.move_mount(-1, b"", -1, b"", flags)
    except OSError as error:
        return error.errno == errno.EBADF
    return True


def _verified(performed: Performed, scanner: "Scanner", pairs: list[_Pair]) -> Outcome:
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
        f"umounts and new mounts at home reach {mounts} there", "each has home's peer group as its master"
    )
