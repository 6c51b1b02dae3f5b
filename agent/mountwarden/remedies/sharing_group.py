"""The half of a rejoin that changes something, in a child in home: gives mounts the sharing group of home's mounts.

move_mount(2) with MOVE_MOUNT_SET_GROUP (Linux 5.15) gives a mount the sharing group of another of the same superblock,
in whatever namespace it is. It takes private mounts only, and the other's root must be at or above the target's.
systemd leaves the mounts of a service shared: a copy in a peer group that has no other member, and no slave, is made
private first, which takes a child that enters the namespace, and shared again afterwards.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import Declined
from ..kernel import abi, syscalls
from ..model import Mount
from ..mounts.table import Table
from .share import propagate

_HERE = abi.RESOLVE_NO_SYMLINKS | abi.RESOLVE_NO_MAGICLINKS
_WALK = abi.RESOLVE_IN_ROOT | _HERE
_SET_GROUP = abi.MOVE_MOUNT_SET_GROUP | abi.MOVE_MOUNT_F_EMPTY_PATH | abi.MOVE_MOUNT_T_EMPTY_PATH


@dataclass(frozen=True, slots=True)
class Pair:
    """Home's mount, and the one that is to become its slave."""

    source: Mount
    target: Mount


def join_all(pairs: Sequence[Pair], pid: int, namespace: int, root: int, proc: int) -> None:
    """Make each pair's target a slave of its source. Runs in home. `root` is the service's "/", `proc` our own /proc.

    Raises: Declined, with nothing changed, where a mount is not what was judged, or the kernel refuses the first.
    """
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
def alive(pid: int) -> Iterator[None]:
    """Raises: Declined where a process that is asked for something has ended; a zombie's mountinfo is EINVAL."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
            raise
        raise Declined("gone", f"process {pid} of it has ended") from error


def _enter(pid: int, namespace: int, proc: int) -> None:
    with alive(pid):
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
    propagate(target, abi.MS_PRIVATE)  # it is alone in its group: no other mount is cut off
    try:
        _set_group(clone, target)
    finally:
        propagate(target, abi.MS_SHARED)


def _check_target(fd: int, wanted: Mount, pid: int, namespace: int, proc: int) -> None:
    """By the id of the mount that `fd` now pins, in the text of the very namespace: no pid or id was reused.

    Raises: Declined.
    """
    if syscalls.mount_id(fd) != wanted.id:
        raise Declined("covered", f"another mount is on top of its mount at {os.fsdecode(wanted.point)}")
    with alive(pid):
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
                raise Declined("changed", "the host has something else mounted there than what was judged")
            return syscalls.open_tree(held, b"", abi.OPEN_TREE_CLONE | abi.AT_EMPTY_PATH)
        finally:
            os.close(held)
    except OSError as error:
        raise _refused(error) from error


def _set_group(clone: int, target: int) -> None:
    try:
        syscalls.move_mount(clone, b"", target, b"", _SET_GROUP)
    except OSError as error:
        raise _refused(error) from error


def _refused(error: OSError) -> Declined:
    if error.errno == errno.ENOSYS or (error.errno == errno.EINVAL and not _supported()):
        return Declined("kernel", "this kernel has no MOVE_MOUNT_SET_GROUP (Linux 5.15)")
    if error.errno == errno.EINVAL:
        return Declined("refused", "the kernel refuses it: the copy is locked, gone, or in a group meanwhile")
    return Declined("refused", f"the kernel refuses it: {error.strerror}")


def _supported() -> bool:
    """Whether the kernel knows the flag: it checks flags before it checks descriptors."""
    try:
        syscalls.move_mount(-1, b"", -1, b"", _SET_GROUP)
    except OSError as error:
        return error.errno == errno.EBADF
    return True
