"""Constants and structures of the kernel's interfaces, under the names of their header files.

From 424 on, which Linux 5.1 began with, a system call has the same number on every architecture
(asm-generic/unistd.h). Older calls go through the C library's symbols and need no number here.
"""

import ctypes
import enum
import struct

# sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

# sys/mount.h, linux/mount.h
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

MNT_FORCE = 0x1
MNT_DETACH = 0x2
MNT_EXPIRE = 0x4
UMOUNT_NOFOLLOW = 0x8

# asm-generic/unistd.h
NR_open_tree = 428
NR_move_mount = 429
NR_openat2 = 437
NR_mount_setattr = 442
NR_statmount = 457
NR_listmount = 458
NR_open_tree_attr = 467

# asm/unistd.h; the newer architectures (arm64, riscv64) have no ustat(2)
NR_ustat = {"x86_64": 136, "ppc64le": 62, "s390x": 62}

# linux/mount.h
OPEN_TREE_CLONE = 0x1
OPEN_TREE_CLOEXEC = 0o2000000
MOVE_MOUNT_F_SYMLINKS = 0x1
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOVE_MOUNT_SET_GROUP = 0x100
MOVE_MOUNT_BENEATH = 0x200
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_IDMAP = 0x00100000

# fcntl.h
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_HANDLE_FID = 0x200
AT_SYMLINK_FOLLOW = 0x400
AT_RECURSIVE = 0x8000
AT_NO_AUTOMOUNT = 0x800
AT_EMPTY_PATH = 0x1000
AT_STATX_DONT_SYNC = 0x4000

# linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# linux/stat.h
STATX_MTIME = 0x40
STATX_CTIME = 0x80
STATX_INO = 0x100
STATX_BTIME = 0x800
STATX_MNT_ID = 0x1000
STATX_MNT_ID_UNIQUE = 0x4000

# linux/magic.h and the file systems' own headers
OVERLAYFS_SUPER_MAGIC = 0x794C7630
TMPFS_MAGIC = 0x01021994
EXT4_SUPER_MAGIC = 0xEF53
XFS_SUPER_MAGIC = 0x58465342
BTRFS_SUPER_MAGIC = 0x9123683E
NFS_SUPER_MAGIC = 0x6969
AUFS_SUPER_MAGIC = 0x61756673
ECRYPTFS_SUPER_MAGIC = 0xF15F
ZFS_SUPER_MAGIC = 0x2FC12FC1
NSFS_MAGIC = 0x6E736673

# linux/nsfs.h, ioctl numbers by _IO/_IOR with NSIO = 0xb7
NS_GET_USERNS = 0xB701
NS_GET_PARENT = 0xB702
NS_GET_NSTYPE = 0xB703
NS_GET_OWNER_UID = 0xB704
NS_GET_MNTNS_ID = 0x8008B705
NS_MNT_GET_INFO = 0x8010B70A
NS_MNT_GET_NEXT = 0x8010B70B
NS_MNT_GET_PREV = 0x8010B70C

# linux/fs.h
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IOC_FSGETXATTR = 0x801C581F
FS_IOC_FSSETXATTR = 0x401C5820
FS_IMMUTABLE_FL = 0x00000010
FS_APPEND_FL = 0x00000020
FS_INDEX_FL = 0x00001000
FS_EXTENT_FL = 0x00080000
FS_NOCOW_FL = 0x00800000
FS_INLINE_DATA_FL = 0x10000000
FS_XFLAG_PROJINHERIT = 0x00000200
FS_XFLAG_HASATTR = 0x80000000

# linux/mount.h: listmount and statmount
LSMT_ROOT = 0xFFFFFFFFFFFFFFFF
LISTMOUNT_REVERSE = 0x1


class StatmountMask(enum.IntFlag, boundary=enum.KEEP):
    """STATMOUNT_*: what statmount(2) is asked for, and what it says that it answered."""

    SB_BASIC = 0x1
    MNT_BASIC = 0x2
    PROPAGATE_FROM = 0x4
    MNT_ROOT = 0x8
    MNT_POINT = 0x10
    FS_TYPE = 0x20
    MNT_NS_ID = 0x40
    MNT_OPTS = 0x80
    FS_SUBTYPE = 0x100
    SB_SOURCE = 0x200


STATMOUNT = struct.Struct("=IIQIIQIIQQIIQQQQQIIQII")  # struct statmount as far as sb_source (6.13)
STATMOUNT_STRINGS = 512  # offsetof(struct statmount, str)
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_NOSYMFOLLOW = 0x200000
SB_RDONLY = 0x1
SB_SYNCHRONOUS = 0x10
SB_DIRSYNC = 0x80
SB_LAZYTIME = 1 << 25


# sys/fanotify.h, linux/fanotify.h
FAN_CLOEXEC = 0x1
FAN_NONBLOCK = 0x2
FAN_REPORT_MNT = 0x4000
FAN_MARK_ADD = 0x1
FAN_MARK_REMOVE = 0x2
FAN_MARK_MNTNS = 0x110
FAN_MNT_ATTACH = 0x01000000
FAN_MNT_DETACH = 0x02000000
FAN_Q_OVERFLOW = 0x4000
FAN_EVENT_INFO_TYPE_MNT = 7
FANOTIFY_METADATA_VERSION = 3
FAN_METADATA = struct.Struct("=IBBHQii")  # event_len, vers, reserved, metadata_len, mask, fd, pid
FAN_INFO_MNT = struct.Struct("=BBH4xQ")  # struct fanotify_event_info_mnt: info_type, pad, len, mnt_id

# linux/loop.h
LOOP_GET_STATUS64 = 0x4C05
LOOP_INFO64_SIZE = 232
LOOP_NAME_OFFSET = 56  # offsetof(struct loop_info64, lo_file_name)
LO_NAME_SIZE = 64

# sys/inotify.h
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
INOTIFY_EVENT = struct.Struct("=iIII")  # struct inotify_event without name: wd, mask, cookie, len

# fs/overlayfs/overlayfs.h: struct ovl_fb, the handle of a file of one of its layers, after three bytes of padding
OVL_FILEID_V1 = 0xF8
OVL_FH_MAGIC = 0xFB
OVL_FH_FLAG_PATH_UPPER = 0x4
OVL_FB = struct.Struct("=3xBBBBB16x")  # version, magic, len, flags, type, uuid

# sys/prctl.h
PR_SET_PDEATHSIG = 1

MNT_ID_REQ = struct.Struct("=IIQQ")  # struct mnt_id_req, MNT_ID_REQ_SIZE_VER0 (6.8)
MNT_ID_REQ_NS = struct.Struct("=IIQQQ")  # MNT_ID_REQ_SIZE_VER1 (6.11), with mnt_ns_id
MNT_NS_INFO = struct.Struct("=IIQ")  # struct mnt_ns_info: size, nr_mounts, mnt_ns_id
FILE_HANDLE = struct.Struct("=Ii")  # struct file_handle: handle_bytes, handle_type
MAX_HANDLE_SZ = 128
OPEN_HOW = struct.Struct("=QQQ")  # struct open_how: flags, mode, resolve
MOUNT_ATTR = struct.Struct("=QQQQ")  # struct mount_attr: attr_set, attr_clr, propagation, userns_fd
FSXATTR = struct.Struct("=IIIII8x")  # struct fsxattr: xflags, extsize, nextents, projid, cowextsize


class Statfs(ctypes.Structure):
    """struct statfs of statfs(2) on 64-bit architectures."""

    _fields_ = (
        ("f_type", ctypes.c_long),
        ("f_bsize", ctypes.c_long),
        ("f_blocks", ctypes.c_ulong),
        ("f_bfree", ctypes.c_ulong),
        ("f_bavail", ctypes.c_ulong),
        ("f_files", ctypes.c_ulong),
        ("f_ffree", ctypes.c_ulong),
        ("f_fsid", ctypes.c_int * 2),
        ("f_namelen", ctypes.c_long),
        ("f_frsize", ctypes.c_long),
        ("f_flags", ctypes.c_long),
        ("f_spare", ctypes.c_long * 4),
    )


class StatxTimestamp(ctypes.Structure):
    """struct statx_timestamp of linux/stat.h."""

    _fields_ = (("tv_sec", ctypes.c_int64), ("tv_nsec", ctypes.c_uint32), ("_reserved", ctypes.c_int32))


class Statx(ctypes.Structure):
    """The head of struct statx as far as stx_mnt_id; the kernel writes 256 bytes."""

    _fields_ = (
        ("stx_mask", ctypes.c_uint32),
        ("stx_blksize", ctypes.c_uint32),
        ("stx_attributes", ctypes.c_uint64),
        ("stx_nlink", ctypes.c_uint32),
        ("stx_uid", ctypes.c_uint32),
        ("stx_gid", ctypes.c_uint32),
        ("stx_mode", ctypes.c_uint16),
        ("_spare0", ctypes.c_uint16),
        ("stx_ino", ctypes.c_uint64),
        ("_sizes_and_atime", ctypes.c_uint8 * 40),
        ("stx_btime", StatxTimestamp),
        ("stx_ctime", StatxTimestamp),
        ("stx_mtime", StatxTimestamp),
        ("stx_rdev_major", ctypes.c_uint32),
        ("stx_rdev_minor", ctypes.c_uint32),
        ("stx_dev_major", ctypes.c_uint32),
        ("stx_dev_minor", ctypes.c_uint32),
        ("stx_mnt_id", ctypes.c_uint64),
        ("_rest", ctypes.c_uint8 * 104),
    )
