"""What the host offers an overlay driver: the module, the file system below its home, its directory entries' types."""

import logging
import os
import subprocess
import tempfile

from ..kernel import abi, syscalls
from .driver import NotSupported

_log = logging.getLogger(__name__)
_MODPROBE_SECONDS = 10

# f_type of statfs(2); linux/magic.h, the last two from the file systems' own headers.
FILE_SYSTEMS = {
    abi.AUFS_SUPER_MAGIC: "aufs",
    abi.BTRFS_SUPER_MAGIC: "btrfs",
    abi.ECRYPTFS_SUPER_MAGIC: "ecryptfs",
    abi.EXT4_SUPER_MAGIC: "extfs",
    abi.NFS_SUPER_MAGIC: "nfs",
    abi.OVERLAYFS_SUPER_MAGIC: "overlayfs",
    abi.TMPFS_MAGIC: "tmpfs",
    abi.XFS_SUPER_MAGIC: "xfs",
    abi.ZFS_SUPER_MAGIC: "zfs",
    0xF2F52010: "f2fs",
    0x65735546: "fuse",
    0x52654973: "reiserfs",
    0x3153464A: "jfs",
    0x858458F6: "ramfs",
    0xCA451A4E: "bcachefs",
}
REFUSED = frozenset(
    (
        abi.AUFS_SUPER_MAGIC,
        abi.BTRFS_SUPER_MAGIC,
        abi.ECRYPTFS_SUPER_MAGIC,
        abi.NFS_SUPER_MAGIC,
        abi.OVERLAYFS_SUPER_MAGIC,
        abi.ZFS_SUPER_MAGIC,
    )
)


def load_overlay_module() -> None:
    """Ask modprobe(8) for overlay. It starts a process; a failure shows in /proc/filesystems, if it matters at all."""
    try:
        subprocess.run(
            ["modprobe", "overlay"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_MODPROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.debug("modprobe overlay: %s, ignoring", error)


def require_overlay(file_systems: str = "/proc/filesystems") -> None:
    """Require that the kernel has overlayfs. Raises: NotSupported."""
    with open(file_systems) as lines:
        if any(line.rstrip("\n") == "nodev\toverlay" for line in lines):
            return
    raise NotSupported(
        "this kernel has no file system 'overlay'",
        hint="load the module (modprobe overlay), or use a kernel that has it",
    )


def magic_of(home: bytes) -> tuple[bytes, int]:
    """The directory that stands for the home (its parent, while there is no home yet), and its file system's magic."""
    directory = home if os.path.isdir(home) else os.path.dirname(home)
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return directory, syscalls.fstatfs(fd).f_type & 0xFFFFFFFF
    finally:
        os.close(fd)


def backing_file_system(magic: int) -> str:
    """The name that users know; the number of one that is not in the table."""
    return FILE_SYSTEMS.get(magic, f"<unknown {magic:#x}>")


def require_backing(magic: int) -> None:
    """Raises: NotSupported for a file system that overlayfs can't have as an upper layer, or must not."""
    if magic in REFUSED:
        raise NotSupported(
            f"'overlay' is not supported over {backing_file_system(magic)}",
            hint="put the home on ext4, xfs (ftype=1) or tmpfs",
        )


def has_d_type(directory: bytes) -> bool:
    """Whether readdir(3) gives the type of an entry, which overlayfs needs to see its whiteouts.

    os.DirEntry asks lstat(2) only where d_type is DT_UNKNOWN. So the entry is asked after its file has gone: a type
    that is still known came from the directory.
    """
    with tempfile.TemporaryDirectory(prefix=b".d_type-", dir=directory) as scratch:
        name = os.path.join(scratch, b"entry")
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with os.scandir(scratch) as entries:
            (entry,) = entries
        os.unlink(name)
        return entry.is_file(follow_symlinks=False)


def is_used(home: bytes) -> bool:
    """Whether a home holds anything already."""
    try:
        with os.scandir(home) as entries:
            return any(True for _ in entries)
    except FileNotFoundError:
        return False


def d_type_message(backing: str) -> str:
    """Why a home without d_type is refused, or warned about if it is in use."""
    text = f"'overlay' needs d_type from its backing file system, and {backing} as it is made here gives none"
    return text + " (make xfs with ftype=1, ext4 with the feature filetype)" if backing in ("xfs", "extfs") else text


def default_on(parameter: str) -> bool:
    """Whether a parameter of the overlay module is on by default (/sys/module/overlay/parameters)."""
    try:
        with open(f"/sys/module/overlay/parameters/{parameter}") as value:
            return value.read().strip() == "Y"
    except OSError:
        return False
