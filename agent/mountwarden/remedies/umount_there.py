"""One umount(2) in the caller's own mount namespace, of the mount that was judged, from its parent directory."""

import errno
import os
from dataclasses import dataclass

from ..errors import Declined
from ..kernel import abi, syscalls

_WALK = abi.RESOLVE_NO_SYMLINKS | abi.RESOLVE_NO_MAGICLINKS


@dataclass(frozen=True, slots=True)
class MountAtPath:
    """A mount as it is found again."""

    point: bytes
    id: int
    parent: int
    unique: int | None


def parent_directory(mount: MountAtPath) -> int:
    """The directory that holds the mountpoint, as a descriptor: the mount itself is never opened. Raises: Declined."""
    try:
        return syscalls.openat2(abi.AT_FDCWD, os.path.dirname(mount.point), os.O_PATH | os.O_DIRECTORY, resolve=_WALK)
    except OSError as error:
        raise Declined("changed", f"the way to it can't be walked: {error.strerror}") from error


def check_on(parent: int, mount: MountAtPath) -> None:
    """Raises: Declined unless that directory is on the mount that the judged one was mounted on."""
    if syscalls.mount_id(parent) != mount.parent:
        raise Declined("covered", "another mount is on the way to it")


def check_top(parent: int, mount: MountAtPath) -> None:
    """Raises: Declined unless the mount is what a path to it leads to."""
    name = os.path.basename(mount.point)
    unique = mount.unique is None or syscalls.mount_id(parent, name, unique=True) == mount.unique
    if syscalls.mount_id(parent, name) != mount.id or not unique:
        raise Declined("covered", "another mount is on top of it there, or on the way to it")


def umount(parent: int, mount: MountAtPath, lazy: bool) -> str:
    """Plainly; where it is busy and that is wanted, lazily. Raises: Declined; OSError."""
    os.fchdir(parent)
    name = os.path.basename(mount.point)
    try:
        syscalls.umount(b"./" + name, abi.UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Declined("locked", "the kernel does not allow it: a user namespace has locked the mount") from error
        if error.errno != errno.EBUSY:
            raise
        if not lazy:
            raise Declined("busy", "it is in use there") from error
        syscalls.umount(b"./" + name, abi.UMOUNT_NOFOLLOW | abi.MNT_DETACH)
        return "unmounted lazily, since it is in use there"
    return "unmounted"
