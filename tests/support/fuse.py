"""A FUSE file system whose daemon does not answer: what a hostile user mounts, or what a daemon that hung leaves."""

import contextlib
import os
import signal
import struct
from collections.abc import Iterator

import pytest
from mountwarden.kernel import abi, syscalls

_HEAD = struct.Struct("=IIQ")  # linux/fuse.h: len, opcode, unique
_INIT = 26
_INIT_OUT = struct.Struct("=IIIIHHIIHHII24x")
_READ = 1 << 17
_LONGEST = 30
"""Seconds until the daemon ends by itself: a test that hangs on it would never end it."""


@contextlib.contextmanager
def silent(path: bytes, *, reads: bool = True, more: bytes = b"") -> Iterator[int]:
    """Mount one on a new directory of the caller's namespace: the daemon's pid; it ends and is unmounted at the exit.

    With `reads` the daemon takes each request, after which not even SIGKILL ends the wait for its answer. `more` are
    further options, such as allow_other.
    """
    if not os.path.exists("/dev/fuse"):
        pytest.skip("this machine has no /dev/fuse")
    os.makedirs(path)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = b"fd=%d,rootmode=40000,user_id=%d,group_id=%d" % (device, os.geteuid(), os.getegid())
    syscalls.mount(b"silent", path, b"fuse", 0, options + more)
    _length, opcode, unique = _HEAD.unpack_from(os.read(device, _READ))
    assert opcode == _INIT
    answer = _INIT_OUT.pack(7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0, 0)
    os.write(device, struct.pack("=IiQ", 16 + len(answer), 0, unique) + answer)
    pid = os.fork()
    if pid == 0:
        _daemon(device, reads)
    os.close(device)
    try:
        yield pid
    finally:
        end(pid)
        with contextlib.suppress(OSError):
            syscalls.umount(path, abi.MNT_DETACH)


def end(pid: int) -> None:
    """End a daemon, if it lives: what waits for it gets ENOTCONN."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _daemon(device: int, reads: bool) -> None:
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        signal.alarm(_LONGEST)
        os.closerange(3, device)  # another daemon's device must end with that daemon
        os.closerange(device + 1, 1 << 10)
        while True:
            if reads:
                os.read(device, _READ)
            else:
                signal.pause()
    finally:
        os._exit(1)
