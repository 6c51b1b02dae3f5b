"""What of a mount's options and source, and of unit files, goes into a snapshot: only what is known to be harmless.

An option of a file system may be a password, a server or a user (cifs, nfs, fuse, ceph). So options are kept by a list
of keys, and values by a plain set of characters; sources by a list of words, and device nodes.
"""

import re
from dataclasses import replace
from typing import Any

from ..explain.context import Context
from .contents import Snapshot
from .rewrite import replaced

FLAGS = frozenset(
    b"ro rw nosuid suid nodev dev noexec exec noatime nodiratime relatime strictatime lazytime sync dirsync mand "
    b"silent nosymfollow idmapped".split()
)
"""Options of a mount, and of any superblock, which have no value."""
PATHS = frozenset((b"lowerdir", b"upperdir", b"workdir", b"lowerdir+", b"datadir+", b"subvol"))
"""Options whose value is one or more paths on this host: an overlay's layers and btrfs's subvolume."""
PLAIN = frozenset(
    b"index metacopy redirect_dir xino nfs_export volatile userxattr uuid verity fsync default_permissions "  # overlay
    b"size mode nr_inodes nr_blocks inode64 inode32 huge noswap uid gid "  # tmpfs
    b"hidepid subset ptmxmode nsdelegate memory_recursiveprot memory_localevents favordynmods xattr "  # proc, cgroup
    b"data errors barrier nobarrier discard nodiscard commit stripe quota noquota usrquota grpquota prjquota "
    b"attr2 logbufs logbsize sunit swidth inode32 compress compress-force space_cache ssd nossd subvolid acl noacl "
    b"user_xattr nouser_xattr delalloc nodelalloc user_id group_id allow_other rootmode max_read blksize "
    b"pipe_ino timeout minproto maxproto direct indirect offset seclabel".split()
)
"""Options whose value, if any, is a number or a word of the file system's own."""
SOURCES = frozenset(
    b"overlay tmpfs shm none nsfs proc sysfs cgroup cgroup2 devpts devtmpfs udev mqueue ramfs rootfs bpf tracefs "
    b"debugfs configfs securityfs pstore efivarfs hugetlbfs fusectl binfmt_misc fuse-overlayfs systemd-1 run dev "
    b"portal lxcfs snapfuse".split()
)
"""Sources that name no server, user or secret."""

_VALUE = re.compile(rb"[A-Za-z0-9_.:%+-]{1,64}")
_DEVICE = re.compile(rb"/dev/[A-Za-z0-9_.:/@+-]{1,200}")


def clean(snapshot: Snapshot) -> Snapshot:
    """The snapshot without options, sources and lines of unit files that are not known to be harmless."""
    around = {key: _without_other_lines(one) for key, one in snapshot.circumstances.items()}
    return replaced(replace(snapshot, circumstances=around), _harmless)


def options(text: bytes) -> bytes:
    """The options that are known to be harmless, in their order."""
    return b",".join(option for option in text.split(b",") if _is_harmless(option))


def source(text: bytes) -> bytes:
    """A mount's source where it is known to be harmless, else nothing."""
    return text if text in SOURCES or _DEVICE.fullmatch(text) else b""


def _harmless(owner: str, name: str, text: Any) -> Any:
    if owner == "Mount" and name in ("options", "super_options"):
        return options(text)
    return source(text) if (owner, name) == ("Mount", "source") else text


def _is_harmless(option: bytes) -> bool:
    key, equals, value = option.partition(b"=")
    if not equals:
        return key in FLAGS or key in PLAIN
    return key in PATHS or (key in PLAIN and _VALUE.fullmatch(value) is not None)


def _without_other_lines(around: Context) -> Context:
    """Of unit files, only lines of directives that give the unit its mount namespace: never ExecStart= and the like."""
    wanted = {directive.name for directive in around.unit.directives} if around.unit else set()
    wanted |= {"MountFlags"}
    files = (
        replace(file, assignments=tuple(item for item in file.assignments if item.key in wanted))
        for file in around.files
    )
    return replace(around, files=tuple(files))
