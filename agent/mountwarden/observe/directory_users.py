"""Which processes use a directory or a mount, by the links of /proc and by mountinfo, without I/O on its file system.

/proc is read by an open descriptor, so that it also works in a child that has entered another mount namespace. What
searches /proc passes over a process that has ended or may not be read, and raises other OSErrors. What searches a
mountinfo text passes over unreadable lines.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import ParamSpec, TypeVar

from ..kernel import abi, syscalls
from ..model import Mount, Spot, Use
from ..mounts import mountinfo
from ..mounts.mountinfo import Lines
from ..mounts.table import spot_of
from .mount_lines import MountLines

P = ParamSpec("P")
T = TypeVar("T")

_NO_SYNC = abi.AT_STATX_DONT_SYNC | abi.AT_NO_AUTOMOUNT
_STATX_INO = 0x100
_GONE = (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM, errno.ENOTDIR)


def open_proc() -> int:
    """An O_PATH descriptor of our own /proc, which the caller closes. Raises: OSError as open(2) does."""
    return os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def directories_in_use(proc: int, names: frozenset[bytes]) -> dict[tuple[int, int], list[Use]]:
    """Processes whose working directory, root or open file is a directory of one of these names, by (device, inode).

    The text of such a link ends in the name, or is "/" where the directory is the root of the mount by which the
    process reached it. Only these links are asked for their inode.
    """
    found: dict[tuple[int, int], list[Use]] = {}

    def identity(path: bytes) -> tuple[int, int] | None:
        link = os.readlink(path, dir_fd=proc).removesuffix(b" (deleted)")
        if link != b"/" and link.rpartition(b"/")[2] not in names:
            return None
        answer = syscalls.statx(proc, path, _STATX_INO, _NO_SYNC)
        return os.makedev(answer.stx_dev_major, answer.stx_dev_minor), answer.stx_ino

    for use, directory in _search(proc, identity):
        found.setdefault(directory, []).append(use)
    return found


def users_by_mount(proc: int, mounts: frozenset[int], pids: Iterable[int] | None = None) -> dict[int, list[Use]]:
    """By small mount id: processes whose working directory, root or open file is on one of the mounts.

    Of all processes, or of `pids` alone.

    The ids stay readable after the mounts are detached, and are not reused while something keeps them.

    Raises: OSError as described above.
    """
    found: dict[int, list[Use]] = {}

    def on_mount(path: bytes) -> int | None:
        mount = syscalls.statx(proc, path, abi.STATX_MNT_ID, _NO_SYNC).stx_mnt_id
        return int(mount) if mount in mounts else None

    for use, mount in _search(proc, on_mount, None if pids is None else [b"%d" % pid for pid in pids]):
        found.setdefault(mount, []).append(use)
    return found


def _search(
    proc: int, test: Callable[[bytes], T | None], pids: Iterable[bytes] | None = None
) -> Iterator[tuple[Use, T]]:
    """Each link of each process, or of these, for which `test` does not answer None, with the answer."""
    for pid in _names(proc, b".") if pids is None else pids:
        if not pid.isdigit():
            continue
        links = [(b"cwd", "cwd"), (b"root", "root")]
        links += [(b"fd/" + fd, f"fd {int(fd)}") for fd in _names(proc, pid + b"/fd")]
        for link, how in links:
            answer = _of_process(test, pid + b"/" + link)
            if answer is not None:
                yield Use(int(pid), _comm(proc, pid), how), answer


def _names(proc: int, path: bytes) -> list[bytes]:
    return _of_process(_listed, proc, path) or []


def _listed(proc: int, path: bytes) -> list[bytes]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
    try:
        return [os.fsencode(name) for name in os.listdir(fd)]
    finally:
        os.close(fd)


def _comm(proc: int, pid: bytes) -> str:
    return _of_process(_read_comm, proc, pid) or "?"


def _read_comm(proc: int, pid: bytes) -> str:
    with os.fdopen(os.open(pid + b"/comm", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc), "rb", buffering=0) as file:
        return os.fsdecode(file.read().rstrip(b"\n"))


def _of_process(ask: Callable[P, T | None], *of: P.args, **more: P.kwargs) -> T | None:
    """The answer; None where the process has ended, at whichever call, or may not be read. Raises: OSError."""
    try:
        return ask(*of, **more)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


class Directories:
    """Some directories, by their spots, and what is searched for in the mounts of each namespace because of them."""

    def __init__(self, spots: Collection[Spot]) -> None:
        self._spots = frozenset(spots)
        self._names = {spot.path.rpartition(b"/")[2] for spot in spots}
        self._showing = [b" %s %s" % (device.encode(), mountinfo.escape(path)) for device, path in _common(spots)]
        self._ending = [b"/%b " % name for name in {mountinfo.escape(name) for name in self._names}]

    def bound(self, lines: MountLines) -> Iterator[tuple[Spot, bytes]]:
        """Mounts of a namespace whose mnt_root is one of them, or lies below it: that spot, and the mount point."""
        yield from _bound(_holding(lines, self._showing), self._spots)

    def concerned(self, lines: MountLines) -> tuple[list[tuple[Spot, bytes]], list[tuple[Spot, Mount]]]:
        """The same, and the mounts of the namespace that are attached to one of them, each with that spot.

        Raises: OSError of EFBIG where there are more than the limits of `lines` let keep.
        """
        mounts = few(lines, _holding(lines, [*self._showing, *self._ending]))
        there = [mount for mount in mounts if mount.point.rpartition(b"/")[2] in self._names]
        parents = {parent.id: parent for parent in parsed(lines.find({b"%d" % one.parent for one in there}).values())}
        placed = ((spot_of(mount, parents.get(mount.parent)), mount) for mount in there)
        on_them = [(spot, mount) for spot, mount in placed if spot is not None and spot in self._spots]
        return list(_bound(mounts, self._spots)), on_them


def _common(spots: Collection[Spot]) -> Iterator[tuple[str, bytes]]:
    """Devices, each with the common parent directory of its spots: it is shown by whatever shows one of them."""
    paths: dict[str, list[bytes]] = {}
    for spot in spots:
        paths.setdefault(spot.device, []).append(spot.path)
    return ((device, os.path.commonpath(some)) for device, some in paths.items())


def _bound(mounts: Iterable[Mount], spots: Collection[Spot]) -> Iterator[tuple[Spot, bytes]]:
    for mount in mounts:
        for path in _upwards(mount.root):
            if (spot := Spot(mount.device, path)) in spots:
                yield spot, mount.point


def _upwards(path: bytes) -> Iterator[bytes]:
    """A path, and each of its parent directories up to "/"."""
    yield path
    while path.startswith(b"/") and path != b"/":
        path = path.rpartition(b"/")[0] or b"/"
        yield path


def mounted_on(lines: MountLines, mounts: frozenset[int]) -> list[Mount]:
    """The mounts of a namespace whose parent is one of the mounts, by small mount id."""
    found = (
        one[0]
        for block in (lines.blocks() if mounts else ())
        for one in re.finditer(rb"(?m)^\d+ (\d+) .*$", block)
        if int(one[1]) in mounts
    )
    return few(lines, parsed(found))


def in_groups(lines: MountLines, groups: Collection[int]) -> list[Mount]:
    """The mounts of a namespace that are members or slaves of one of the peer groups."""
    needles = [b" %s:%d " % (word, group) for group in groups for word in (b"shared", b"master")]
    found = (mount for mount in _holding(lines, needles) if mount.shared in groups or mount.master in groups)
    return few(lines, found)


def _holding(lines: MountLines, needles: Collection[bytes]) -> Iterator[Mount]:
    for block in lines.blocks() if needles else ():
        yield from parsed(Lines(block).holding(needles))


def few(lines: MountLines, mounts: Iterable[Mount]) -> list[Mount]:
    """All of them. Raises: OSError of EFBIG where they are more than the limits of `lines` let keep."""
    kept, size = [], 0
    for mount in mounts:
        kept.append(mount)
        size += len(mount.root) + len(mount.point) + len(mount.super_options)
        if size > lines.limits.kept:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return kept


def parsed(lines: Iterable[bytes]) -> Iterator[Mount]:
    """The mounts of these lines, but for unreadable ones."""
    for line in lines:
        try:
            yield mountinfo.parse_line(line)
        except mountinfo.Unreadable:
            continue


def is_empty(fd: int) -> bool:
    """Whether the directory of an open descriptor has no entries. Raises: OSError as getdents(2) does."""
    with os.scandir(fd) as entries:
        return next(entries, None) is None


def is_file(status: os.stat_result) -> bool:
    """Whether it is an empty regular file with one link, as engines make one to mount a namespace on."""
    return stat.S_ISREG(status.st_mode) and status.st_size == 0 and status.st_nlink == 1
