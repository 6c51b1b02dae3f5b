"""Superblocks that no namespace has mounted any more and that an open file or a loop device keeps, by no history.

A process's link is on such a one where its mount id is in no mountinfo, and the device of its superblock is not there
either. stat(2) does not have that device for overlayfs and btrfs, an inotify watch has it. Of an overlay, the handle of
a file says which file of the layer's own file system it is, whose path the kernel still has when the layer is removed.

Only overlays and file systems on block devices are told: the kernel's own mounts (pipes, sockets, memfd_create(2) and
others alike) are in no mountinfo by their nature.
"""

import contextlib
import os
import struct
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from ..errors import NoAnswer
from ..kernel import abi, child, syscalls
from ..model import Gap, Kept, Namespace, Use
from ..mounts import mountinfo
from . import block_devices, open_files, processes, superblocks
from .budgets import Budgets
from .every_namespace import read_each
from .mount_lines import MountLines
from .open_files import AttachedMounts, Link

T = TypeVar("T")

DEADLINE = 2.0
"""Seconds for the child that asks what the links found are of."""

ONE = 0.25
"""Seconds for each mount by itself, after that child has hung."""

_MOST_HUNG = 4
_MOST_LINKS = 16
"""Links that are asked of one mount; the first of them by which the layer is known stands for it."""
_MOST_USES = 64

_NAMES = {
    abi.OVERLAYFS_SUPER_MAGIC: "overlay",
    abi.EXT4_SUPER_MAGIC: "ext4",
    abi.XFS_SUPER_MAGIC: "xfs",
    abi.BTRFS_SUPER_MAGIC: "btrfs",
}
_GAP = "what is kept open and mounted nowhere"


@dataclass(frozen=True, slots=True)
class SuperblockOfLink:
    """What a link is of."""

    device: str
    fstype: str
    path: bytes | None
    """Of an overlay: of the file in the layer's own file system; the node of a block device."""
    upper: bool
    """That file is in the overlay's own layer."""


class Unmounted:
    """Searches for them. What did not answer once is not asked again."""

    def __init__(self) -> None:
        self._hung: frozenset[int] = frozenset()
        """Mount ids. While a process keeps such a mount, its id is not given to another."""
        self._hung_processes: frozenset[int] = frozenset()

    def begin(
        self,
        pids: Sequence[int],
        home: AttachedMounts,
        places: Iterable[bytes],
        elsewhere: Container[int] = frozenset(),
    ) -> "Search":
        """Begin a search for what these processes and all loop devices keep, and say what could not be asked.

        `home` is mounted for certain, and so are the mounts of the ids `elsewhere`, of other namespaces: these are left
        out at once. `places` are directories of our own namespace on the file systems whose layers are of interest.
        Raises: OSError as a search of /proc does; NoAnswer.
        """
        none: dict[int, list[int]] = {}
        found, gaps = self._searched(open_files.mounts_beside, none, pids, home)
        by_mount = {mount: users for mount, users in found.items() if mount not in elsewhere}
        loops = child.ask(_loops, deadline=DEADLINE, what="the question for loop devices")
        mounted = Mounted(by_mount, _devices(loops) if by_mount or _unsure(loops, home) else (), home.devices)
        return Search(by_mount, loops, tuple(places), home, gaps, mounted)

    def end(
        self, search: "Search", spaces: Collection[Namespace], budgets: Budgets
    ) -> tuple[tuple[Kept, ...], tuple[Gap, ...]]:
        """What is kept, and what could not be asked, after the namespaces that hand their texts over have done so.

        `spaces` are all mount namespaces; what is read of them is charged to `budgets`. Where a namespace can't be
        read that may have mounted any of it, nothing is found. Raises: OSError as a search of /proc does; NoAnswer.
        """
        mounted = search.mounted
        if not mounted.asked:
            return (), search.gaps
        asked = {pid for pids in search.by_mount.values() for pid in pids}
        nearest = sorted(spaces, key=lambda space: asked.isdisjoint(space.pids))
        try:
            mounted.read(nearest, budgets)
            left = {mount: pids for mount, pids in search.by_mount.items() if not mounted.has(mount, self._hung)}
            by_mount, more = self._links(left, search.home)
            found = dict(self._asked(by_mount, search.places))
            again = Mounted((), {one.device for one in found.values()}, search.home.devices)
            again.read(spaces, budgets)
            kept = [one for one in found.values() if one.device not in again.devices]
            of_interest = {mount for mount, one in found.items() if one.device not in again.devices}
            search.others.update(() if self._hung else by_mount.keys() - of_interest)
        except (OSError, NoAnswer):
            return (), (*search.gaps, Gap(_GAP, "a namespace could not be read"))
        kept += _by_loops(search.loops, mounted.devices)
        return tuple(_together(kept)), tuple(dict.fromkeys((*search.gaps, *more)))

    def _links(
        self, left: Mapping[int, Sequence[int]], home: AttachedMounts
    ) -> tuple[dict[int, list[Link]], tuple[Gap, ...]]:
        """By mount, the links of those processes, which may have closed them by now."""
        by_mount: dict[int, list[Link]] = {}
        pids = sorted({pid for pids in left.values() for pid in pids})
        none: tuple[Link, ...] = ()
        found, gaps = self._searched(open_files.links_beside, none, pids, home) if pids else (none, ())
        for link in found:
            if link.mount in left:
                by_mount.setdefault(link.mount, []).append(link)
        return by_mount, gaps

    def _searched(
        self,
        search: Callable[[Sequence[int], AttachedMounts, float], tuple[T, int | None]],
        found: T,
        pids: Sequence[int],
        home: AttachedMounts,
    ) -> tuple[T, tuple[Gap, ...]]:
        """Without what processes have that hang, which are a gap."""
        hung: int | None = None
        asked = [pid for pid in pids if pid not in self._hung_processes]
        for _attempt in range(_MOST_HUNG):
            found, hung = search(asked, home, DEADLINE)
            if hung is None:
                break
            self._hung_processes |= {hung}
            asked = [pid for pid in asked if pid != hung]
        missed = len(asked) if hung is not None else sum(pid in self._hung_processes for pid in pids)
        return found, (Gap("what a process holds open", "it hangs", None, missed),) if missed else ()

    def _asked(self, left: Mapping[int, list[Link]], places: tuple[bytes, ...]) -> Iterator[tuple[int, Kept]]:
        """By mount id."""
        if not left:
            return
        try:
            answers = child.ask(partial(_ask, left, places), deadline=DEADLINE, what="the question for a file system")
        except NoAnswer:
            answers = self._one_by_one(left, places)
        for mount, answer in answers.items():
            uses = tuple(Use(link.pid, _comm(link.pid), link.how) for link in left[mount][:_MOST_USES])
            bare = all(link.path == b"/" and link.how.startswith("fd ") for link in left[mount])
            sure = answer.upper or answer.fstype != "overlay"
            yield mount, Kept(answer.device, answer.fstype, uses, answer.path, answer.upper, sure, bare)

    def _one_by_one(self, left: Mapping[int, list[Link]], places: tuple[bytes, ...]) -> dict[int, SuperblockOfLink]:
        answers: dict[int, SuperblockOfLink] = {}
        hung = set[int]()
        for mount, many in left.items():
            if len(hung) == _MOST_HUNG:
                break
            try:
                answers |= child.ask(
                    partial(_ask, {mount: many}, places), deadline=ONE, what="the question for a file system"
                )
            except NoAnswer:
                hung.add(mount)
        self._hung = (self._hung & left.keys()) | hung
        return answers


def identify(links: Iterable[Link], places: tuple[bytes, ...]) -> dict[int, SuperblockOfLink]:
    """By mount id, what links on detached mounts are of: overlays and file systems on block devices.

    Raises: NoAnswer where a file system among them hangs.
    """
    by_mount: dict[int, list[Link]] = {}
    for link in links:
        by_mount.setdefault(link.mount, []).append(link)
    question = partial(_ask, by_mount, places)
    return child.ask(question, deadline=DEADLINE, what="the question for a file system") if by_mount else {}


def ids_in(block: bytes) -> set[bytes]:
    """The small mount ids of the lines of a text, as they are written."""
    return {line.partition(b" ")[0] for line in block.split(b"\n")}


class Mounted:
    """Which of some mount ids and devices a namespace has, by the texts that a scan reads anyway and by all others."""

    def __init__(self, ids: Iterable[int], devices: Iterable[str], known: Iterable[str] = ()) -> None:
        """The devices `known` are mounted for certain."""
        self.asked = bool(ids) or bool(devices)
        self.devices = set(known)
        """Those that are mounted."""
        self._ids = {b"%d" % one for one in ids}
        """Those that no text has shown yet."""
        self._missing = {one.encode() for one in devices if one not in self.devices}
        self.shown: dict[int, set[int]] = {}
        """By inode of each namespace whose text was looked at: which of the ids it has."""

    def has(self, mount: int, but: Collection[int] = ()) -> bool:
        """Whether a namespace has the mount of that id, or it is one of those that are left out."""
        return mount in but or b"%d" % mount not in self._ids

    def take(self, inode: int, lines: MountLines) -> None:
        """Look at the text of a namespace. Raises: OSError as reading does."""
        shown = self.shown.setdefault(inode, set())
        for block in lines.blocks():
            if self._ids:
                here = ids_in(block) & self._ids
                self._ids -= here
                shown |= {int(one) for one in here}
            if self._missing:
                devices = {device for _identity, device in mountinfo.heads(block)} & self._missing
                self.devices |= {device.decode() for device in devices}
                self._missing -= devices

    def read(self, spaces: Iterable[Namespace], budgets: Budgets) -> None:
        """Look at the texts that were not handed over, while anything is missing.

        Raises: OSError, NoAnswer where one can't be read.
        """
        if self._ids or self._missing:
            others = [space for space in spaces if space.inode not in self.shown]
            for _inode, error in read_each(others, self._taken_each, budgets=budgets):
                if isinstance(error, OSError | NoAnswer):
                    raise error
                if not self._ids and not self._missing:
                    break

    def _taken_each(self, inode: int, lines: MountLines) -> bool:
        self.take(inode, lines)
        return True


@dataclass(frozen=True, slots=True)
class Search:
    """One search, from what processes and loop devices have to what namespaces have mounted."""

    by_mount: Mapping[int, Sequence[int]]
    """By mount id, the processes with links on it."""
    loops: Sequence[tuple[str, str, bytes]]
    places: tuple[bytes, ...]
    home: AttachedMounts
    gaps: tuple[Gap, ...]
    mounted: Mounted
    others: set[int] = field(default_factory=set)
    """Mount ids that no namespace has and that are of no interest: the kernel's own, such as nsfs's, are for ever, and
    others are of superblocks that are mounted.
    """


def _together(kept: Iterable[Kept]) -> Iterator[Kept]:
    """One for each superblock, by the path that says most of its layer."""
    by_device: dict[str, list[Kept]] = {}
    for one in kept:
        by_device.setdefault(one.device, []).append(one)
    for many in by_device.values():
        best = max(many, key=lambda one: (one.exact, one.sure, one.path is not None))
        uses = tuple(use for one in many for use in one.uses)
        yield replace(best, uses=uses, bare=all(one.bare for one in many))


# In the child:


def _ask(left: Mapping[int, list[Link]], places: tuple[bytes, ...]) -> dict[int, SuperblockOfLink]:
    mounts = list(_opened(places))
    answers: dict[int, SuperblockOfLink] = {}
    for mount, many in left.items():
        for link in many[:_MOST_LINKS]:
            with contextlib.suppress(OSError):
                answer = _of(link, mounts)
                if answer is not None and (mount not in answers or answer.upper):
                    answers[mount] = answer
                if answer is None or answer.upper or answer.fstype != "overlay":
                    break
    return answers


def _opened(places: Iterable[bytes]) -> Iterator[int]:
    """A descriptor of each directory; the child's end closes them."""
    for place in places:
        with contextlib.suppress(OSError):
            yield os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _of(link: Link, mounts: Sequence[int]) -> SuperblockOfLink | None:
    """What a link is of; None for what is never told, or where the link is another by now. Raises: OSError."""
    path = f"/proc/{link.at}".encode()
    kind = syscalls.statfs(path).f_type
    device = syscalls.superblock_device(path)
    now = syscalls.statx(abi.AT_FDCWD, path, abi.STATX_MNT_ID, abi.AT_STATX_DONT_SYNC | abi.AT_NO_AUTOMOUNT)
    is_block = device is not None and (not device.startswith("0:") or kind == abi.BTRFS_SUPER_MAGIC)
    if device is None or now.stx_mnt_id != link.mount or not (is_block or kind == abi.OVERLAYFS_SUPER_MAGIC):
        return None
    if is_block:
        return SuperblockOfLink(device, _NAMES.get(kind, ""), _node(device), False)
    return SuperblockOfLink(device, "overlay", *_real(path, mounts))


def _real(path: bytes, mounts: Sequence[int]) -> tuple[bytes | None, bool]:
    """The path of an overlay's file in its layer, and whether that is the upper one; None where no place has it.

    The handle holds the inode number and generation; that all times agree excludes another file system's file.
    """
    try:
        kind, handle = syscalls.file_handle(path)
        _version, magic, length, flags, real_kind = abi.OVL_FB.unpack_from(handle)
    except (OSError, struct.error):
        return None, False
    if kind != abi.OVL_FILEID_V1 or magic != abi.OVL_FH_MAGIC:
        return None, False
    real = handle[abi.OVL_FB.size : 3 + length]
    for mount in mounts:
        found = _path_of(mount, real_kind, real, os.stat(path))
        if found is not None:
            return found, bool(flags & abi.OVL_FH_FLAG_PATH_UPPER)
    return None, False


def _path_of(mount: int, kind: int, handle: bytes, like: os.stat_result) -> bytes | None:
    try:
        fd = syscalls.open_by_handle(mount, kind, handle)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if (status.st_mtime_ns, status.st_ctime_ns) != (like.st_mtime_ns, like.st_ctime_ns):
            return None
        return os.readlink(b"/proc/self/fd/%d" % fd).removesuffix(b" (deleted)")
    finally:
        os.close(fd)


def _loops() -> list[tuple[str, str, bytes]]:
    """Each loop device: its name, the device of the file behind it, and that file's path at its set-up, or now."""
    found = []
    for name, backing in block_devices.loops():
        device, first = block_devices.backing_device(name), block_devices.name_at_setup(name) or b""
        if device is not None:
            found.append((name, device, first if first.startswith(b"/") else backing))
    return found


def _devices(loops: Iterable[tuple[str, str, bytes]]) -> set[str]:
    """Of the files behind loop devices, and of these devices themselves."""
    return {one for name, device, _path in loops for one in (device, _own_device(name))}


def _own_device(loop: str) -> str:
    return processes.read_or_empty(f"/sys/block/{loop}/dev").decode().strip()


def _unsure(loops: Iterable[tuple[str, str, bytes]], home: AttachedMounts) -> bool:
    return any(device not in home.devices for _name, device, _path in loops)


def _by_loops(loops: Sequence[tuple[str, str, bytes]], mounted: Collection[str]) -> list[Kept]:
    """An overlay's files may have a device that is no superblock's, mounted or not: it must live for certain."""
    lives = superblocks.by_ustat({device for _name, device, _path in loops if device.startswith("0:")})
    found = []
    for name, device, path in loops:
        own = _own_device(name)
        if device in mounted or (not device.startswith("0:") and own in mounted):
            continue  # what is mounted of a file that no namespace shows may be how this host starts
        if not device.startswith("0:") or lives.get(device):
            use = Use(0, "", f"loop device /dev/{name}")
            found.append(
                Kept(device, "", (use,), _node(device) or path, len(path) < block_devices.LONGEST_NAME, sure=True)
            )
    return found


def _node(device: str) -> bytes | None:
    """The path of a block device, by sysfs; None of what is none."""
    try:
        return b"/dev/" + os.path.basename(os.readlink(f"/sys/dev/block/{device}".encode()))
    except OSError:
        return None


def _comm(pid: int) -> str:
    return os.fsdecode(processes.read_or_empty(f"/proc/{pid}/comm").rstrip(b"\n"))
