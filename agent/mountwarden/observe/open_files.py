"""What every process has open: the links of /proc, each with the mount that it is on. None of them is opened.

The mount id comes from statx(2) with AT_STATX_DONT_SYNC, in a forked child, because a dead network file system may
block even that. Where the child hangs, each process gets a child of its own, and only those that hang are a gap.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ..errors import NoAnswer
from ..kernel import abi, child, syscalls
from ..model import Gap
from .directory_users import open_proc

T = TypeVar("T")

DEADLINE = 10.0
"""Seconds for the child that asks for all processes."""

ONE = 0.5
"""Seconds for each process by itself, after that child has hung."""

MOST_HUNG = 20
"""Processes that may hang before the rest is left out, as a gap."""

_FLAGS = abi.AT_STATX_DONT_SYNC | abi.AT_NO_AUTOMOUNT
_GONE = (errno.ENOENT, errno.ESRCH, errno.ENOTDIR)
_DENIED = (errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a process to an object on a mount."""

    pid: int
    how: str
    """cwd, root, exe, map, or "fd 7"."""
    mount: int
    """Small mount id; it stays when the mount is detached."""
    device: str
    """major:minor of the object; on an overlay it need not be the mount's."""
    rdev: str
    """major:minor of the device, where the object is a block device node; else "0:0"."""
    path: bytes
    """The text of the link, as seen from the process's own root."""
    inode: int = 0
    """Of the object, on `device`."""


def links(pids: Sequence[int]) -> tuple[tuple[Link, ...], tuple[Gap, ...]]:
    """Every link of the processes, and what could not be read.

    A process that has ended is passed over; one that may not be read, or hangs, is a gap. Raises: other OSErrors.
    """
    proc = open_proc()
    try:
        try:
            found, denied = _ask(proc, pids, DEADLINE)
            return found, _denied(denied)
        except NoAnswer:
            return _one_by_one(proc, pids)
    finally:
        os.close(proc)


def _one_by_one(proc: int, pids: Sequence[int]) -> tuple[tuple[Link, ...], tuple[Gap, ...]]:
    found: list[Link] = []
    denied, hung = 0, 0
    for at, pid in enumerate(pids):
        if hung >= MOST_HUNG:
            return tuple(found), (
                *_denied(denied),
                Gap("what processes hold open", "too many hang", None, len(pids) - at),
            )
        try:
            more, refused = _ask(proc, (pid,), ONE)
        except NoAnswer:
            hung += 1
            continue
        found += more
        denied += refused
    gaps = (Gap("what a process holds open", "its file system does not answer", None, hung),) if hung else ()
    return tuple(found), _denied(denied) + gaps


def _ask(proc: int, pids: Sequence[int], deadline: float) -> tuple[tuple[Link, ...], int]:
    return child.ask(partial(_scan, proc, pids), deadline=deadline, what="the search for open files")


def _denied(count: int) -> tuple[Gap, ...]:
    return (Gap("what processes hold open", "EACCES", None, count),) if count else ()


def _scan(proc: int, pids: Sequence[int]) -> tuple[tuple[Link, ...], int]:
    found: list[Link] = []
    denied = 0
    own = os.getpid()
    for pid in pids:
        if pid == own:
            continue
        try:
            found += _of(proc, pid)
        except OSError as error:
            if error.errno not in (*_GONE, *_DENIED):
                raise
            denied += error.errno in _DENIED
    return tuple(found), denied


def _of(proc: int, pid: int) -> Iterator[Link]:
    for how in ("cwd", "root", "exe"):
        yield from _link(proc, pid, f"{pid}/{how}", how)
    for name in _names(proc, f"{pid}/fd"):
        yield from _link(proc, pid, f"{pid}/fd/{name}", f"fd {name}")
    shown = set[bytes]()
    for name in _names(proc, f"{pid}/map_files"):
        for link in _link(proc, pid, f"{pid}/map_files/{name}", "map"):
            if link.path not in shown:
                shown.add(link.path)
                yield link


def _names(proc: int, path: str) -> list[str]:
    def listed() -> list[str]:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    return _unless_gone(listed, [])


def _link(proc: int, pid: int, path: str, how: str) -> Iterator[Link]:
    link = _unless_gone(partial(_asked, proc, pid, path, how), None)
    if link is not None:
        yield link


def _asked(proc: int, pid: int, path: str, how: str) -> Link:
    text = os.readlink(os.fsencode(path), dir_fd=proc)
    answer = syscalls.statx(proc, path.encode(), abi.STATX_MNT_ID | abi.STATX_INO, _FLAGS)
    return Link(
        pid,
        how,
        answer.stx_mnt_id if answer.stx_mask & abi.STATX_MNT_ID else 0,
        f"{answer.stx_dev_major}:{answer.stx_dev_minor}",
        f"{answer.stx_rdev_major}:{answer.stx_rdev_minor}" if answer.stx_mode & 0o170000 == 0o060000 else "0:0",
        text,
        answer.stx_ino,
    )


def _unless_gone(function: Callable[[], T], otherwise: T) -> T:
    try:
        return function()
    except OSError as error:
        if error.errno in _GONE:
            return otherwise
        raise
