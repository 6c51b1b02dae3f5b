"""From what was typed to what is meant: a path, a device, a container, or a mount id."""

import contextlib
import glob
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from ..errors import MountwardenError
from ..escape import sentence
from ..model import Gap, Mount, Root
from ..mounts.table import Table, below, join
from ..observe import all_mounts, paths, processes
from ..systemd.cgroups import place as cgroup_place
from . import containers
from .answer import BusyTarget
from .known_containers import KnownContainer
from .world import World

HINT = "give a path, a device such as /dev/loop0 or 7:0, a container's name or id, or a mount id"
_FIRST_UNIQUE = 1 << 31
"""Unique mount ids begin here (fs/namespace.c: MNT_UNIQUE_ID_OFFSET), so that none is taken for a small one."""


def target(asked: str, world: World, roots: Callable[[], Iterable[Root]]) -> BusyTarget:
    """What is meant. Raises: MountwardenError where there is no such thing."""
    if re.fullmatch(r"[0-9]+:[0-9]+", asked):
        return BusyTarget(asked, asked, nodes=_nodes(asked))
    if space := _space(asked):
        return BusyTarget(asked, _nsfs(), b"%b:[%d]" % (space[0].encode(), space[1]), space=space)
    if re.fullmatch(r"[0-9]{1,20}", asked) and (mount := _by_id(int(asked), world)):
        return _of_mount(asked, mount, world)
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", asked) and not os.path.lexists(asked):
        known, gaps = containers.find(asked, roots())
        if found := _container(asked, known, world, gaps):
            return found
    return _path(asked, world)


_NSFS = re.compile(r"(cgroup|ipc|mnt|net|pid|time|user|uts):\[([0-9]{1,20})\]")
_EVERYWHERE = frozenset(
    {
        *("proc", "sysfs", "devtmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "bpf", "tracefs", "debugfs"),
        *("securityfs", "selinuxfs", "smackfs", "efivarfs", "pstore", "configfs", "fusectl", "binfmt_misc"),
    }
)
"""Types whose one file system is mounted all over a host and never ends: only one mount of it can be meant."""


def _by_id(identity: int, world: World) -> Mount | None:
    if identity >= _FIRST_UNIQUE:
        found = all_mounts.by_unique_id(identity, world.namespaces.values())
        table = world.tables.get(found[0]) if found else None
        return table.get(found[1]) if found and table else None
    tables = (world.home, *world.tables.values())
    return next((mount for table in tables if (mount := table.get(identity))), None)


def _whole(asked: str, mount: Mount) -> BusyTarget:
    return BusyTarget(asked, mount.device, nodes=_nodes(mount.device))


def _path(asked: str, world: World) -> BusyTarget:
    try:
        found = paths.place(os.fsencode(asked))
    except FileNotFoundError as error:
        if not asked.startswith("/"):
            raise MountwardenError(f"{asked}: {error.strerror}", hint=HINT) from error
        return _removed(asked, world)
    except OSError as error:
        raise MountwardenError(f"{asked}: {error.strerror}", hint=HINT) from error
    if found.rdev is not None:
        return BusyTarget(asked, found.rdev, nodes=_nodes(found.rdev))
    mount = (world.home.get(found.mount) if found.mount else None) or world.home.containing(found.path)
    if mount is None:
        raise MountwardenError(f"{asked}: its mount is not in our namespace", hint=HINT)
    rest = below(mount.point, found.path)
    return BusyTarget(asked, mount.device, join(mount.root, rest)) if rest else _of_mount(asked, mount, world)


def _of_mount(asked: str, mount: Mount, world: World) -> BusyTarget:
    """Its file system; a namespace that it is bound of; only the mount itself, where others show other things."""
    if mount.fstype == "nsfs" and (space := _space(os.fsdecode(mount.root))):
        return BusyTarget(asked, mount.device, mount.root, space=space)
    if mount.fstype not in _EVERYWHERE and not _is_part(mount):
        return _whole(asked, mount)
    part = None if mount.root == b"/" else mount.root
    return BusyTarget(asked, mount.device, part, mounts=world.meant(mount))


def _is_part(mount: Mount) -> bool:
    """Whether it shows a directory or a file of its file system: a bind mount, no subvolume (btrfs names that)."""
    return mount.root != b"/" and b"subvol=" + mount.root not in mount.super_options.split(b",")


def _space(text: str) -> tuple[str, int] | None:
    """The namespace that `net:[4026531840]` means, or a link of /proc that reads so."""
    with contextlib.suppress(OSError):
        text = os.readlink(text) if text.startswith("/proc/") else text
    match = _NSFS.fullmatch(text)
    return (match[1], int(match[2])) if match else None


def _nsfs() -> str:
    device = os.stat("/proc/self/ns/mnt").st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def _removed(asked: str, world: World) -> BusyTarget:
    """A path that is not there any more, below the nearest directory that is. Raises: MountwardenError."""
    above, name = os.path.split(os.path.normpath(asked))
    found = _path(above, world)
    return BusyTarget(asked, found.device, join(found.path or b"/", os.fsencode(name)), removed=True)


def _container(asked: str, known: KnownContainer | None, world: World, gaps: tuple[Gap, ...]) -> BusyTarget | None:
    """The file system of its root, while it runs; else its layer, by the engine's own record.

    None where there is none of that name, and no id that begins so.
    """
    identity = known.id if known else asked
    by_prefix = known is None and re.fullmatch(r"[0-9a-f]{12,64}", asked) is not None
    meant = str(known) if known else ""
    for inode, space in world.namespaces.items():
        table = world.tables.get(inode)
        if table and inode != world.own and any(_is_in(pid, identity, by_prefix) for pid in space.pids):
            root = _root(table)
            if root is not None:
                return replace(_whole(asked, root), meant=meant)
    if known is not None and known.layer is not None:
        return replace(_path(known.layer, world), asked=asked, meant=meant)
    if not by_prefix and not gaps:
        return None
    unread = "".join(f"; could not read {sentence(gap.what)}: {gap.reason}" for gap in gaps[:1])
    raise MountwardenError(f"no container {asked} is running here, and no engine knows one{unread}", hint=HINT)


def _root(table: Table) -> Mount | None:
    root = table.root()
    return table.top(root) if root is not None else None


def _is_in(pid: int, container: str, by_prefix: bool) -> bool:
    try:
        found = cgroup_place(processes.read(f"/proc/{pid}/cgroup")).container
    except OSError:
        return False
    return found is not None and (found == container or (by_prefix and found.startswith(container)))


def _nodes(device: str) -> tuple[str, ...]:
    """The block device itself and its partitions; nothing for an anonymous device."""
    base = f"/sys/dev/block/{device}"
    if not os.path.isdir(base):
        return ()
    partitions = (os.path.dirname(path) for path in glob.glob(f"{base}/*/partition"))
    return (device, *(processes.read(f"{part}/dev").decode().strip() for part in sorted(partitions)))
