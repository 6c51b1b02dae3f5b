"""unmount: umount inside the one namespace that holds a leaked copy, for what a detach does not reach."""

import errno
import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import Declined, NoAnswer
from ..kernel import abi, child, syscalls
from ..model import Action, Copy, Finding, Outcome
from ..observe import directory_users
from .checks import other_members, scan_again, texts
from .children import T, inside
from .results import Performed, verified

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..scan.scanner import Scan, Scanner

_WALK = abi.RESOLVE_NO_SYMLINKS | abi.RESOLVE_NO_MAGICLINKS


@dataclass(frozen=True, slots=True)
class _Mounted:
    """A copy as the child finds it again."""

    point: bytes
    id: int
    parent: int
    unique: int | None


def unmount(finding: Finding, scanner: "Scanner") -> Outcome:
    """Unmount the leaked copies inside their namespaces; lazily where they are in use there.

    Raises: Declined where a precondition does not hold; OSError and NoAnswer of the scan or the child.
    """
    scan, now = scan_again(finding, scanner, Action.UNMOUNT)
    copies = now.target.leaked if now.target else ()
    if not copies or any(copy.parent is None or copy.mount.point == b"/" for copy in copies):
        raise Declined("not-applicable", "the copy is the namespace's own root, or its parent is not seen")
    _check_spread(copies, scan)
    spaces = {inode: list(some) for inode, some in itertools.groupby(copies, key=lambda copy: copy.namespace)}
    ids = "; ".join(f"mounts {[copy.mount.id for copy in some]} in namespace {inode}" for inode, some in spaces.items())
    saw = f"{ids} of {now.device}, evidence {now.evidence}"
    proc = directory_users.open_proc()
    try:
        performed = Performed(now, Action.UNMOUNT, saw, _unmounted_everywhere(spaces, scan), copies)
        return verified([performed], scanner, proc)[0][0]
    finally:
        os.close(proc)


def _check_spread(copies: tuple[Copy, ...], scan: "Scan") -> None:
    """An umount spreads from the parent's peer group, and takes along what is mounted on the copy. Raises: Declined."""
    parents = {copy.parent.id: copy.parent for copy in copies if copy.parent is not None}
    groups = {parent.shared for parent in parents.values() if parent.shared}
    ids = frozenset(copy.mount.id for copy in copies)
    spaces = {copy.namespace for copy in copies}
    for inode, text in texts(scan):
        for mount in other_members(text, groups, parents):
            where = f"{os.fsdecode(mount.point)} in namespace {inode}"
            raise Declined("spreads", f"the umount would spread to {where}: its parent is in one peer group")
        if inode in spaces:
            for mount in directory_users.mounted_on(text, ids):
                if mount.id not in ids:
                    raise Declined("mounted-on", f"{os.fsdecode(mount.point)} is mounted on it there")


def _unmounted_everywhere(spaces: Mapping[int, Sequence[Copy]], scan: "Scan") -> str:
    """What was done, in words. Raises: as `_unmounted` where nothing was done yet."""
    did: list[str] = []
    for inode, copies in spaces.items():
        mounts = [_Mounted(c.mount.point, c.mount.id, c.mount.parent, c.mount.unique) for c in reversed(copies)]
        try:
            did.append(_unmounted(inode, scan, mounts))
        except (Declined, OSError) as error:
            if not did:
                raise
            did.append(f"namespace {inode}: {error}")  # the scan afterwards shows what is left
    return "; ".join(did)


def _unmounted(inode: int, scan: "Scan", mounts: list[_Mounted]) -> str:
    """What was done, in words; a child that missed its deadline may have done it, which the scan afterwards shows."""
    gone = Declined("gone", "the namespace has no process any more")
    try:
        how: list[str] = inside(inode, scan, functools.partial(_act, mounts), gone=gone, enter=enter)
    except NoAnswer as error:
        return f"started to unmount; {error.message}"
    return "; ".join(f"{os.fsdecode(m.point)}: {word}" for m, word in zip(mounts, how, strict=True))


def enter(pid: int, function: "Callable[[], T]", *, inode: int | None, deadline: float) -> T:
    """As observe.enter.in_namespace; into the user namespace too where the mount namespace alone is refused."""

    def entered() -> T:
        mount_fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        user_fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        if inode is not None and os.fstat(mount_fd).st_ino != inode:
            raise ProcessLookupError(f"process {pid} is no longer in mount namespace {inode}")
        try:
            syscalls.setns(mount_fd, abi.CLONE_NEWNS)
        except PermissionError:
            syscalls.setns(user_fd, abi.CLONE_NEWUSER)
            syscalls.setns(mount_fd, abi.CLONE_NEWNS)
        os.close(mount_fd)
        os.close(user_fd)
        return function()

    return child.ask(entered, deadline=deadline, what=f"the child in the mount namespace of process {pid}")


def _act(mounts: list[_Mounted]) -> list[str]:
    """In the child, top of a stack first: what became of each."""
    parents = [_parent(mount) for mount in mounts]
    done: list[str] = []
    try:
        for fd, mount in zip(parents, mounts, strict=True):
            _check_top(fd, mount)
            done.append(_umount(fd, mount))
    except (Declined, OSError) as error:
        if not done:
            raise
        done += [f"not unmounted: {error}"] * (len(mounts) - len(done))  # the scan afterwards shows them
    finally:
        for fd in parents:
            os.close(fd)
    return done


def _parent(mount: _Mounted) -> int:
    """The directory that holds the mountpoint: the mount itself is never opened."""
    try:
        return syscalls.openat2(abi.AT_FDCWD, os.path.dirname(mount.point), os.O_PATH | os.O_DIRECTORY, resolve=_WALK)
    except OSError as error:
        raise Declined("changed", f"the way to it can't be walked: {error.strerror}") from error


def _check_top(parent: int, mount: _Mounted) -> None:
    name = os.path.basename(mount.point)
    unique = mount.unique is None or syscalls.mount_id(parent, name, unique=True) == mount.unique
    if syscalls.mount_id(parent, name) != mount.id or not unique:
        raise Declined("covered", "another mount is on top of it there, or on the way to it")


def _umount(parent: int, mount: _Mounted) -> str:
    """Plainly; lazily where it is busy, since what uses a leaked copy would keep it. Raises: Declined; OSError."""
    os.fchdir(parent)
    name = os.path.basename(mount.point)
    try:
        syscalls.umount(b"./" + name, abi.UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Declined("locked", "the kernel does not allow it: a user namespace has locked the mount") from error
        if error.errno != errno.EBUSY:
            raise
        syscalls.umount(b"./" + name, abi.UMOUNT_NOFOLLOW | abi.MNT_DETACH)
        return "unmounted lazily, since it is in use there"
    return "unmounted"
