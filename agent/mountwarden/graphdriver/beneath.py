"""Opening files beneath one directory, wherever the names and symbolic links below it lead.

A layer's tree is hostile: its symbolic links may point anywhere, and a name may hold `..`. Every lookup starts at
the descriptor of the root and cannot leave it. A link to an absolute path is meant from the layer's own root, as a
process in the container would see it; one that climbs above the root is refused, as is crossing onto another mount.
"""

import errno
import os

from ..kernel import abi, syscalls
from .driver import GraphdriverError

_PATH_MAX = 4096  # linux/limits.h
_LINKS = 40  # as MAXSYMLINKS of the kernel (linux/namei.h)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = abi.RESOLVE_BENEATH | abi.RESOLVE_NO_MAGICLINKS | abi.RESOLVE_NO_XDEV


class Escape(GraphdriverError):
    """A name or a symbolic link leads out of the layer's root."""

    status = 2


def normalise(name: bytes) -> bytes:
    """The member's path below the root: no leading slash, no `.`, no `..`; b"" is the root itself.

    Raises: Escape for a name that leads out, is too long or holds a NUL byte.
    """
    if len(name) > _PATH_MAX:
        raise Escape(f"the name {printable(name)} is longer than a path may be")
    if b"\0" in name:
        raise Escape(f"the name {printable(name)} holds a NUL byte")
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part != b"..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            raise Escape(f"the name {printable(name)} leads out of the layer")
    return b"/".join(parts)


def printable(name: bytes) -> str:
    """A name from a layer, safe to print."""
    text = name.decode("utf-8", "backslashreplace")
    short = text if len(text) <= 200 else f"{text[:200]}… ({len(name)} bytes)"
    return repr(short)


class RootDirectory:
    """A directory, and lookups beneath it. The descriptor is owned and closed with it."""

    openat2_works = True  # until the kernel says ENOSYS (before Linux 5.6), or a seccomp filter EPERM

    def __init__(self, path: bytes | int) -> None:
        self.fd = os.open(path, _DIRECTORY) if isinstance(path, bytes) else os.dup(path)
        self._place = _place(self.fd)

    def __enter__(self) -> "RootDirectory":
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)

    def open_directory(self, path: bytes) -> int:
        """Open a directory by its path below the root, following links that stay beneath. The caller closes it.

        Raises: OSError, Escape.
        """
        if not path:
            return os.dup(self.fd)
        if self.openat2_works:
            try:
                return syscalls.openat2(self.fd, path, os.O_RDONLY | os.O_DIRECTORY, resolve=_RESOLVE)
            except OSError as error:
                if error.errno in (errno.ENOSYS, errno.EPERM):
                    RootDirectory.openat2_works = False
                elif error.errno not in (errno.EXDEV, errno.EAGAIN):
                    raise
        return self._walk(path)

    def _walk(self, path: bytes) -> int:
        """The same with openat(2) of one name at a time; also for links that are absolute inside the layer."""
        todo = [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
        trail = [os.dup(self.fd)]
        links = 0
        try:
            while todo:
                name = todo.pop()
                if name == b"..":
                    self._climb(trail, path)
                    continue
                target = _link(trail[-1], name)
                if target is None:
                    self._descend(trail, name)
                    continue
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(path))
                if target.startswith(b"/"):
                    while len(trail) > 1:
                        os.close(trail.pop())
                todo.extend(part for part in reversed(target.split(b"/")) if part not in (b"", b"."))
            return trail.pop()
        finally:
            for fd in trail:
                os.close(fd)

    def _climb(self, trail: list[int], path: bytes) -> None:
        if len(trail) == 1:
            raise Escape(f"a symbolic link in {printable(path)} leads out of the layer")
        os.close(trail.pop())

    def _descend(self, trail: list[int], name: bytes) -> None:
        fd = os.open(name, _DIRECTORY, dir_fd=trail[-1])
        trail.append(fd)
        if _place(fd) != self._place:
            raise OSError(errno.EXDEV, "another file system is mounted inside the layer", os.fsdecode(name))


def _place(fd: int) -> int:
    """Which mount a directory is on; where the kernel does not say (before Linux 5.8), its device."""
    mount = syscalls.mount_id(fd)
    return os.fstat(fd).st_dev if mount is None else mount


def _link(dir_fd: int, name: bytes) -> bytes | None:
    """The target of a symbolic link, or None if the name is none."""
    try:
        return os.readlink(name, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def exists(dir_fd: int, name: bytes) -> os.stat_result | None:
    """lstat(2) of a name, None if there is none."""
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def by_fd(dir_fd: int, name: bytes) -> bytes:
    """A path for the calls that take no directory descriptor (the xattr family): through proc, no link followed."""
    return b"/proc/self/fd/%d/%s" % (dir_fd, name)
