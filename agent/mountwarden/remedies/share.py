"""share: make the mount that contains a root shared in home. That one mount, never what is mounted below it."""

import errno
import functools
import os
import stat
from typing import TYPE_CHECKING

from ..errors import Declined, NoAnswer
from ..kernel import abi, syscalls
from ..model import Action, Finding, Outcome
from .checks import scan_again
from .children import at_home
from .results import Performed

if TYPE_CHECKING:
    from ..scan.scanner import Scanner


def share(finding: Finding, scanner: "Scanner") -> Outcome:
    """Give the mount that contains the root a peer group.

    Raises: Declined where a precondition does not hold; OSError and NoAnswer of the scan or the child.
    """
    scan, now = scan_again(finding, scanner, Action.SHARE)
    mount = now.first
    if mount.seen_at is None or mount.mount_id is None:
        raise Declined("changed", "the mount is not known any more")
    where = os.fsdecode(mount.seen_at)
    saw = f"mount {mount.mount_id} at {where}: {now.detail}"
    at_home(now.home, scan, functools.partial(make_shared, mount.seen_at, mount.mount_id))
    performed = Performed(now, Action.SHARE, saw, "made it shared on the host (MS_SHARED on that mount alone)")
    try:
        after = scanner.scan(resync=True)
    except (OSError, NoAnswer) as error:
        return performed.unverified(error)
    if any(other.id == finding.id for other in after.findings):
        return performed.failed("not-shared", "the mount is still not shared")
    return performed.done(f"the mount at {where} is shared", "it has a peer group now")


def make_shared(point: bytes, mount: int) -> None:
    """Runs in home: through a descriptor, so that no path is walked twice, and without the namespace's own /proc.

    Raises: Declined where another mount is there; OSError.
    """
    fd = os.open(point, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if syscalls.mount_id(fd) != mount or not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise Declined("changed", "something else is mounted there than what was judged")
        propagate(fd, abi.MS_SHARED)
    finally:
        os.close(fd)


def propagate(fd: int, how: int) -> None:
    """Set the propagation of the mount whose root is the directory of `fd`. Changes the working directory at worst."""
    try:
        syscalls.mount_setattr(fd, b"", abi.AT_EMPTY_PATH, propagation=how)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        # mount_setattr(2) came with Linux 5.12; a seccomp filter older than that says EPERM.
        os.fchdir(fd)
        syscalls.mount(None, b".", None, how)
