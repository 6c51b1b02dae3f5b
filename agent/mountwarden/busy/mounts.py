"""The mounts that keep a target busy: of it, on it, and overlays that are made of it."""

import functools
import re
from collections.abc import Iterator

from ..escape import unit_name
from ..explain import holders, naming
from ..explain.members import Members, service_of
from ..model import Mount, Namespace
from ..mounts.mountinfo import unescape
from ..mounts.table import Table, below, join
from ..observe import paths
from .answer import BusyTarget, Keeper
from .world import World

_LAYER = re.compile(rb"(?:lowerdir\+?|upperdir|workdir|datadir\+)=((?:\\.|[^,\\])*)")
_FEW = 3


def keepers(target: BusyTarget, world: World) -> Iterator[Keeper]:
    """Every mount in any namespace that keeps the target busy."""
    for inode, table in world.tables.items():
        space = world.namespaces[inode]
        known = None
        for mount in table.mounts:
            for how, detail in _roles(mount, target, table, world):
                known = known or holders.members(space)
                yield Keeper(
                    how=how,
                    where=mount.point,
                    needs=_needs(space, known, own=inode == world.own),
                    namespace=inode,
                    mount=mount.id,
                    holders=known.holders[:_FEW] if inode != world.own else (),
                    detail=detail,
                )


def _roles(mount: Mount, target: BusyTarget, table: Table, world: World) -> Iterator[tuple[str, str]]:
    """How the mount keeps the target busy, with a detail: a mount of it, or stacked on it, or made of it."""
    if is_of(mount, target):
        yield "mount", mount.fstype
        return
    if mount.fstype == "overlay" and (layer := _layer_in(mount, target, table, world)):
        yield "overlay", layer
    parent = table.get(mount.parent)
    if parent is not None and parent is not mount and parent.device == target.device:
        spot = join(parent.root, below(parent.point, mount.point) or b"")
        if target.path is None or below(target.path, spot) is not None:
            yield "stacked", f"{mount.fstype} on it"


def is_of(mount: Mount, target: BusyTarget) -> bool:
    """Whether the mount shows the target, or a part of it."""
    if mount.device != target.device and mount.device not in target.nodes:
        return False
    return target.path is None or below(target.path, mount.root) is not None


def _layer_in(mount: Mount, target: BusyTarget, table: Table, world: World) -> str | None:
    """Which of an overlay's layers is on the target.

    Only its options say it, and they are paths of the namespace in which it was made. That is the one that
    shows it where this has our root, else (a container's) ours where there is such a path.
    """
    if mount.device == target.device:
        return None
    inside = _has_our_root(table, world)
    for option in _LAYER.finditer(mount.super_options):
        for path in _paths(option[1]):
            if on_target(path, target, world.home if not inside and _is_here(path) else table):
                return f"{option[0].partition(b'=')[0].decode()}, by its options"
    return None


def _has_our_root(table: Table, world: World) -> bool:
    ours, theirs = world.home.root(), table.root()
    return ours is not None and theirs is not None and ours.identity == theirs.identity


@functools.cache
def _is_here(path: bytes) -> bool:
    try:
        paths.place(path)
    except OSError:
        return False
    return True


def _paths(value: bytes) -> Iterator[bytes]:
    for part in re.split(rb"(?<!\\):+", unescape(value)):
        path = re.sub(rb"\\(.)", rb"\1", part)
        if path.startswith(b"/"):
            yield path


def on_target(path: bytes, target: BusyTarget, table: Table) -> bool:
    """Whether a path of a namespace lies on the target, by its table alone."""
    mount = table.containing(path)
    if mount is None or (mount.device != target.device and mount.device not in target.nodes):
        return False
    inside = join(mount.root, below(mount.point, path) or b"")
    return target.path is None or below(target.path, inside) is not None


def _needs(space: Namespace, members: Members, *, own: bool) -> str:
    if own:
        return "umount it here"
    if space.door is not None and not space.pids:
        return {
            "bind": "unmount the nsfs file that keeps its namespace",
            "fd": "the process that keeps its namespace open must close it",
        }.get(space.door.via, "what keeps its namespace must release it")
    if 1 in space.pids:
        return "umount it in its namespace"  # the host ends with process 1
    first = members.holders[0] if members.holders else None
    if first and first.container:
        return f"umount it in its namespace, or stop {naming.container_name(first.container)}"
    if first and (unit := service_of(first)):
        return f"umount it in its namespace, or restart {unit_name(unit)}"
    return "umount it in its namespace, or end its processes"
