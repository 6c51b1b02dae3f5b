"""What the attacks have in common: system calls, children that end with their parent, the word that all is there."""

import ctypes
import os
import signal
import socket
from collections.abc import Callable
from typing import NoReturn

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
AT_FDCWD, OPEN_TREE, MOVE_MOUNT = -100, 428, 429
OPEN_TREE_CLONE, EMPTY_PATHS = 1, 0x4 | 0x40
"""MOVE_MOUNT_F_EMPTY_PATH and MOVE_MOUNT_T_EMPTY_PATH."""
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(answer: int) -> int:
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def unshare(flags: int) -> None:
    """unshare(2)."""
    _checked(_libc.unshare(flags))


def mount(source: bytes, target: bytes, kind: bytes | None = None, flags: int = 0, data: bytes | None = None) -> None:
    """mount(2)."""
    _checked(_libc.mount(source, target, kind, ctypes.c_ulong(flags), data))


def unmount(target: bytes) -> None:
    """umount2(2) with MNT_DETACH."""
    _checked(_libc.umount2(target, 2))


def copy_of(directory: int) -> int:
    """open_tree(2): a detached copy of the mount that a descriptor is in, as a descriptor."""
    return _checked(_libc.syscall(OPEN_TREE, directory, b".", OPEN_TREE_CLONE))


def attach(mount_fd: int, directory: int) -> None:
    """move_mount(2): the detached mount onto the directory that is open."""
    _checked(_libc.syscall(MOVE_MOUNT, mount_fd, b"", directory, b"", EMPTY_PATHS))


def become_reaper() -> None:
    """Grandchildren whose parent ended are this process's children."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1))


def own_files() -> None:
    """Give the files of this process in /proc back to its user, which new credentials end; see PR_SET_DUMPABLE."""
    _checked(_libc.prctl(_PR_SET_DUMPABLE, 1))


def end_with_parent() -> None:
    """The kernel kills this process when its parent ends. New credentials undo it, as those in a user namespace."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL))


def own_namespace() -> None:
    """As `unshare -Urm` does: root in a user namespace, in a mount namespace that is a private copy of the caller's."""
    user, group = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER | CLONE_NEWNS)
    for name, line in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)
    mount(b"none", b"/", None, MS_REC | MS_PRIVATE)


def spawn(work: Callable[[], None]) -> int:
    """A child that does the work and sleeps; returns its pid when the work is done. Raises: ChildProcessError."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _work(work, writer)
    os.close(writer)
    with open(reader, "rb") as pipe:
        if not pipe.read(1):
            raise ChildProcessError("an attacker's child could not do its work; see above")
    return pid


def _work(work: Callable[[], None], writer: int) -> NoReturn:
    try:
        end_with_parent()
        work()
        end_with_parent()
        os.write(writer, b"x")
        os.close(writer)
        while True:
            signal.pause()
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def ready() -> None:
    """All is there: the unit is active from now on; a container's log has the line."""
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"READY=1", path)
    print("ready", flush=True)


def hold() -> NoReturn:
    """Say so, and sleep until a signal ends it."""
    ready()
    while True:
        signal.pause()
