"""Copying a layer's tree: hard links for an image on top of an image, real copies for the upper of a container."""

import enum
import errno
import fcntl
import os
import stat
from dataclasses import dataclass, field

from . import xattrs
from .beneath import RootDirectory, by_fd

_FICLONE = 0x40049409  # linux/fs.h, _IOW(0x94, 9, int)
_CHUNK = 1 << 20
_NO_CLONE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS)
_NO_RANGE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EBADF)


class TreeCopy(enum.StrEnum):
    """How files that are no directories are copied."""

    CONTENT = "content"
    HARDLINK = "hardlink"


@dataclass(slots=True)
class _State:
    how: TreeCopy
    clone: bool = True
    directories: list[bytes] = field(default_factory=lambda: [b""])
    links: dict[tuple[int, int], bytes] = field(default_factory=dict)


def copy_tree(source: bytes, target: bytes, how: TreeCopy) -> None:
    """Copy all below `source` into the empty directory `target`, and the metadata of `source` itself to it.

    Owners, modes, times, extended attributes, holes and the hard links among the files stay. With `TreeCopy.HARDLINK`
    files share their inode with the source (directories never do), except where a file has all the links its file
    system allows.
    """
    state = _State(how)
    with RootDirectory(source) as old, RootDirectory(target) as new:
        for path in state.directories:
            src = old.open_directory(path)
            try:
                dst = new.open_directory(path)
                try:
                    _copy_children(state, new, path, src, dst)
                    _copy_metadata(src, dst)  # nothing is made in it later
                finally:
                    os.close(dst)
            finally:
                os.close(src)


def _copy_children(state: _State, new: RootDirectory, path: bytes, src: int, dst: int) -> None:
    with os.scandir(src) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                os.mkdir(entry.name, 0o700, dir_fd=dst)
                state.directories.append(os.path.join(path, os.fsencode(entry.name)))
            elif state.how is not TreeCopy.HARDLINK or not _linked(src, entry.name, dst, entry.name):
                whole = os.path.join(path, os.fsencode(entry.name))
                _copy_node(state, new, whole, src, dst, entry.stat(follow_symlinks=False))


def _linked(src: int, name: str | bytes, dst: int, new_name: str | bytes) -> bool:
    try:
        os.link(name, new_name, src_dir_fd=src, dst_dir_fd=dst, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EMLINK:
            return False
        raise
    return True


def _copy_node(state: _State, new: RootDirectory, whole: bytes, src: int, dst: int, found: os.stat_result) -> None:
    name = whole.rpartition(b"/")[2]
    first = state.links.setdefault((found.st_dev, found.st_ino), whole) if found.st_nlink > 1 else whole
    if first != whole:
        parent, _, first_name = first.rpartition(b"/")
        fd = new.open_directory(parent)
        try:
            if _linked(fd, first_name, dst, name):
                return
        finally:
            os.close(fd)
    if stat.S_ISREG(found.st_mode):
        _copy_file(state, src, dst, name)
    elif stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=src), name, dir_fd=dst)
        _copy_metadata_by_name(src, dst, name, found)
    else:
        os.mknod(name, found.st_mode, found.st_rdev, dir_fd=dst)
        os.chmod(by_fd(dst, name), stat.S_IMODE(found.st_mode))
        _copy_metadata_by_name(src, dst, name, found)


def _copy_metadata_by_name(src: int, dst: int, name: bytes, found: os.stat_result) -> None:
    os.chown(name, found.st_uid, found.st_gid, dir_fd=dst, follow_symlinks=False)
    old, new = by_fd(src, name), by_fd(dst, name)
    xattrs.write(new, xattrs.read(old, filter(xattrs.stays_true, xattrs.names(old))))
    os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=dst, follow_symlinks=False)


def _copy_metadata(src: int, dst: int) -> None:
    """Of an open file or directory. Owner first: changing it clears set-id bits and capabilities."""
    found = os.fstat(src)
    os.fchown(dst, found.st_uid, found.st_gid)
    os.fchmod(dst, stat.S_IMODE(found.st_mode))
    xattrs.write(dst, xattrs.read(src, filter(xattrs.stays_true, xattrs.names(src))))
    os.utime(dst, ns=(found.st_atime_ns, found.st_mtime_ns))


def _copy_file(state: _State, src_dir: int, dst_dir: int, name: bytes) -> None:
    src = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=src_dir)
    try:
        dst = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=dst_dir)
        try:
            _copy_content(state, src, dst)
            _copy_metadata(src, dst)
        finally:
            os.close(dst)
    finally:
        os.close(src)


def _copy_content(state: _State, src: int, dst: int) -> None:
    """Share the blocks where the file system can (FICLONE), else copy what is no hole."""
    if state.clone:
        try:
            fcntl.ioctl(dst, _FICLONE, src)
            return
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
            state.clone = False
    size = os.fstat(src).st_size
    os.ftruncate(dst, size)
    position = 0
    while position < size:
        try:
            start = os.lseek(src, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        position = os.lseek(src, start, os.SEEK_HOLE)
        _copy_range(src, dst, start, position)


def _copy_range(src: int, dst: int, start: int, end: int) -> None:
    while start < end:
        try:
            copied = os.copy_file_range(src, dst, end - start, start, start)
        except OSError as error:
            if error.errno not in _NO_RANGE:
                raise
            copied = os.pwrite(dst, os.pread(src, min(_CHUNK, end - start), start), start)
        if not copied:
            return
        start += copied
