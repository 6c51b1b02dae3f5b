"""Whether a mount namespace that can't be read could have to do with a mountpoint: by who can get to its directory.

Who is in such a namespace, or can enter it without being root of the host, has certain ids (`observe.entrants`). Where
these may not search one of the directories on the way to the mountpoint, none of them can have mounted on it, below it
or have bound it: a path can't be walked beyond that directory, and a descriptor of another namespace's mount can't be
mounted on (check_mnt() of fs/namespace.c). What else gets there is asked for: a mount, in a namespace that can be read,
of a directory that lies below the one that stops them, which theirs may have a copy of; and a process of theirs that
has its working directory, root or an open file there. A namespace in which host's root is, or which belongs to the
host's own users, could always have to do with it.

Such a namespace may have copies of the leaked mount: it was cloned from one that had them. They go along with the
directory, as they do everywhere. A foreign mount on that spot can have come there only in the same way, as a copy of
what another namespace has or had mounted: as long as that one has it, it is found there; of one that is left over
nobody in the unread namespace can make use by its path, and what they have open of it goes on working.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import Declined, NoAnswer
from ..escape import printable
from ..kernel import abi, syscalls
from ..model import MODE_BASED, Directory, Identities, Spot
from ..observe import directory_users
from ..observe.entrants import CannotTell, Entrants
from .checks import of_each
from .children import at_home

if TYPE_CHECKING:
    from ..scan.result import Scan
    from .replace import Mountpoint

_BENEATH = abi.RESOLVE_BENEATH | abi.RESOLVE_NO_SYMLINKS | abi.RESOLVE_NO_MAGICLINKS | abi.RESOLVE_NO_XDEV
_ACL = "system.posix_acl_access"


@dataclass(frozen=True, slots=True)
class Step:
    """One directory on the way to a mountpoint, as home has it."""

    path: bytes
    spot: Spot
    inode: tuple[int, int]
    """st_dev and st_ino."""
    directory: Directory


Way = tuple[Step, ...]
"""The directories from the root's own, or that of a mount below it, down to the mountpoint's parent."""


def could_matter(
    points: Sequence["Mountpoint"], home: int | None, unread: Collection[int], scan: "Scan", entrants: Entrants
) -> dict[Spot, dict[int, str]]:
    """By spot, the unread namespaces of a scan that could have to do with it, each with the reason, in words.

    Where the way can't be walked, or who is in a namespace is not known, it could. Raises: OSError of reading /proc.
    """
    found: dict[Spot, dict[int, str]] = {point.match.spot: {} for point in points}
    if not points or not unread:
        return found
    alike = _alike(zip(found, _ways(points, home, scan), strict=True))
    left: list[_Kept] = []
    for inode in unread:
        space = scan.picture.namespaces.get(inode)
        try:
            if space is None:
                raise CannotTell("it is not known which one that is")
            with scan.budgets.charged(space.owner) if scan.budgets else contextlib.nullcontext():
                ids = entrants.of(space)
        except CannotTell as error:
            for reasons in found.values():
                reasons[inode] = str(error)
            continue
        for directories, ways in alike.items():
            stop = stops(directories, ids)
            if stop is None:
                for spot, way in ways:
                    found[spot][inode] = _open(way)
            elif stop + 1 < len(directories):
                left += (_Kept(inode, spot, way[stop + 1 :]) for spot, way in ways)
    for kept, why in _other_ways(left, unread, scan):
        found[kept.spot][kept.namespace] = why
    return found


def stops(directories: Sequence[Directory], ids: Identities) -> int | None:
    """Which directory of a way, the last one of them, stops these ids; None where none does."""
    return max((at for at, one in enumerate(directories) if not ids.may_search(one)), default=None)


def _alike(ways: Iterable[tuple[Spot, Way]]) -> dict[tuple[Directory, ...], list[tuple[Spot, Way]]]:
    """Spots with their ways, by what decides on who may go there: an engine makes thousands of them alike."""
    found: dict[tuple[Directory, ...], list[tuple[Spot, Way]]] = {}
    for spot, way in ways:
        found.setdefault(tuple(step.directory for step in way), []).append((spot, way))
    return found


def _open(way: Way) -> str:
    if not way:
        return "who may search the directories on the way to the mountpoint is not known"
    return f"its users may search each directory on the way, down to {printable(way[-1].path)}"


@dataclass(frozen=True, slots=True)
class _Kept:
    """A namespace that is stopped on the way to a spot, and the directories below that, where it could still begin."""

    namespace: int
    spot: Spot
    below: Way


def _other_ways(left: Sequence[_Kept], unread: Collection[int], scan: "Scan") -> Iterable[tuple[_Kept, str]]:
    """Those of them that may have another way, each with it, in words."""
    if not left:
        return
    steps = {step for kept in left for step in kept.below}
    try:
        shown = _shown({step.spot for step in steps}, unread, scan)
    except Declined as error:
        yield from ((kept, error.message) for kept in left)
        return
    inside = _processes_in(steps)
    for kept in left:
        space = scan.picture.namespaces[kept.namespace]
        pids = {*space.pids, *((space.door.pid,) if space.door else ())}
        for step in kept.below:
            if step.spot in shown:
                yield kept, f"{printable(step.path)} is mounted in namespace {shown[step.spot]} too, and may be in it"
            elif here := pids & inside.get(step.inode, frozenset()):
                yield kept, f"process {min(here)} of it is in {printable(step.path)}"


def _shown(spots: Collection[Spot], unread: Collection[int], scan: "Scan") -> dict[Spot, int]:
    """Directories that a namespace which can be read has mounted, or one below them. Raises: as `of_each`."""
    directories = directory_users.Directories(spots)
    found = of_each(scan, lambda _inode, lines: {spot for spot, _point in directories.bound(lines)}, unread)
    return {spot: inode for inode, here in found for spot in here}


def _processes_in(steps: Iterable[Step]) -> Mapping[tuple[int, int], frozenset[int]]:
    proc = directory_users.open_proc()
    try:
        names = frozenset(step.path.rpartition(b"/")[2] for step in steps)
        users = directory_users.directories_in_use(proc, names)
    finally:
        os.close(proc)
    return {inode: frozenset(use.pid for use in uses) for inode, uses in users.items()}


def _ways(points: Sequence["Mountpoint"], home: int | None, scan: "Scan") -> list[Way]:
    """By a child in home; empty where one can't be walked, or modes are not all that decides on it."""
    try:
        return at_home(home, scan, lambda: walked(points))
    except (Declined, NoAnswer, OSError):
        return [() for _ in points]


def walked(points: Sequence["Mountpoint"]) -> list[Way]:
    """The way to each mountpoint. Runs in home."""
    known: dict[bytes, Step | None] = {}
    return [_walked(point, known) for point in points]


def _walked(point: "Mountpoint", known: dict[bytes, Step | None]) -> Way:
    mount = point.match.base.mount
    if mount.fstype not in MODE_BASED or b"idmapped" in mount.options.split(b","):
        return ()
    names = point.rel.split(b"/")[:-1]
    above = point.match.spot.path.split(b"/")[: -len(names) - 1]
    steps = []
    for depth in range(len(names) + 1):
        path = b"/".join([point.base, *names[:depth]])
        if path not in known:
            spot = Spot(point.match.spot.device, b"/".join([*above, *names[:depth]]) or b"/")
            known[path] = _step(point, b"/".join(names[:depth]) or b".", path, spot)
        steps.append(known[path])
    return tuple(step for step in steps if step) if all(steps) else ()


def _step(point: "Mountpoint", rel: bytes, path: bytes, spot: Spot) -> Step | None:
    try:
        base = os.open(point.base, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fd = syscalls.openat2(base, rel, os.O_RDONLY | os.O_DIRECTORY, resolve=_BENEATH)
        finally:
            os.close(base)
        try:
            if syscalls.mount_id(fd) != point.base_mount:
                return None
            status = os.fstat(fd)
            directory = Directory(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, _has_acl(fd))
            return Step(path, spot, (status.st_dev, status.st_ino), directory)
        finally:
            os.close(fd)
    except OSError:
        return None


def _has_acl(fd: int) -> bool:
    try:
        os.getxattr(fd, _ACL)
    except OSError as error:
        return error.errno not in (errno.ENODATA, errno.EOPNOTSUPP)
    return True
