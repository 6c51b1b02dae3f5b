"""What every process has open: the links of /proc, each with the mount that it is on. None of them is opened.

The mount id comes from statx(2) with AT_STATX_DONT_SYNC, in a forked child, because a dead network file system may
block even that. Where the child hangs, each process gets a child of its own, and only those that hang are a gap.
"""

import contextlib
import errno
import mmap
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ..errors import NoAnswer
from ..kernel import abi, child, syscalls
from ..model import Gap
from . import read_ahead
from .directory_users import open_proc

T = TypeVar("T")

DEADLINE = 10.0
"""Seconds for the child that asks for all processes."""

ONE = 0.5
"""Seconds for each process by itself, after that child has hung."""

FEW = 64
"""Processes that one child asks, however many processors there are."""
MOST_USERS = 64
"""Processes that are known of one mount."""

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
    at: str = ""
    """The link itself, below /proc."""


@dataclass(frozen=True, slots=True)
class AttachedMounts:
    """What namespaces have mounted: small mount ids, and devices (major:minor)."""

    ids: frozenset[int] = frozenset()
    devices: frozenset[str] = frozenset()


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


def links_beside(pids: Sequence[int], mounted: AttachedMounts, deadline: float) -> tuple[tuple[Link, ...], int | None]:
    """The links of the processes that have a path and are on none of these mounts; the process that hung, if one did.

    A process's mapped files are asked for where the devices of its maps say that they may be such, which takes one file
    instead of a call each. It passes over what has ended or may not be read. Raises: other OSErrors.
    """

    def search(proc: int, pids: Iterable[int]) -> list[Link]:
        return [link for pid in pids for link in _unless_denied(partial(_of, proc, pid, mounted))]

    parts, hung = _told(search, pids, deadline)
    return tuple(link for part in parts for link in part), hung


def mounts_beside(
    pids: Sequence[int], mounted: AttachedMounts, deadline: float
) -> tuple[dict[int, list[int]], int | None]:
    """By the id of each mount on which `links_beside` would find links: the first processes that have them.

    Thousands of processes have thousands of links, of which few are of interest. Raises: other OSErrors.
    """

    def search(proc: int, pids: Iterable[int]) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for pid in pids:
            for mount in set(_unless_denied(partial(_mounts_of, proc, pid, mounted))):
                if len(users := found.setdefault(mount, [])) < MOST_USERS:
                    users.append(pid)
        return found

    parts, hung = _told(search, pids, deadline)
    mounts = dict.fromkeys(mount for part in parts for mount in part)
    users = {mount: sorted(pid for part in parts for pid in part.get(mount, ())) for mount in mounts}
    return {mount: many[:MOST_USERS] for mount, many in users.items()}, hung


def _told(
    search: Callable[[int, Iterable[int]], T], pids: Sequence[int], deadline: float
) -> tuple[list[T], int | None]:
    """What a search finds, in a child for each processor that we may use; else nothing, and a process that hangs."""
    many = read_ahead.processors() if len(pids) > FEW else 1
    proc = open_proc()
    try:
        with contextlib.ExitStack() as stack:
            # Shared with the children, which may not live to tell.
            at = [stack.enter_context(mmap.mmap(-1, 8)) for _number in range(many)]
            parts = [partial(search, proc, _each(pids[number::many], at[number])) for number in range(many)]
            found = child.ask_each(parts, deadline=deadline, what="the search")
            hung = [now for now, part in zip(at, found, strict=True) if isinstance(part, NoAnswer)]
            if hung:
                return [], int.from_bytes(hung[0][:8], sys.byteorder)
            return [part for part in found if not isinstance(part, NoAnswer)], None
    finally:
        os.close(proc)


def _each(pids: Sequence[int], now: mmap.mmap) -> Iterator[int]:
    own = os.getpid()
    for pid in pids:
        now[:8] = pid.to_bytes(8, sys.byteorder)
        if pid != own:
            yield pid


def _unless_denied(function: Callable[[], Iterable[T]]) -> list[T]:
    try:
        return list(function())
    except OSError as error:
        if error.errno not in (*_GONE, *_DENIED):
            raise
        return []


def _mounts_of(proc: int, pid: int, beside: AttachedMounts) -> Iterator[int]:
    """Of its root, directory and program nothing is asked but their mounts: most are on those of a namespace."""
    for how in ("cwd", "root", "exe"):
        mount = _unless_gone(partial(_mount, proc, f"{pid}/{how}"), 0)
        if mount and mount not in beside.ids:
            yield mount
    yield from (link.mount for link in _opened(proc, pid, beside))


def _mount(proc: int, path: str) -> int:
    answer = syscalls.statx(proc, path.encode(), abi.STATX_MNT_ID, _FLAGS)
    return answer.stx_mnt_id if answer.stx_mask & abi.STATX_MNT_ID else 0


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
            found += _of(proc, pid, None)
        except OSError as error:
            if error.errno not in (*_GONE, *_DENIED):
                raise
            denied += error.errno in _DENIED
    return tuple(found), denied


def _of(proc: int, pid: int, beside: AttachedMounts | None) -> Iterator[Link]:
    for how in ("cwd", "root", "exe"):
        yield from _link(proc, pid, f"{pid}/{how}", how, beside)
    yield from _opened(proc, pid, beside)


def _opened(proc: int, pid: int, beside: AttachedMounts | None) -> Iterator[Link]:
    """Its open and mapped files."""
    for name in _names(proc, f"{pid}/fd"):
        yield from _link(proc, pid, f"{pid}/fd/{name}", f"fd {name}", beside)
    if beside is not None and not _maps_others(proc, pid, beside.devices):
        return
    shown = set[bytes]()
    for name in _names(proc, f"{pid}/map_files"):
        for link in _link(proc, pid, f"{pid}/map_files/{name}", "map", beside):
            if link.path not in shown:
                shown.add(link.path)
                yield link


_MAP = re.compile(rb"(?m)^\S+ \S+ \S+ ([0-9a-f]+):([0-9a-f]+) [1-9]\d* +/(?!memfd:|dev/zero |SYSV|\[aio\])")
"""A line of proc_pid_maps(5) with its device, in hexadecimal; not of what has no file that anybody can open."""


def _maps_others(proc: int, pid: int, devices: frozenset[str]) -> bool:
    """Whether a process maps a file of a device that is not one of these."""
    found = {(int(major, 16), int(minor, 16)) for major, minor in set(_MAP.findall(_read(proc, f"{pid}/maps")))}
    return any(f"{major}:{minor}" not in devices for major, minor in found)


def _read(proc: int, path: str) -> bytes:
    def whole() -> bytes:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc), "rb") as file:
            return file.read()

    return _unless_gone(whole, b"")


def _names(proc: int, path: str) -> list[str]:
    def listed() -> list[str]:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    return _unless_gone(listed, [])


def _link(proc: int, pid: int, path: str, how: str, beside: AttachedMounts | None) -> Iterator[Link]:
    link = _unless_gone(partial(_asked, proc, pid, path, how, beside), None)
    if link is not None:
        yield link


def _asked(proc: int, pid: int, path: str, how: str, beside: AttachedMounts | None) -> Link | None:
    text = os.readlink(os.fsencode(path), dir_fd=proc)
    if beside is not None and not text.startswith(b"/"):
        return None
    answer = syscalls.statx(proc, path.encode(), abi.STATX_MNT_ID | abi.STATX_INO, _FLAGS)
    mount = answer.stx_mnt_id if answer.stx_mask & abi.STATX_MNT_ID else 0
    if beside is not None and (not mount or mount in beside.ids):
        return None
    return Link(
        pid,
        how,
        mount,
        f"{answer.stx_dev_major}:{answer.stx_dev_minor}",
        f"{answer.stx_rdev_major}:{answer.stx_rdev_minor}" if answer.stx_mode & 0o170000 == 0o060000 else "0:0",
        text,
        answer.stx_ino,
        path,
    )


def _unless_gone(function: Callable[[], T], otherwise: T) -> T:
    try:
        return function()
    except OSError as error:
        if error.errno in _GONE:
            return otherwise
        raise
