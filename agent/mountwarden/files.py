"""Files that are replaced whole, and regular files that are read up to a limit."""

import contextlib
import os
import stat
from typing import NamedTuple


class NotRegular(OSError):
    """The path leads to a directory, a pipe, a socket or a device."""


class TooLarge(OSError):
    """The file has more bytes than its reader takes."""


class OthersMayWrite(OSError):
    """A directory on the way to a file is another user's, or others may put names into it."""


class FileContent(NamedTuple):
    """What was read, and fstat(2) of the descriptor that it was read from."""

    data: bytes
    status: os.stat_result


def read_regular(path: str | bytes | os.PathLike[str], limit: int, *, follow: bool = True) -> FileContent:
    """A regular file, whole. Never waits for the writer of a pipe.

    `limit` is in bytes. Without `follow` a symbolic link in the last component is not followed.

    Raises: NotRegular; TooLarge; OSError as open(2) and read(2) do.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    fd = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegular(f"{os.fsdecode(path)} is no regular file")
        with open(fd, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(fd)
    if len(data) > limit:
        raise TooLarge(f"{os.fsdecode(path)} has more than {limit >> 20} MiB")
    return FileContent(data, status)


def replace_file(
    path: str | os.PathLike[str], data: bytes, *, mode: int, group: int | None = None, exclusive: bool = False
) -> None:
    """Put `data` into a file's place at once: a reader sees the old content or the new, never a part.

    The file has exactly the permissions `mode`, and the group of that id. It is written under a
    random name in the same directory, and is not synced to disk. With `exclusive` a file that is there is not replaced.

    Raises: FileExistsError where it is there and `exclusive`; OSError. What is there is then as it was.
    """
    directory, name = os.path.split(path)
    new = os.path.join(directory, f".{name}.{os.urandom(8).hex()}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:  # buffered: a raw write may stop halfway on a full disk without an error
            if group is not None:
                os.fchown(fd, -1, group)
            os.fchmod(fd, mode)
            file.write(data)
        (os.link if exclusive else os.rename)(new, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)


def check_directory(path: str | os.PathLike[str]) -> None:
    """Whether nobody but root and this user decides what is in a directory, by any directory on the way to it.

    One with the sticky bit will do: what we make in it, others can neither remove nor rename.

    Raises: OthersMayWrite; OSError as stat(2) does.
    """
    for way in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
        while True:
            status = os.stat(way)
            for owner in (status.st_uid, os.lstat(way).st_uid):  # of a symbolic link, and of what it leads to
                if owner not in (0, os.geteuid()):
                    raise OthersMayWrite(f"{way} belongs to user {owner}, and only root may own it")
            if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX and not _is_roots_group(status):
                raise OthersMayWrite(f"others than root may write to {way} (mode {stat.S_IMODE(status.st_mode):o})")
            if way == (way := os.path.dirname(way)):
                break


def _is_roots_group(status: os.stat_result) -> bool:
    return status.st_gid == 0 and not status.st_mode & 0o002


def sweep(path: str | os.PathLike[str]) -> None:
    """Remove what killed writers of a file left beside it. Only where nobody else writes the file. Raises: OSError."""
    directory, name = os.path.split(path)
    for left in os.listdir(directory or "."):
        if left.startswith(f".{name}."):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, left))
