"""Which rules of umount propagation this kernel follows, found by trying."""

import functools
import os

from ..kernel import abi, child, syscalls
from ..mounts.propagation import Behaviour

_DEADLINE = 5.0
"""Seconds for the child."""
_BASE = b"/proc"
"""The directory to mount on, in a namespace of our own only: every host has it, and never as a symbolic link."""


@functools.cache
def probe_behaviour() -> Behaviour:
    """Try it in a forked child with a mount namespace of its own; once in the life of this process.

    In a slave something is mounted on the root of an inner mount; then the outer one is lazily unmounted in the master.
    Up to Linux 6.16 both go and what was on top slides down; from 6.17 on the outer mount stays in the slave.

    Raises: OSError (EPERM without CAP_SYS_ADMIN); NoAnswer where the child hung.
    """
    return child.ask(_probe, deadline=_DEADLINE, what="the probe of umount propagation")


def _probe() -> Behaviour:
    syscalls.unshare(abi.CLONE_NEWNS)
    syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_PRIVATE)
    _tmpfs(_BASE)
    for name in (b"/home", b"/slave"):
        os.mkdir(_BASE + name)
    _tmpfs(_BASE + b"/home")
    syscalls.mount(None, _BASE + b"/home", None, abi.MS_SHARED)
    syscalls.mount(_BASE + b"/home", _BASE + b"/slave", None, abi.MS_BIND)
    syscalls.mount(None, _BASE + b"/slave", None, abi.MS_SLAVE)
    outer, inner = b"/outer", b"/outer/inner"
    os.mkdir(_BASE + b"/home" + outer)
    _tmpfs(_BASE + b"/home" + outer)
    syscalls.mount(None, _BASE + b"/home" + outer, None, abi.MS_SHARED)
    os.mkdir(_BASE + b"/home" + inner)
    return _try(_BASE + b"/home", _BASE + b"/slave", outer, inner)


def _try(home: bytes, slave: bytes, outer: bytes, inner: bytes) -> Behaviour:
    _tmpfs(home + inner)
    _tmpfs(slave + inner)  # on the root of the inner mount's copy
    syscalls.umount(home + outer, abi.MNT_DETACH)
    stays = os.stat(slave + outer).st_dev != os.stat(slave).st_dev and os.path.isdir(slave + inner)
    return Behaviour.KEEPS if stays else Behaviour.SLIDES


def _tmpfs(path: bytes) -> None:
    syscalls.mount(b"mountwarden-probe", path, b"tmpfs", 0, b"size=64k,mode=755")
