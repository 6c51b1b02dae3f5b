"""Removing trees and parts of them: without recursion, without following a link, and through a busy mountpoint."""

import errno
import os
import stat
import time
from collections.abc import Callable

from ..kernel import abi, syscalls
from .beneath import RootDirectory, exists
from .driver import GraphdriverError

_LONGEST = 3500  # of a path below the root; PATH_MAX is 4096, and one name may add 256
_TRIES = 50
_PAUSE = 0.1  # seconds between two tries, as long as the layer's lock is held


def remove_tree(parent_fd: int, name: bytes) -> None:
    """Remove a file or a whole directory. Nothing there is no error."""
    found = exists(parent_fd, name)
    if found is None:
        return
    try:
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=parent_fd)
            return
        remove_children(parent_fd, name, lambda path: False)
        os.rmdir(name, dir_fd=parent_fd)
    except FileNotFoundError:
        return


def remove_children(parent_fd: int, name: bytes, keep: Callable[[bytes], bool]) -> None:
    """Remove all below a directory but what `keep` says to keep, by the path below it (and so what holds it)."""
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        with RootDirectory(fd) as root:
            directories = _remove_files(root, keep)
            for path in reversed(directories):
                _remove_directory(root, path)
    finally:
        os.close(fd)


def _remove_files(root: RootDirectory, keep: Callable[[bytes], bool]) -> list[bytes]:
    """Remove what is no directory; the directories to remove, outer ones first."""
    visit, to_remove = [b""], []
    for number, path in enumerate(visit):
        fd = root.open_directory(path)
        try:
            for child, is_directory in _entries(fd):
                whole = path + b"/" + child if path else child
                kept = keep(whole)
                if not is_directory:
                    if not kept:
                        os.unlink(child, dir_fd=fd)
                    continue
                if len(whole) > _LONGEST and not kept:
                    whole = b".mountwarden-%d" % number + b"-%d" % len(visit)
                    os.rename(child, whole, src_dir_fd=fd, dst_dir_fd=root.fd)
                visit.append(whole)
                if not kept:
                    to_remove.append(whole)
        finally:
            os.close(fd)
    return to_remove


def _entries(fd: int) -> list[tuple[bytes, bool]]:
    with os.scandir(fd) as entries:
        return [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]


def _remove_directory(root: RootDirectory, path: bytes) -> None:
    parent, _, name = path.rpartition(b"/")
    fd = root.open_directory(parent)
    try:
        os.rmdir(name, dir_fd=fd)
    finally:
        os.close(fd)


def ensure_removed(directory: bytes, mountpoint: bytes) -> None:
    """Remove a layer's directory and keep trying while something in it is busy or still being made, for 5 s.

    `mountpoint` is detached first and each time it turns out to be busy: the layer goes, so does its mount.
    """
    parent, name = os.path.split(directory)
    parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for left in reversed(range(_TRIES)):
            detach(mountpoint)
            try:
                return remove_tree(parent_fd, name)
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY, errno.EXDEV):  # EXDEV: a mount of somebody else's
                    raise
                if not left:
                    raise GraphdriverError(
                        f"{os.fsdecode(directory)} stays busy: {error.strerror}",
                        hint="`mountwarden who` shows what keeps it busy",
                    ) from error
            time.sleep(_PAUSE)
    finally:
        os.close(parent_fd)


def detach(mountpoint: bytes) -> bool:
    """umount2(2) of the mountpoint with MNT_DETACH; False if nothing was mounted there."""
    try:
        syscalls.umount(mountpoint, abi.MNT_DETACH | abi.UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return False
        raise
    return True
