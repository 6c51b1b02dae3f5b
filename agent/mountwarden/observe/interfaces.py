"""Which of the kernel's interfaces are there for us, by trying each, and what their absence means.

Everything is tried in one forked child with a mount namespace of its own, so that nothing is left on the host, and a
seccomp filter that kills kills the child only.
"""

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from .. import forked
from ..errors import NoAnswer
from ..kernel import abi, calls
from .behaviour import probe_behaviour

_DEADLINE = 5.0
_BASE = b"/proc"
"""Covered in a namespace of our own only; it is on every host, and never a symbolic link."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of the kernel, as tried here and now."""

    name: str
    since: str
    """The Linux that brought it."""
    available: bool
    errno: int | None
    """Why it is not: ENOSYS or EINVAL, it is not in this kernel; EPERM or EACCES, it may not be used here."""
    meaning: str
    """What it is for, or what is done without it."""
    needed: bool = False
    """Without it mountwarden can't force a detach."""

    @property
    def refused(self) -> bool:
        """Whether it is there and may not be used."""
        return self.errno in (errno.EPERM, errno.EACCES)


@dataclass(frozen=True, slots=True)
class _Trial:
    name: str
    since: str
    attempt: Callable[[], object]
    with_it: str
    without: str
    needed: bool = False


def interfaces() -> tuple[Interface, ...]:
    """Try all of them. Nothing is raised: where the child died, each is told as not available."""
    try:
        numbers = forked.ask(_try_all, deadline=_DEADLINE, what="the child that tries the kernel's interfaces")
    except (NoAnswer, OSError):
        numbers = [errno.EPERM] * len(_TRIALS)
    return tuple(
        Interface(t.name, t.since, not number, number or None, t.without if number else t.with_it, t.needed)
        for t, number in zip(_TRIALS, numbers, strict=True)
    )


def _try_all() -> list[int]:
    """The errno of each trial, 0 where it succeeded."""
    return [_number(trial.attempt) for trial in _TRIALS]


def _number(attempt: Callable[[], object]) -> int:
    try:
        attempt()
    except OSError as error:
        return error.errno or errno.EIO
    except NoAnswer:
        return errno.ETIMEDOUT
    return 0


def _beneath() -> None:
    fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        os.close(calls.openat2(fd, b"proc", os.O_PATH, resolve=abi.RESOLVE_BENEATH | abi.RESOLVE_NO_SYMLINKS))
    finally:
        os.close(fd)


def _list_own() -> None:
    page = calls.id_buffer(1)
    calls.listmount(abi.LSMT_ROOT, 0, None, page)
    calls.statmount(int.from_bytes(page.raw, sys.byteorder), abi.StatmountMask.MNT_BASIC, None, calls.id_buffer(64))


def _with_namespace(function: Callable[[int], object]) -> None:
    fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        function(fd)
    finally:
        os.close(fd)


def _list_others() -> None:
    _with_namespace(lambda fd: calls.listmount(abi.LSMT_ROOT, 0, calls.mnt_ns_id(fd), calls.id_buffer(1)))


def _walk() -> None:
    def step(fd: int) -> None:
        try:
            neighbour = calls.mnt_ns_info(fd, abi.NS_MNT_GET_NEXT)[2]
        except FileNotFoundError:
            return  # ours is the last one
        if neighbour is not None:
            os.close(neighbour)

    _with_namespace(step)


def _events() -> None:
    group = calls.fanotify_init(abi.FAN_REPORT_MNT | abi.FAN_CLOEXEC)
    try:
        mask = abi.FAN_MNT_ATTACH | abi.FAN_MNT_DETACH
        _with_namespace(lambda fd: calls.fanotify_mark(group, abi.FAN_MARK_ADD | abi.FAN_MARK_MNTNS, mask, fd))
    finally:
        os.close(group)


def _unique_ids() -> None:
    fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        if calls.mount_id(fd, unique=True) is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    finally:
        os.close(fd)


def _set_group() -> None:
    """As rejoin does it, on a tmpfs of our own; in a further child, since it needs a namespace of its own."""
    forked.ask(_set_group_here, deadline=_DEADLINE, what="the trial of MOVE_MOUNT_SET_GROUP")


def _set_group_here() -> None:
    calls.unshare(abi.CLONE_NEWNS)
    calls.mount(None, b"/", None, abi.MS_REC | abi.MS_PRIVATE)
    calls.mount(b"mountwarden-probe", _BASE, b"tmpfs", 0, b"size=64k,mode=755")
    os.mkdir(_BASE + b"/there")
    calls.mount(_BASE, _BASE + b"/there", None, abi.MS_BIND)
    calls.mount(None, _BASE, None, abi.MS_SHARED)
    calls.mount(None, _BASE + b"/there", None, abi.MS_PRIVATE)
    fd = calls.open_tree(abi.AT_FDCWD, _BASE, abi.OPEN_TREE_CLONE)
    os.fchdir(fd)  # by mount(2): Linux 5.10 of Debian has the flag, and not mount_setattr(2)
    calls.mount(None, b".", None, abi.MS_SLAVE)
    to = os.open(_BASE + b"/there", os.O_PATH | os.O_CLOEXEC)
    calls.move_mount(
        fd, b"", to, b"", abi.MOVE_MOUNT_SET_GROUP | abi.MOVE_MOUNT_F_EMPTY_PATH | abi.MOVE_MOUNT_T_EMPTY_PATH
    )


_TRIALS = (
    _Trial(
        "openat2(2)", "5.6", _beneath, "a detach can't be led astray", "no detach: paths can't be opened safely", True
    ),
    _Trial(
        "MOVE_MOUNT_SET_GROUP",
        "5.15",
        _set_group,
        "rejoin can repair a running service",
        "no rejoin: a service that is cut off needs a restart",
    ),
    _Trial(
        "listmount(2), statmount(2)",
        "6.8",
        _list_own,
        "mounts can be listed without text",
        "the text of mountinfo is read instead",
    ),
    _Trial(
        "listmount(2) of other namespaces",
        "6.11",
        _list_others,
        "other namespaces can be listed by id",
        "their mountinfo is read by way of a process",
    ),
    _Trial(
        "NS_MNT_GET_NEXT",
        "6.12",
        _walk,
        "namespaces without a process are found by a walk",
        "namespaces without a process are found only by binds and open files",
    ),
    _Trial(
        "FAN_REPORT_MNT",
        "6.15",
        _events,
        "the kernel can tell of each mount",
        "mounts are noticed by polling, and at each tick",
    ),
    _Trial(
        "STATX_MNT_ID_UNIQUE",
        "6.8",
        _unique_ids,
        "mounts have ids that are never used again",
        "small mount ids are used again: checked by device and path",
    ),
    _Trial(
        "umount propagation",
        "4.13",
        probe_behaviour,
        "what an umount would do can be predicted",
        "what an umount would do can't be predicted",
    ),
)
