"""Which kernel interfaces work here, found by trying each, with the errno where one does not.

No version is compared: a distribution's kernel may have an interface before its number says so, and a seccomp filter or
a missing capability may forbid one that the kernel has. No trial changes the host, and nothing stays open.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import abi, syscalls
from .abi import StatmountMask

FIELDS = (
    StatmountMask.SB_BASIC
    | StatmountMask.MNT_BASIC
    | StatmountMask.MNT_ROOT
    | StatmountMask.MNT_POINT
    | StatmountMask.FS_TYPE
    | StatmountMask.MNT_OPTS
    | StatmountMask.FS_SUBTYPE
    | StatmountMask.SB_SOURCE
)
"""What a line of mountinfo has that statmount(2) can give too."""

_MEANINGS = {
    "ENOSYS": "this kernel does not have it",
    "ENOTTY": "this kernel does not have it",
    "EINVAL": "this kernel does not know these arguments",
    errno.errorcode[errno.EOPNOTSUPP]: "this kernel does not support it",
    "EPERM": "forbidden: a system call filter or a missing capability",
    "EACCES": "forbidden: a security module or a missing capability",
    "EMFILE": "the user's limit of fanotify groups is reached (fs.fanotify.max_user_groups)",
    "ENOSPC": "the user's limit of fanotify marks is reached (fs.fanotify.max_user_marks)",
}


@dataclass(frozen=True, slots=True)
class Interface:
    """One kernel interface: whether it works here and now, and if not, why."""

    name: str
    available: bool
    errno: str | None
    """The error's name, such as EPERM or ENOSYS; None where it works."""
    meaning: str
    """For users: what it gives where it works, else what the error means."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """The result of each trial: the interfaces that tiers need."""

    statmount: Interface
    """statmount(2) of our own mounts (Linux 6.8)."""
    listmount: Interface
    """listmount(2) of our own mounts (Linux 6.8)."""
    foreign: Interface
    """Both in another mount namespace, by its id (Linux 6.11)."""
    fields: Interface
    """statmount(2) with all that a line of mountinfo has: subtype, source and options too (Linux 6.13)."""
    events: Interface
    """fanotify marks of mount namespaces (Linux 6.15)."""
    counts: Interface
    """NS_MNT_GET_INFO: how many mounts a namespace has (Linux 6.12)."""
    walk: Interface
    """NS_MNT_GET_NEXT: the walk over all mount namespaces (Linux 6.12; EPERM outside the initial pid namespace)."""

    def all(self) -> tuple[Interface, ...]:
        """All of them, in the order in which kernels got them."""
        return self.statmount, self.listmount, self.foreign, self.counts, self.walk, self.fields, self.events


def probe() -> Abilities:
    """Try all of them, in less than a millisecond. Raises nothing: an interface that fails is not available."""
    return Abilities(
        _attempt("statmount(2)", "a mount's facts without reading a table", _statmount),
        _attempt("listmount(2)", "the ids of a namespace's mounts", _listmount),
        _attempt("listmount(2) and statmount(2) by namespace id", "other namespaces' mounts", _foreign),
        _attempt("statmount(2) with source and options", "new mounts without reading a table", _fields),
        _attempt("fanotify marks of mount namespaces", "mounts and umounts as they happen", _events),
        _attempt("NS_MNT_GET_INFO", "how many mounts a namespace has", _counts),
        _attempt("NS_MNT_GET_NEXT", "every mount namespace, those without a process too", _walk),
    )


def explained(error: OSError) -> tuple[str, str]:
    """An error's name, such as EPERM, and what it means for an interface of the kernel."""
    code = errno.errorcode.get(error.errno or 0, "EIO")
    return code, _MEANINGS.get(code, os.strerror(error.errno or errno.EIO))


def _attempt(name: str, gives: str, function: Callable[[], object]) -> Interface:
    try:
        function()
    except OSError as error:
        return Interface(name, False, *explained(error))
    return Interface(name, True, None, gives)


def _own() -> int:
    return os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _first(namespace: int | None = None) -> int:
    """The unique id of one mount of a namespace. Raises: OSError as listmount(2) does; ENOENT where it has none."""
    ids = syscalls.id_buffer(1)
    if not syscalls.listmount(abi.LSMT_ROOT, 0, namespace, ids):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    return int.from_bytes(ids.raw, sys.byteorder)


def _listmount() -> None:
    syscalls.listmount(abi.LSMT_ROOT, 0, None, syscalls.id_buffer(1))


def _statmount() -> None:
    root = syscalls.mount_id(abi.AT_FDCWD, b"/", unique=True)
    if root is None:
        raise OSError(errno.ENOSYS, "statx gives no unique mount id")
    syscalls.statmount(root, StatmountMask.MNT_BASIC, None, syscalls.byte_buffer(1024))


def _foreign() -> None:
    for fd in _others():
        identity = syscalls.mnt_ns_id(fd)
        try:
            syscalls.statmount(_first(identity), StatmountMask.MNT_BASIC, identity, syscalls.byte_buffer(1024))
        except FileNotFoundError:
            continue  # the namespace, or the mount, went meanwhile
        return
    raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))


def _others() -> Iterator[int]:
    """Descriptors of other mount namespaces, then of our own, each open until the next one is asked for."""
    own = os.stat("/proc/self/ns/mnt").st_ino
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        try:
            fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # it ended, or may not be read
        try:
            if os.fstat(fd).st_ino != own:
                yield fd
        finally:
            os.close(fd)
    fd = _own()
    try:
        yield fd
    finally:
        os.close(fd)


def _fields() -> None:
    answer = syscalls.byte_buffer(1 << 16)
    syscalls.statmount(_first(), FIELDS, None, answer)
    # An empty field sets no bit, as on a kernel without it. Each mount has a source, which is the newest field.
    if not abi.STATMOUNT.unpack_from(answer)[2] & StatmountMask.SB_SOURCE:
        raise OSError(errno.EOPNOTSUPP, "statmount gives no source")


def _events() -> None:
    group = syscalls.fanotify_init(abi.FAN_CLOEXEC | abi.FAN_NONBLOCK | abi.FAN_REPORT_MNT)
    try:
        own = _own()
        try:
            wanted = abi.FAN_MNT_ATTACH | abi.FAN_MNT_DETACH
            syscalls.fanotify_mark(group, abi.FAN_MARK_ADD | abi.FAN_MARK_MNTNS, wanted, own)
        finally:
            os.close(own)
    finally:
        os.close(group)


def _counts() -> None:
    own = _own()
    try:
        syscalls.mnt_ns_info(own)
    finally:
        os.close(own)


def _walk() -> None:
    own = _own()
    try:
        fd = syscalls.mnt_ns_info(own, abi.NS_MNT_GET_NEXT)[2]
    except FileNotFoundError:
        return  # ours is the last one: the walk works
    finally:
        os.close(own)
    if fd is not None:
        os.close(fd)
