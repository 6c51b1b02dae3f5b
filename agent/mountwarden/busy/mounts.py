"""The mounts that keep a target busy: of it, on it, and overlays that are made of it."""

from collections.abc import Iterator, Mapping

from ..explain import naming, stopping
from ..explain.members import Members
from ..model import Mount, Namespace
from ..mounts.table import Table, below, join
from .answer import BusyTarget, Keeper
from .world import World

_FEW = 3


def keepers(target: BusyTarget, world: World, layers: Mapping[str, str]) -> Iterator[Keeper]:
    """Every mount in any namespace that keeps the target busy; `layers` as overlays.layers() gives them.

    An overlay that is made of the target is told once for each namespace, however many binds show a part of it.
    """
    for inode, table in world.tables.items():
        overlays: dict[str, list[Mount]] = {}
        for mount in table.mounts:
            if mount.device in layers and not is_of(mount, target):
                overlays.setdefault(mount.device, []).append(mount)
            elif role := _role(mount, target, table):
                yield _keeper(*role, mount, inode, world)
        for device, mounts in overlays.items():
            first, *rest = sorted(mounts, key=lambda mount: mount.root != b"/")
            on_it = [(mount, role) for mount in rest if (role := _role(mount, target, table))]
            many = len(rest) - len(on_it)
            more = f", and {many} more mounts of it" if many else ""
            yield _keeper("overlay", f"{layers[device]}, by its options{more}", first, inode, world)
            for mount, role in on_it:
                yield _keeper(*role, mount, inode, world)


def _keeper(how: str, detail: str, mount: Mount, inode: int, world: World) -> Keeper:
    own = inode == world.own
    members = None if own else world.members(inode)
    needs, command = _needs(world.namespaces[inode], members)
    return Keeper(
        how=how,
        where=mount.point,
        needs=needs,
        command=command,
        namespace=inode,
        mount=mount.id,
        holders=members.holders[:_FEW] if members else (),
        detail=detail,
    )


def _role(mount: Mount, target: BusyTarget, table: Table) -> tuple[str, str] | None:
    """How the mount keeps the target busy, with a detail: a mount of it, or stacked on it."""
    if is_of(mount, target):
        return "mount", mount.fstype
    parent = table.get(mount.parent)
    if parent is None or parent is mount:
        return None
    if target.mounts is not None:
        return ("stacked", f"{mount.fstype} on it") if parent.id in target.mounts else None
    if parent.device == target.device:
        spot = join(parent.root, below(parent.point, mount.point) or b"")
        if target.path is None or below(target.path, spot) is not None:
            return "stacked", f"{mount.fstype} on it"
    return None


def is_of(mount: Mount, target: BusyTarget) -> bool:
    """Whether the mount shows the target, or a part of it."""
    if target.mounts is not None:
        return mount.id in target.mounts
    if mount.device != target.device and mount.device not in target.nodes:
        return False
    return target.path is None or below(target.path, mount.root) is not None


def on_target(path: bytes, target: BusyTarget, table: Table) -> bool:
    """Whether a path of a namespace lies on the target, by its table alone."""
    mount = table.containing(path)
    if mount is None or not is_on(mount, target):
        return False
    inside = join(mount.root, below(mount.point, path) or b"")
    return target.mounts is not None or target.path is None or below(target.path, inside) is not None


def is_on(mount: Mount, target: BusyTarget) -> bool:
    """Whether what is on that mount may be on the target."""
    if target.mounts is not None:
        return mount.id in target.mounts
    return mount.device == target.device or mount.device in target.nodes


def _needs(space: Namespace, members: Members | None) -> tuple[str, str | None]:
    """What would release it, and a command. `members` are None of our own namespace."""
    if members is None:
        return "umount it here", None
    if space.door is not None and not space.pids:
        how = {
            "bind": "unmount the nsfs file that keeps its namespace",
            "fd": "the process that keeps its namespace open must close it",
        }
        return how.get(space.door.via, "what keeps its namespace must release it"), None
    if 1 in space.pids:
        return "umount it in its namespace", None  # the host ends with process 1
    first = members.holders[0] if members.holders else None
    if first and (stop := stopping.stop(first, restart=True)):
        return f"umount it in its namespace, or {stop.words}", stop.command
    if first and first.container:
        return f"umount it in its namespace, or stop {naming.container_of(first)}", None
    return "umount it in its namespace, or end its processes", None
