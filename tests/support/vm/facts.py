"""What a kernel has, found by trying it, with calls of its own beside the product's probes: runs in a guest."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from mountwarden.kernel import abi, syscalls

from tests.support.scratch_ns import hold, overlay


def facts() -> dict[str, str]:
    """Each interface by its name: "ok", or the error's name."""
    return {name: _tried(function) for name, function in _FACTS.items()}


def _tried(function: Callable[[], object]) -> str:
    try:
        function()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return "ok"


def _unique() -> int:
    identity = syscalls.mount_id(abi.AT_FDCWD, b"/", unique=True)
    if identity is None:
        raise OSError(errno.ENOSYS, "no unique id")
    return identity


def _source() -> None:
    answer = syscalls.id_buffer(256)
    syscalls.statmount(_unique(), abi.StatmountMask.SB_SOURCE, None, answer)
    if not int.from_bytes(answer.raw[8:16], sys.byteorder) & abi.StatmountMask.SB_SOURCE:
        raise OSError(errno.EOPNOTSUPP, "no source")


def _own_namespace(function: Callable[[int], object]) -> Callable[[], None]:
    def with_descriptor() -> None:
        fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            function(fd)
        finally:
            os.close(fd)

    return with_descriptor


def _list_by_id(fd: int) -> None:
    syscalls.listmount(abi.LSMT_ROOT, 0, syscalls.mnt_ns_id(fd), syscalls.id_buffer(8))


def _watch(fd: int) -> None:
    group = syscalls.fanotify_init(abi.FAN_CLOEXEC | abi.FAN_NONBLOCK | abi.FAN_REPORT_MNT)
    try:
        syscalls.fanotify_mark(group, abi.FAN_MARK_ADD | abi.FAN_MARK_MNTNS, abi.FAN_MNT_ATTACH, fd)
    finally:
        os.close(group)


def _scratch(function: Callable[[], object], *, userns: bool = False) -> Callable[[], None]:
    """In a mount namespace of its own, with a tmpfs on /mnt."""

    def in_it() -> None:
        with hold(userns=userns) as namespace:

            def prepared() -> None:
                syscalls.mount(b"tmpfs", b"/mnt", b"tmpfs")
                function()

            namespace.run(prepared)

    return in_it


def _join_group() -> None:
    for name in (b"/mnt/a", b"/mnt/b"):
        os.mkdir(name)
    syscalls.mount(b"tmpfs", b"/mnt/a", b"tmpfs")
    syscalls.mount(b"/mnt/a", b"/mnt/b", None, abi.MS_BIND)
    syscalls.mount(None, b"/mnt/a", None, abi.MS_SHARED)
    fds = [os.open(name, os.O_PATH | os.O_CLOEXEC) for name in ("/mnt/a", "/mnt/b")]
    flags = abi.MOVE_MOUNT_SET_GROUP | abi.MOVE_MOUNT_F_EMPTY_PATH | abi.MOVE_MOUNT_T_EMPTY_PATH
    syscalls.move_mount(fds[0], b"", fds[1], b"", flags)
    (line,) = (x for x in Path("/proc/self/mountinfo").read_text().splitlines() if x.split(" ")[4] == "/mnt/b")
    assert "shared:" in line, line


def _set_attributes() -> None:
    fd = os.open("/mnt", os.O_PATH | os.O_CLOEXEC)
    syscalls.mount_setattr(fd, b"", abi.AT_EMPTY_PATH, propagation=abi.MS_SHARED)


def _remove_mountpoint() -> None:
    """Plain rmdir(2) of an unmounted mountpoint, of which another namespace has a copy."""
    layer = overlay(b"/mnt/X")
    with hold() as other:
        syscalls.umount(layer.merged)
        assert other.is_mounted(layer.merged)
        os.rmdir(layer.merged)
        if other.is_mounted(layer.merged):
            raise OSError(errno.EBUSY, "the copy is still there")


_FACTS: dict[str, Callable[[], object]] = {
    "rmdir": _scratch(_remove_mountpoint),
    "overlay in a user namespace": _scratch(lambda: overlay(b"/mnt/X"), userns=True),
    "mount_setattr": _scratch(_set_attributes),
    "MOVE_MOUNT_SET_GROUP": _scratch(_join_group),
    "unique mount ids": _unique,
    "statmount": lambda: syscalls.statmount(_unique(), abi.StatmountMask.MNT_BASIC, None, syscalls.id_buffer(256)),
    "source by statmount": _source,
    "listmount": lambda: syscalls.listmount(abi.LSMT_ROOT, 0, None, syscalls.id_buffer(8)),
    "listmount by namespace": _own_namespace(_list_by_id),
    "NS_MNT_GET_INFO": _own_namespace(syscalls.mnt_ns_info),
    "fanotify of mounts": _own_namespace(_watch),
}
