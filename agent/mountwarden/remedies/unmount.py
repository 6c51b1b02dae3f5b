"""unmount: umount inside the namespaces that hold leaked copies, for what a detach does not reach or must not touch.

Without MNT_DETACH, so that the kernel refuses it while a copy is in use, unless the operator asks for a lazy one.
"""

import functools
import itertools
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import Declined, NoAnswer
from ..kernel import abi, child, syscalls
from ..model import Action, Copy, Finding, Mount, Outcome
from ..observe import directory_users
from ..observe.mount_lines import MountLines
from .checks import other_members, scan_again
from .children import T, inside
from .results import Performed, copies_in_words, verified
from .umount_there import MountAtPath, check_top, parent_directory, umount
from .unread import check_unread, of_each_readable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..scan.result import Scan
    from ..scan.scanner import Scanner


def unmount(
    finding: Finding, scanner: "Scanner", *, lazy: bool = False, also_unread: frozenset[int] = frozenset()
) -> Outcome:
    """Unmount the leaked copies of the finding's own mount inside their namespaces.

    `lazy`: where one is in use there too. `also_unread` are other mount namespaces, by inode, that do not keep it back
    though they can't be read. Raises: Declined where a precondition does not hold, or nothing could be
    unmounted; OSError and NoAnswer of the scan or the child.
    """
    scan, now = scan_again(finding, scanner, Action.UNMOUNT)
    copies = now.target.proven if now.target else ()
    if not copies or any(copy.parent is None or copy.mount.point == b"/" for copy in copies):
        raise Declined("not-applicable", "the copy is the namespace's own root, or its parent is not seen")
    _check_spread(finding, copies, scan, also_unread)
    proc = directory_users.open_proc()
    try:
        tried = _Everywhere(scan, proc, lazy)
        for inode, some in itertools.groupby(copies, key=lambda copy: copy.namespace):
            tried.unmount(inode, tuple(some))
        if not tried.did:
            raise tried.refused[0]
        gone = tuple(copy for copy in copies if copy.namespace in tried.spaces)
        saw = f"{copies_in_words(len(copies))} of {now.device}, evidence {now.evidence}"
        performed = Performed(now, Action.UNMOUNT, saw, "; ".join(tried.did), gone)
        return tried.outcome(verified([performed], scanner, proc)[0][0])
    finally:
        os.close(proc)


def _check_spread(finding: Finding, copies: tuple[Copy, ...], scan: "Scan", also_unread: frozenset[int]) -> None:
    """An umount spreads from the parent's peer group, and takes along what is mounted on the copy. Raises: Declined.

    What can't be read may be in a peer group; where the parents are in none, only the copies' own namespaces matter.
    """
    parents = {copy.parent.id: copy.parent for copy in copies if copy.parent is not None}
    groups = {parent.shared for parent in parents.values() if parent.shared}
    ids = frozenset(copy.mount.id for copy in copies)
    spaces = {copy.namespace for copy in copies}

    def others_in(inode: int, lines: MountLines) -> tuple[list[Mount], list[Mount]]:
        above = directory_users.mounted_on(lines, ids) if inode in spaces else ()
        return other_members(lines, groups, parents), [mount for mount in above if mount.id not in ids]

    unread: dict[int, str] = {}
    for inode, (members, above) in of_each_readable(scan, others_in, unread):
        for mount in members:
            where = f"{os.fsdecode(mount.point)} in namespace {inode}"
            raise Declined("spreads", f"the umount would spread to {where}: its parent is in one peer group")
        for mount in above:
            raise Declined("mounted-on", f"{os.fsdecode(mount.point)} is mounted on it there")
    left = (unread.keys() if groups else unread.keys() & spaces) - also_unread
    check_unread(finding, Action.UNMOUNT, {inode: unread[inode] for inode in left}, scan)


_LAZY = (
    "with --lazy it is unmounted all the same: what its programs have open goes on working, a path that they look up "
    "from then on shows the bare directory below, and what they write there stays there"
)


class _Everywhere:
    """The umounts in one namespace after the other: one that is refused does not keep back the others."""

    def __init__(self, scan: "Scan", proc: int, lazy: bool) -> None:
        self._scan, self._proc, self._lazy = scan, proc, lazy
        self.did: list[str] = []
        self.spaces: set[int] = set()
        """Namespaces in which something was done."""
        self.refused: list[Declined | OSError] = []
        self._groups: set[int] = set()
        """Peer groups to which an umount has spread: what was checked of them lets only copies be there."""

    def unmount(self, inode: int, copies: tuple[Copy, ...]) -> None:
        """Unmount all copies of one namespace, or note why not."""
        parents = [copy.parent for copy in copies if copy.parent is not None]
        if all(self._groups & {parent.shared, parent.master} for parent in parents):
            self.did.append(f"namespace {inode}: unmounted along with its peers")
            self.spaces.add(inode)
            return
        mounts = [MountAtPath(c.mount.point, c.mount.id, c.mount.parent, c.mount.unique) for c in reversed(copies)]
        try:
            self.did.append(f"namespace {inode}: {_unmounted(inode, self._scan, mounts, self._lazy)}")
            self.spaces.add(inode)
            self._groups |= {parent.shared for parent in parents if parent.shared}
        except Declined as error:
            self.refused.append(self._busy(inode, copies) if error.code == "busy" else error)
        except OSError as error:
            self.refused.append(error)

    def outcome(self, done: Outcome) -> Outcome:
        """What came of all of them, given what came of those in which something was done."""
        if not self.refused or not done.done:
            return done
        first = self.refused[0]
        code = first.code if isinstance(first, Declined) else "failed"
        where = f"{len(self.spaces)} of {len(self.spaces) + len(self.refused)} namespaces"
        return replace(done, done=False, code=code, text=f"unmounted in {where}; in the others declined: {first}")

    def _busy(self, inode: int, copies: tuple[Copy, ...]) -> Declined:
        users = directory_users.users_by_mount(self._proc, frozenset(copy.mount.id for copy in copies))
        named = [str(use) for some in users.values() for use in some]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        by = (
            ", ".join(named[:3]) + more
            if named
            else "no process that has a file open: by what is mounted from it, a loop device or swap"
        )
        return Declined("busy", f"it is in use in namespace {inode} by {by}; {_LAZY}")


def _unmounted(inode: int, scan: "Scan", mounts: list[MountAtPath], lazy: bool) -> str:
    """What was done, in words; a child that missed its deadline may have done it, which the scan afterwards shows."""
    gone = Declined("gone", "the namespace has no process any more")
    try:
        how: list[str] = inside(inode, scan, functools.partial(_act, mounts, lazy), gone=gone, enter=enter)
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


def _act(mounts: list[MountAtPath], lazy: bool) -> list[str]:
    """In the child, top of a stack first: what became of each."""
    parents = [parent_directory(mount) for mount in mounts]
    done: list[str] = []
    try:
        for fd, mount in zip(parents, mounts, strict=True):
            check_top(fd, mount)
            done.append(umount(fd, mount, lazy))
    except (Declined, OSError) as error:
        if not done:
            raise
        done += [f"not unmounted: {error}"] * (len(mounts) - len(done))  # the scan afterwards shows them
    finally:
        for fd in parents:
            os.close(fd)
    return done
