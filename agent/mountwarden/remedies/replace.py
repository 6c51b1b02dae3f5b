"""rmdir-on-put in its atomic form: an empty directory is renamed over a mountpoint that is unmounted in home.

The kernel drops the old directory as rmdir(2) would, and with it every mount that any namespace has on it
(fs/namei.c: vfs_rename, which calls detach_mounts since Linux 3.18); the path is never missing. In the caller's own
mount namespace a mountpoint is refused with EBUSY, so this must run in the root's home.

Whoever has the directory itself open was searched for once for all that are replaced together. All else, the engine's
record among it, is asked for each mountpoint right before its rename; last, whether any mount was made on the host.
"""

import contextlib
import errno
import os
import secrets
import stat
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap

from .. import engines
from ..errors import Declined
from ..kernel import abi, syscalls
from ..model import Match, RecordState, Use
from ..observe import directory_users
from . import attributes, newer_mounts

PREFIX = b".mountwarden-"

_BENEATH = abi.RESOLVE_BENEATH | abi.RESOLVE_NO_SYMLINKS | abi.RESOLVE_NO_MAGICLINKS | abi.RESOLVE_NO_XDEV
_WHY = {
    errno.EBUSY: ("live", "something is mounted on the mountpoint again"),
    errno.ENOTEMPTY: ("not-empty", "the directory is in use, or is a subvolume"),
    errno.EEXIST: ("not-empty", "the directory is in use, or is a subvolume"),
    errno.EPERM: ("immutable", "the file system does not allow it"),
    errno.EACCES: ("denied", "the file system does not allow it"),
    errno.EROFS: ("read-only", "the file system is read-only on the host"),
    errno.ENOSPC: ("no-space", "the file system is full"),
    errno.EDQUOT: ("no-space", "a quota is used up"),
    errno.ELOOP: ("symlink", "a part of the path is a symbolic link"),
    errno.EXDEV: ("other-mount", "something else is mounted on a part of the path"),
    errno.ENOENT: ("gone", "the directory is not there any more"),
    errno.ENOTDIR: ("not-a-directory", "a part of the path is not a directory"),
    errno.EAGAIN: ("changed", "a part of the path was renamed meanwhile"),
}


@dataclass(frozen=True, slots=True)
class Mountpoint:
    """A mountpoint as judged: below which mount of home, and as what."""

    base: bytes
    """A directory in home, resolved, on the mount that holds the mountpoint."""
    base_mount: int
    """Small mount id of that mount."""
    rel: bytes
    """The mountpoint's path below `base`; at least one component."""
    is_file: bool
    match: Match
    recorded: bool
    """The engine's record is what says that it is unmounted."""

    @property
    def name(self) -> bytes:
        """The last component."""
        return self.rel.rpartition(b"/")[2]


FAILED = "failed"
"""The code where no precondition is known that did not hold: a fault of the file system's, or of ours."""
FAILURES = 3
"""So many of these in a row end a batch: what follows may fare no better."""

BEGUN = struct.Struct("=Q")
"""How many replacements were begun, in memory that a child shares with its parent."""

InUse = Mapping[tuple[int, int], list[Use]]
"""Who uses a directory itself, by its (device, inode)."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What was done, for the audit."""

    old_inode: int
    new_inode: int
    mode: int
    uid: int
    gid: int


def replace_all(
    points: Sequence[Mountpoint], in_use: InUse, newest: int | None, seconds: float, begun: mmap
) -> list[Replaced | Declined]:
    """Replace one after the other, and begin none later than `seconds` after the first. Runs in the root's home.

    The list is shorter than `points` when the time was up, after `FAILURES`, or when a mount was made after the one
    with the unique id `newest`: then it may be empty. How many were begun stands in `begun`, for a parent that gets no
    answer.
    """
    since = newer_mounts.Since(newest)
    until = time.monotonic() + seconds
    done: list[Replaced | Declined] = []
    for point in points:
        if done and (time.monotonic() >= until or failing(done)):
            break
        BEGUN.pack_into(begun, 0, len(done) + 1)
        try:
            done.append(replace(point, in_use, since))
        except newer_mounts.MountMade:
            break
        except Declined as error:
            done.append(error)
        except Exception as error:  # a fault of ours: what was replaced before it must be reported all the same
            done.append(Declined(FAILED, f"{type(error).__name__}: {error}"))
    return done


def failing(done: Sequence[object]) -> bool:
    """Whether the last `FAILURES` have failed."""
    last = done[-FAILURES:]
    return len(last) == FAILURES and all(isinstance(one, Declined) and one.code == FAILED for one in last)


def replace(point: Mountpoint, in_use: InUse, since: newer_mounts.Since) -> Replaced:
    """Replace the mountpoint's directory (or file) by an empty one that looks the same. Runs in the root's home.

    Raises: Declined or MountMade, with nothing changed, where any precondition does not hold.
    """
    try:
        with _opened(os.open(point.base, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)) as base:
            _check_mount(base, point.base_mount)
            directory = os.path.dirname(point.rel) or b"."
            with _opened(syscalls.openat2(base, directory, os.O_RDONLY | os.O_DIRECTORY, resolve=_BENEATH)) as parent:
                _check_mount(parent, point.base_mount)
                return _replace(parent, point, in_use, since)
    except OSError as error:
        raise declined(error) from error


def declined(error: OSError) -> Declined:
    """The refusal that an errno stands for."""
    code, why = _WHY.get(error.errno or 0, (FAILED, os.strerror(error.errno or errno.EIO)))
    return Declined(code, why)


@contextlib.contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _check_mount(fd: int, wanted: int) -> None:
    if syscalls.mount_id(fd) != wanted:
        raise Declined("other-mount", "the host has something else mounted there than when it was judged")


def _replace(parent: int, point: Mountpoint, in_use: InUse, since: newer_mounts.Since) -> Replaced:
    flags = os.O_RDONLY | os.O_NOFOLLOW | (0 if point.is_file else os.O_DIRECTORY)
    # RESOLVE_NO_XDEV: where home has mounted on it again, this is EXDEV and not the mount's root.
    with _opened(syscalls.openat2(parent, point.name, flags, resolve=_BENEATH)) as old:
        status = os.fstat(old)
        _check_target(parent, old, status, point)
        _check_unused(in_use, status)
        sibling = PREFIX + secrets.token_hex(8).encode()
        new = _make(parent, sibling, point.is_file)
        try:
            with _opened(new):
                attributes.copy(old, new, status)
                inode = os.fstat(new).st_ino
                _check_record(point)
                _check_unchanged(parent, point.name, old, status)
                with since.none():
                    _rename(parent, sibling, point.name)
        except BaseException:
            _remove(parent, sibling, point.is_file)
            raise
    return Replaced(status.st_ino, inode, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def _check_record(point: Mountpoint) -> None:
    """What the engine has written down by now: it may mount in a namespace of its own, where no EBUSY protects it."""
    now = engines.recorded(point.match)
    if now is RecordState.LIVE:
        raise Declined("live", "the engine's record says that it is in use")
    if point.recorded and now is not RecordState.UNMOUNTED:
        raise Declined("changed", "the engine's record says no more that it is unmounted")


def _check_unchanged(parent: int, name: bytes, old: int, status: os.stat_result) -> None:
    """By inode; by its change time, since attributes were copied from it; and that nothing is mounted on it.

    Not by stat(2), which would hold a mount in flight while its file system answers, and an umount2(2) without
    MNT_DETACH would be refused with EBUSY meanwhile. RESOLVE_NO_XDEV lets go of it at once.
    """
    with _opened(syscalls.openat2(parent, name, os.O_PATH | os.O_NOFOLLOW, resolve=_BENEATH)) as now:
        if os.fstat(now).st_ino != status.st_ino:
            raise Declined("changed", "the directory was replaced by something else meanwhile")
    if os.fstat(old).st_ctime_ns != status.st_ctime_ns:
        raise Declined("changed", "the directory's attributes were changed meanwhile")


def _rename(parent: int, sibling: bytes, name: bytes) -> None:
    try:
        os.rename(sibling, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError as error:
        if error.errno == errno.EXDEV:  # xfs and ext4: the parent hands its project id down, the directory has another
            raise Declined("attributes", "its project id is not its parent's, so the file system refuses it") from error
        raise


def _check_target(parent: int, old: int, status: os.stat_result, point: Mountpoint) -> None:
    for fd in (old, parent):
        if (syscalls.inode_flags(fd) or 0) & (abi.FS_IMMUTABLE_FL | abi.FS_APPEND_FL):
            raise Declined("immutable", "the directory or its parent has the immutable or append-only attribute")
    if point.is_file:
        if not directory_users.is_file(status):
            raise Declined("not-empty", "the mountpoint is not an empty file with one link")
    elif not directory_users.is_empty(old):
        raise Declined("not-empty", "the directory is not empty")


def _check_unused(in_use: InUse, status: os.stat_result) -> None:
    if others := in_use.get((status.st_dev, status.st_ino)):
        raise Declined("in-use", f"the directory itself is in use by {_named(others)}")


def _named(found: list[Use]) -> str:
    text = ", ".join(str(use) for use in found[:3])
    return text if len(found) <= 3 else f"{text} and {len(found) - 3} more"


def _make(parent: int, name: bytes, is_file: bool) -> int:
    if is_file:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=parent)
    os.mkdir(name, 0o700, dir_fd=parent)
    try:
        return syscalls.openat2(parent, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=_BENEATH)
    except BaseException:
        _remove(parent, name, is_file)
        raise


def _remove(parent: int, name: bytes, is_file: bool) -> None:
    with contextlib.suppress(OSError):
        if is_file:
            os.unlink(name, dir_fd=parent)
        else:
            os.rmdir(name, dir_fd=parent)
