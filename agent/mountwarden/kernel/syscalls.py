"""One function for each system call and ioctl that the standard library does not have.

Each raises OSError with the errno of its man page, and the call's name and path in the text; a docstring names only
errors that callers are to tell apart. This package is the only one that imports ctypes. Paths are bytes.
"""

import ctypes
import errno
import fcntl
import os
import re
import struct
import sys
from typing import NoReturn

from . import abi

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.argtypes = (ctypes.c_long,) * 7
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.pivot_root.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.fstatfs.argtypes = (ctypes.c_int, ctypes.POINTER(abi.Statfs))
_libc.statfs.argtypes = (ctypes.c_char_p, ctypes.POINTER(abi.Statfs))
_libc.inotify_init1.argtypes = (ctypes.c_int,)
_libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
_libc.inotify_rm_watch.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.name_to_handle_at.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
_libc.open_by_handle_at.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_libc.prctl.argtypes = (ctypes.c_int,) + (ctypes.c_ulong,) * 4
_libc.statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(abi.Statx))
_libc.fanotify_init.argtypes = (ctypes.c_uint, ctypes.c_uint)
_libc.fanotify_mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)


def _raise(call: str, path: bytes | None = None) -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, f"{os.strerror(number)} ({call})", os.fsdecode(path) if path is not None else None)


def _syscall(call: str, number: int, *arguments: int, path: bytes | None = None) -> int:
    result: int = _libc.syscall(number, *arguments, *(0,) * (6 - len(arguments)))
    if result < 0:
        _raise(call, path)
    return result


def _pointer(data: bytes | ctypes.Array[ctypes.c_char]) -> int:
    """The address of `data`, which the caller keeps alive through the call."""
    if isinstance(data, bytes):
        return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
    return ctypes.addressof(data)


def mount(
    source: bytes | None, target: bytes, fstype: bytes | None = None, flags: int = 0, data: bytes | None = None
) -> None:
    """mount(2). `flags` are abi.MS_*."""
    if _libc.mount(source, target, fstype, flags, data) < 0:
        _raise("mount", target)


def umount(target: bytes, flags: int = 0) -> None:
    """umount2(2). `flags` are abi.MNT_* and abi.UMOUNT_NOFOLLOW. EBUSY: it is in use."""
    if _libc.umount2(target, flags) < 0:
        _raise("umount2", target)


def unshare(flags: int) -> None:
    """unshare(2). `flags` are abi.CLONE_NEW*. EPERM: no CAP_SYS_ADMIN."""
    if _libc.unshare(flags) < 0:
        _raise("unshare")


def pivot_root(new_root: bytes, put_old: bytes) -> None:
    """pivot_root(2): the caller's root mount moves to `put_old`, and `new_root` becomes the namespace's root."""
    if _libc.pivot_root(new_root, put_old) < 0:
        _raise("pivot_root", new_root)


def setns(fd: int, nstype: int) -> None:
    """setns(2): the caller enters the namespace of `fd`, and keeps it alive: for a forked child only."""
    if _libc.setns(fd, nstype) < 0:
        _raise("setns")


def fstatfs(fd: int) -> abi.Statfs:
    """fstatfs(2): the file system of an open file."""
    answer = abi.Statfs()
    if _libc.fstatfs(fd, ctypes.byref(answer)) < 0:
        _raise("fstatfs")
    return answer


def statfs(path: bytes) -> abi.Statfs:
    """statfs(2): the file system of what a path leads to, which is not opened."""
    answer = abi.Statfs()
    if _libc.statfs(path, ctypes.byref(answer)) < 0:
        _raise("statfs", path)
    return answer


def inotify_init() -> int:
    """inotify_init1(2): a close-on-exec descriptor that does not wait. EMFILE: the user has too many."""
    fd: int = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        _raise("inotify_init1")
    return fd


def inotify_add_watch(fd: int, path: bytes, mask: int) -> int:
    """inotify_add_watch(2): the watch, that which the inode has already if it has one. ENOSPC: the user's limit."""
    watch: int = _libc.inotify_add_watch(fd, path, mask)
    if watch < 0:
        _raise("inotify_add_watch", path)
    return watch


def inotify_rm_watch(fd: int, watch: int) -> None:
    """inotify_rm_watch(2)."""
    if _libc.inotify_rm_watch(fd, watch) < 0:
        _raise("inotify_rm_watch")


def watched_devices(fd: int) -> dict[int, str]:
    """By watch, major:minor of the superblock whose inode it watches, as mountinfo has it: proc_pid_fdinfo(5)."""
    with open(f"/proc/self/fdinfo/{fd}", "rb", buffering=0) as file:
        found = re.findall(rb"\binotify wd:([0-9a-f]+) .*\bsdev:([0-9a-f]+)", file.readall())
    devices = {int(watch, 16): int(device, 16) for watch, device in found}
    return {watch: f"{device >> 20}:{device & 0xFFFFF}" for watch, device in devices.items()}


def superblock_device(path: bytes) -> str | None:
    """major:minor of the superblock of what a path leads to, as mountinfo has it; None where /proc does not say it.

    stat(2) gives another device for files of overlayfs and for subvolumes of btrfs. An inotify watch, which is gone at
    once and keeps no mount busy, has the superblock's own.
    """
    fd = inotify_init()
    try:
        watch = inotify_add_watch(fd, path, abi.IN_UNMOUNT)
        return watched_devices(fd).get(watch)
    finally:
        os.close(fd)


def file_handle(path: bytes) -> tuple[int, bytes]:
    """name_to_handle_at(2) with AT_HANDLE_FID, Linux 6.5 (overlayfs: 6.6): type and bytes of a file's handle.

    EOPNOTSUPP, EINVAL: the file system or the kernel has none.
    """
    handle = ctypes.create_string_buffer(abi.FILE_HANDLE.size + abi.MAX_HANDLE_SZ)
    abi.FILE_HANDLE.pack_into(handle, 0, abi.MAX_HANDLE_SZ, 0)
    mount = ctypes.c_int()
    flags = abi.AT_SYMLINK_FOLLOW | abi.AT_HANDLE_FID
    if _libc.name_to_handle_at(abi.AT_FDCWD, path, handle, ctypes.byref(mount), flags) < 0:
        _raise("name_to_handle_at", path)
    size, kind = abi.FILE_HANDLE.unpack_from(handle)
    return kind, handle.raw[abi.FILE_HANDLE.size : abi.FILE_HANDLE.size + size]


def open_by_handle(mount_fd: int, kind: int, handle: bytes) -> int:
    """open_by_handle_at(2) with O_PATH: a close-on-exec descriptor. ESTALE: that file system has no such file."""
    data = ctypes.create_string_buffer(abi.FILE_HANDLE.pack(len(handle), kind) + handle)
    fd: int = _libc.open_by_handle_at(mount_fd, data, os.O_PATH | os.O_CLOEXEC)
    if fd < 0:
        _raise("open_by_handle_at")
    return fd


USTAT = abi.NR_ustat.get(os.uname().machine) if sys.maxsize > 1 << 32 else None
"""The number of ustat(2); None where the architecture has no such call."""


def is_superblock(device: str) -> bool:
    """ustat(2): whether a superblock of that device (as mountinfo has it) exists, mounted or not.

    It takes about 0.1 µs for each superblock of the host. It calls the file system's own statfs, and waits for a mount,
    remount or umount of that superblock that goes on: for ever, it may be. See `observe.superblocks`.

    ENOSYS: the architecture has no such call, or it is filtered. What else the file system's statfs gives is an error
    of a superblock that exists.
    """
    if USTAT is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    major, _, minor = device.partition(":")
    answer = byte_buffer(64)
    try:
        _syscall("ustat", USTAT, os.makedev(int(major), int(minor)), ctypes.addressof(answer))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def die_with_parent(signal: int) -> None:
    """prctl(2), PR_SET_PDEATHSIG: the kernel sends `signal` to the caller when its parent thread ends."""
    if _libc.prctl(abi.PR_SET_PDEATHSIG, signal, 0, 0, 0) < 0:
        _raise("prctl")


def statx(dir_fd: int, path: bytes, mask: int, flags: int = 0) -> abi.Statx:
    """statx(2). Read a field only if its bit is in the answer's `stx_mask`."""
    answer = abi.Statx()
    if _libc.statx(dir_fd, path, flags, mask, ctypes.byref(answer)) < 0:
        _raise("statx", path)
    return answer


def mount_id(dir_fd: int, path: bytes = b"", *, unique: bool = False) -> int | None:
    """statx(2): the id of the mount that a path (or the fd itself) is on; None where this kernel does not give it.

    The small id is that of mountinfo (STATX_MNT_ID, Linux 5.8). The unique one is never reused (STATX_MNT_ID_UNIQUE,
    Linux 6.8). Neither does I/O on the file system.
    """
    mask = abi.STATX_MNT_ID_UNIQUE if unique else abi.STATX_MNT_ID
    flags = abi.AT_EMPTY_PATH | abi.AT_SYMLINK_NOFOLLOW | abi.AT_NO_AUTOMOUNT | abi.AT_STATX_DONT_SYNC
    answer = statx(dir_fd, path, mask, flags)
    return answer.stx_mnt_id if answer.stx_mask & mask else None


def birth_time(path: bytes) -> float | None:
    """statx(2), STATX_BTIME: when a file was made, in seconds since the Epoch; None where its file system has none."""
    flags = abi.AT_SYMLINK_NOFOLLOW | abi.AT_NO_AUTOMOUNT | abi.AT_STATX_DONT_SYNC
    answer = statx(abi.AT_FDCWD, path, abi.STATX_BTIME, flags)
    born = answer.stx_btime
    return born.tv_sec + born.tv_nsec / 1e9 if answer.stx_mask & abi.STATX_BTIME else None


def openat2(dir_fd: int, path: bytes, flags: int, *, resolve: int = 0, mode: int = 0) -> int:
    """openat2(2), Linux 5.6: a close-on-exec descriptor. `resolve` are abi.RESOLVE_*.

    EXDEV, ELOOP: the path breaks a rule of `resolve`. EAGAIN: a rename meanwhile makes it uncertain.
    """
    how = abi.OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, resolve)
    return _syscall("openat2", abi.NR_openat2, dir_fd, _pointer(path), _pointer(how), len(how), path=path)


def open_tree(dir_fd: int, path: bytes, flags: int) -> int:
    """open_tree(2), Linux 5.2: a close-on-exec descriptor. `flags` are abi.OPEN_TREE_* and abi.AT_*."""
    return _syscall("open_tree", abi.NR_open_tree, dir_fd, _pointer(path), flags | abi.OPEN_TREE_CLOEXEC, path=path)


def move_mount(from_fd: int, from_path: bytes, to_fd: int, to_path: bytes, flags: int) -> None:
    """move_mount(2), Linux 5.2; with MOVE_MOUNT_SET_GROUP (5.15) the target joins the source's sharing group."""
    _syscall(
        "move_mount", abi.NR_move_mount, from_fd, _pointer(from_path), to_fd, _pointer(to_path), flags, path=to_path
    )


def mount_setattr(dir_fd: int, path: bytes, flags: int, *, set_: int = 0, clear: int = 0, propagation: int = 0) -> None:
    """mount_setattr(2), Linux 5.12. `propagation` is one of abi.MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE."""
    attr = abi.MOUNT_ATTR.pack(set_, clear, propagation, 0)
    _syscall("mount_setattr", abi.NR_mount_setattr, dir_fd, _pointer(path), flags, _pointer(attr), len(attr), path=path)


def _request(mount: int, parameter: int, namespace: int | None) -> bytes:
    if namespace is None:
        return abi.MNT_ID_REQ.pack(abi.MNT_ID_REQ.size, 0, mount, parameter)
    return abi.MNT_ID_REQ_NS.pack(abi.MNT_ID_REQ_NS.size, 0, mount, parameter, namespace)


def listmount(mount: int, after: int, namespace: int | None, buffer: ctypes.Array[ctypes.c_char]) -> int:
    """listmount(2), Linux 6.8 (`namespace` by id: 6.11): unique ids of mounts below `mount`, 8 bytes each.

    `after` is the last id of the page before (0: from the start). Returns how many ids `buffer` now has; 0 ends the
    list. ENOENT: the mount or namespace is gone. EPERM: its user namespace is not below the caller's.
    """
    request = _request(mount, after, namespace)
    return _syscall(
        "listmount", abi.NR_listmount, _pointer(request), ctypes.addressof(buffer), ctypes.sizeof(buffer) // 8, 0
    )


def statmount(mount: int, mask: int, namespace: int | None, buffer: ctypes.Array[ctypes.c_char]) -> None:
    """statmount(2), Linux 6.8 (`namespace`: 6.11). EOVERFLOW: `buffer` is too small. ENOENT: the mount is gone."""
    request = _request(mount, mask, namespace)
    _syscall("statmount", abi.NR_statmount, _pointer(request), ctypes.addressof(buffer), ctypes.sizeof(buffer), 0)


def id_buffer(ids: int) -> ctypes.Array[ctypes.c_char]:
    """A buffer for the mount ids of one listmount(2)."""
    return ctypes.create_string_buffer(ids * 8)


def byte_buffer(size: int) -> ctypes.Array[ctypes.c_char]:
    """A buffer of `size` bytes for statmount(2)."""
    return ctypes.create_string_buffer(size)


def fanotify_init(flags: int, event_f_flags: int = 0) -> int:
    """fanotify_init(2). FAN_REPORT_MNT: Linux 6.15. EMFILE: the user has too many groups."""
    fd: int = _libc.fanotify_init(flags, event_f_flags)
    if fd < 0:
        _raise("fanotify_init")
    return fd


def fanotify_mark(group: int, flags: int, mask: int, dir_fd: int) -> None:
    """fanotify_mark(2) on the object of `dir_fd`; with FAN_MARK_MNTNS (Linux 6.15), on the namespace of an nsfs fd.

    ENOSPC: the user has too many marks. ENOENT: there is no mark to remove.
    """
    if _libc.fanotify_mark(group, flags, mask, dir_fd, None) < 0:
        _raise("fanotify_mark")


def mnt_ns_info(fd: int, request: int = abi.NS_MNT_GET_INFO) -> tuple[int, int, int | None]:
    """NS_MNT_GET_INFO, NEXT or PREV (Linux 6.12) on an nsfs fd: (mount namespace id, its mounts, new fd or None).

    NEXT and PREV open the neighbouring namespace, whose fd the caller closes; ENOENT ends the walk. EPERM: it is for
    the initial pid namespace only. ENOTTY: an older kernel.
    """
    data = bytearray(abi.MNT_NS_INFO.pack(abi.MNT_NS_INFO.size, 0, 0))
    result = fcntl.ioctl(fd, request, data)
    _size, mounts, identity = abi.MNT_NS_INFO.unpack(data)
    return identity, mounts, None if request == abi.NS_MNT_GET_INFO else result


def mnt_ns_id(fd: int) -> int:
    """NS_GET_MNTNS_ID of ioctl_nsfs(2), Linux 6.11: the 64-bit id of the mount namespace of an nsfs fd."""
    data = bytearray(8)
    fcntl.ioctl(fd, abi.NS_GET_MNTNS_ID, data)
    return int(struct.unpack("=Q", data)[0])


def owner_of_namespace(fd: int) -> int:
    """NS_GET_USERNS of ioctl_nsfs(2), Linux 4.9: inode of the user namespace that owns that of an nsfs fd.

    EPERM: the owner is not below the caller's own user namespace.
    """
    owner = user_namespace_of(fd)
    try:
        return os.fstat(owner).st_ino
    finally:
        os.close(owner)


def user_namespace_of(fd: int) -> int:
    """The same as a descriptor of that user namespace, which the caller closes. Raises: as `owner_of_namespace`."""
    return fcntl.ioctl(fd, abi.NS_GET_USERNS)


def parent_user_namespace(fd: int) -> int:
    """NS_GET_PARENT of ioctl_nsfs(2), Linux 4.9: a descriptor of the parent of a user namespace, which the caller
    closes. EPERM: it has none, or it is not below the caller's own.
    """
    return fcntl.ioctl(fd, abi.NS_GET_PARENT)


def owner_uid(fd: int) -> int:
    """NS_GET_OWNER_UID of ioctl_nsfs(2), Linux 4.11: the user who made a user namespace, in the caller's own ids."""
    data = bytearray(4)
    fcntl.ioctl(fd, abi.NS_GET_OWNER_UID, data)
    return int(struct.unpack("=I", data)[0])


def fsxattr(fd: int) -> tuple[int, int, int, int, int] | None:
    """ioctl_xfs_fsgetxattr(2): (xflags, extsize, nextents, projid, cowextsize); None where the file system has none."""
    data = bytearray(abi.FSXATTR.size)
    try:
        fcntl.ioctl(fd, abi.FS_IOC_FSGETXATTR, data)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            return None
        raise
    xflags, extsize, nextents, projid, cowextsize = abi.FSXATTR.unpack(data)
    return xflags, extsize, nextents, projid, cowextsize


def set_fsxattr(fd: int, attributes: tuple[int, int, int, int, int]) -> None:
    """ioctl_xfs_fsgetxattr(2), FS_IOC_FSSETXATTR: set what `fsxattr` returned."""
    fcntl.ioctl(fd, abi.FS_IOC_FSSETXATTR, abi.FSXATTR.pack(*attributes))


def loop_backing_device(fd: int) -> str:
    """LOOP_GET_STATUS64: the device (major:minor) of the file that a loop device is set up on, loop(4).

    ENXIO: it is not set up.
    """
    device = int(struct.unpack_from("=Q", _loop_status(fd))[0])
    return f"{os.major(device)}:{os.minor(device)}"


def loop_name(fd: int) -> bytes:
    """LOOP_GET_STATUS64: the path by which a loop device was set up, its first 63 bytes, as who did it wrote it."""
    return bytes(_loop_status(fd)[abi.LOOP_NAME_OFFSET :][: abi.LO_NAME_SIZE]).partition(b"\0")[0]


def _loop_status(fd: int) -> bytearray:
    data = bytearray(abi.LOOP_INFO64_SIZE)
    fcntl.ioctl(fd, abi.LOOP_GET_STATUS64, data)
    return data


def inode_flags(fd: int) -> int | None:
    """FS_IOC_GETFLAGS of ioctl_iflags(2): FS_*_FL; None where the file system has none."""
    data = bytearray(8)
    try:
        fcntl.ioctl(fd, abi.FS_IOC_GETFLAGS, data)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            return None
        raise
    return int(struct.unpack("=i", data[:4])[0])


def set_inode_flags(fd: int, flags: int) -> None:
    """FS_IOC_SETFLAGS of ioctl_iflags(2); a file system may silently leave out flags that it can't set."""
    fcntl.ioctl(fd, abi.FS_IOC_SETFLAGS, bytearray(struct.pack("=i4x", flags)))
