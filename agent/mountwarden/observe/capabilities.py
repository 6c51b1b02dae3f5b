"""Which of the kernel's interfaces work here, by trying each: those of the tiers, and those that actions need.

Everything is tried in one forked child, so that nothing is left on the host, and a seccomp filter that kills the caller
kills the child only.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import NoAnswer
from ..kernel import abi, child, syscalls
from ..kernel.probe import Interface, explained
from . import tiers
from .umount_probe import probe_behaviour

__all__ = ["NEEDED", "REFUSALS", "Interface", "interfaces"]

NEEDED = "openat2(2)"
"""The interface without which nothing can be detached."""

REFUSALS = ("EPERM", "EACCES")
"""Errors that mean: the kernel has the interface, and it may not be used here."""

_DEADLINE = 5.0
"""Seconds for the child."""
_BASE = b"/proc"
"""The directory to mount on, in a namespace of our own only: every host has it, and never as a symbolic link."""


@dataclass(frozen=True, slots=True)
class _Trial:
    name: str
    attempt: Callable[[], object]
    """Raises: OSError or NoAnswer where it does not work."""
    gives: str
    """What works with it."""
    without: str
    """What does not work without it."""


def interfaces() -> tuple[Interface, ...]:
    """Try all of them. Raises nothing: where the child died, none is available."""
    try:
        return child.ask(_try_all, deadline=_DEADLINE, what="the child that tries the kernel's interfaces")
    except (NoAnswer, OSError) as error:
        return tuple(Interface(trial.name, False, "EPERM", str(error)) for trial in _TRIALS)


def _try_all() -> tuple[Interface, ...]:
    return (*tiers.interfaces(), *map(_try, _TRIALS))


def _try(trial: _Trial) -> Interface:
    try:
        trial.attempt()
    except OSError as error:
        code, why = explained(error)
        return Interface(trial.name, False, code, f"{why}; {trial.without}")
    except NoAnswer as error:
        return Interface(trial.name, False, "ETIMEDOUT", f"{error.message}; {trial.without}")
    return Interface(trial.name, True, None, trial.gives)


def _beneath() -> None:
    fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        os.close(syscalls.openat2(fd, b"proc", os.O_PATH, resolve=abi.RESOLVE_BENEATH | abi.RESOLVE_NO_SYMLINKS))
    finally:
        os.close(fd)


def _unique_ids() -> None:
    fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        if syscalls.mount_id(fd, unique=True) is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    finally:
        os.close(fd)


def _set_group() -> None:
    """As rejoin does it, on a tmpfs of our own; in a further child, because it needs its own mount namespace.

    Raises: OSError as the calls do; NoAnswer where the child hung.
    """
    child.ask(_set_group_here, deadline=_DEADLINE, what="the trial of MOVE_MOUNT_SET_GROUP")


def _set_group_here() -> None:
    syscalls.unshare(abi.CLONE_NEWNS)
    syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_PRIVATE)
    syscalls.mount(b"mountwarden-probe", _BASE, b"tmpfs", 0, b"size=64k,mode=755")
    os.mkdir(_BASE + b"/there")
    syscalls.mount(_BASE, _BASE + b"/there", None, abi.MS_BIND)
    syscalls.mount(None, _BASE, None, abi.MS_SHARED)
    syscalls.mount(None, _BASE + b"/there", None, abi.MS_PRIVATE)
    fd = syscalls.open_tree(abi.AT_FDCWD, _BASE, abi.OPEN_TREE_CLONE)
    os.fchdir(fd)  # mount(2) on ".": Debian's Linux 5.10 has the flag, and no mount_setattr(2)
    syscalls.mount(None, b".", None, abi.MS_SLAVE)
    to = os.open(_BASE + b"/there", os.O_PATH | os.O_CLOEXEC)
    syscalls.move_mount(
        fd, b"", to, b"", abi.MOVE_MOUNT_SET_GROUP | abi.MOVE_MOUNT_F_EMPTY_PATH | abi.MOVE_MOUNT_T_EMPTY_PATH
    )


_TRIALS = (
    _Trial(NEEDED, _beneath, "a detach can't be led astray", "nothing can be detached: no path can be opened safely"),
    _Trial(
        "MOVE_MOUNT_SET_GROUP",
        _set_group,
        "rejoin can repair a running service",
        "no rejoin: a service that is cut off needs a restart",
    ),
    _Trial(
        "STATX_MNT_ID_UNIQUE",
        _unique_ids,
        "ids of mounts that are never used again",
        "ids of mounts are used again, so device and path are compared too",
    ),
    _Trial(
        "a scratch topology of umounts",
        probe_behaviour,
        "what an umount would do can be predicted",
        "what an umount would do can't be predicted",
    ),
)
