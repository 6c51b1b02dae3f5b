"""The processes that keep a target busy: by their working directory, root, executable, files, mappings and sockets."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ..errors import NoAnswer
from ..explain import holders, stopping
from ..model import Gap, Holder, Mount
from ..mounts.table import below, join
from ..observe import unmounted
from ..observe.open_files import Link
from ..observe.unmounted import SuperblockOfLink
from ..predict.occupants import bound_sockets
from .answer import BusyTarget, Keeper
from .mounts import is_on, on_target
from .world import World

_NEEDS = {"cwd": "leave the directory", "file": "close it", "device": "close it", "socket": "close it"}


def identified(
    target: BusyTarget, world: World, found: Iterable[Link]
) -> tuple[dict[int, SuperblockOfLink], tuple[Gap, ...]]:
    """By small mount id, of which file system each detached mount is that processes have open; what did not answer."""
    places = world.graph.places
    detached = [link for link in found if link.mount and link.mount not in places and link.path.startswith(b"/")]
    try:
        return unmounted.identify(detached, tuple(_places(target, world))), ()
    except NoAnswer as error:
        return {}, (Gap("what is kept open and mounted nowhere", error.message),)


def _places(target: BusyTarget, world: World) -> Iterator[bytes]:
    """Directories of our own namespace on the target's file system: the target itself, and those above it."""
    for mount in world.home.mounts if target.path is not None else ():
        rest = below(mount.root, target.path or b"") if mount.device == target.device else None
        if rest is not None and world.home.visible(mount):
            parts = rest.split(b"/")
            yield from (join(mount.point, b"/".join(parts[:many])) for many in range(len(parts), -1, -1))
            return


def keepers(
    target: BusyTarget, world: World, found: Iterable[Link], detached: Mapping[int, SuperblockOfLink]
) -> Iterator[Keeper]:
    """Every process that is in, or has open, something of the target.

    `found` is all that processes have open; `detached` says of which file system it is, where no table has its mount.
    """
    known: dict[int, Holder | None] = {}
    found = list(found)
    for link in (*found, *_sockets(target, world, found)):
        place = world.graph.places.get(link.mount)
        if place is not None:
            inside = _is_inside(link, place.mount, target)
        else:
            inside = _is_detached_of(link.device, detached.get(link.mount), target, world)
        how = _how(link, target, inside=inside)
        if how is None:
            continue
        if link.pid not in known:
            known[link.pid] = _holder(link.pid)
        needs, command = _needs(how, link.pid, known[link.pid])
        yield Keeper(
            how=how,
            where=link.path,
            needs=f"process {link.pid} must {needs}",
            command=command,
            namespace=world.by_pid.get(link.pid),
            mount=link.mount,
            holders=tuple(holder for holder in (known[link.pid],) if holder),
            detail=(link.how if how in ("file", "device") else "") + _detached(target, is_attached=place is not None),
        )


def folded(keepers: Iterable[Keeper]) -> Iterator[Keeper]:
    """The same, with the descriptors that a process has of one file as one."""
    same: dict[tuple[object, ...], list[Keeper]] = {}
    for one in keepers:
        same.setdefault((one.how, one.where, one.mount, one.holders, one.needs), []).append(one)
    for first, *rest in same.values():
        yield replace(first, detail=f"{first.detail} and {len(rest)} more") if rest and first.detail else first


def _detached(target: BusyTarget, *, is_attached: bool) -> str:
    return "" if is_attached or target.space else " on a detached mount"  # nsfs files are opened on a mount of its own


def _sockets(target: BusyTarget, world: World, found: Iterable[Link]) -> Iterator[Link]:
    """Sockets bound to a path, as if they were open files: their descriptors do not show it."""
    mounts = frozenset(one.mount.id for one in world.graph.places.values() if is_on(one.mount, target))
    if target.space is None:
        for one in bound_sockets(mounts, world.survey, found):
            yield Link(one.pid, one.how, one.mount, "", "0:0", one.path)


def _needs(how: str, pid: int, holder: Holder | None) -> tuple[str, str | None]:
    if pid == 1:  # with which the host would end
        return _NEEDS.get(how, "release it"), None
    stop = stopping.stop(holder) if holder else None
    needs = f"{_NEEDS[how]}, or end" if how in _NEEDS else "end"
    return (f"{needs}; or {stop.words}", stop.command) if stop else (needs, None)


def _how(link: Link, target: BusyTarget, *, inside: bool) -> str | None:
    if target.space is not None:
        return "file" if (link.device, link.inode) == (target.device, target.space[1]) else None
    if link.rdev in target.nodes:
        return "device"
    return ("file" if link.how.startswith("fd ") else link.how) if inside else None


def _is_inside(link: Link, mount: Mount, target: BusyTarget) -> bool:
    whole = target.mounts is not None or target.path is None
    return is_on(mount, target) and (whole or _below(link, mount, target.path or b""))


def _is_detached_of(device: str, known: SuperblockOfLink | None, target: BusyTarget, world: World) -> bool:
    """Whether what is on a detached mount, which is in no table, is on the target, or on an overlay with a file there.

    Where the mount's file system is not `known`, there is only the object's own `device`.
    """
    if target.mounts is not None:
        return False
    if target.path is None and (known.device if known else device) in (target.device, *target.nodes):
        return True
    layer = known.path if known and known.fstype == "overlay" else None
    return layer is not None and on_target(layer, target, world.home)


def _below(link: Link, mount: Mount, path: bytes) -> bool:
    """Whether the link's path, as its namespace shows it, lies below a directory of the file system."""
    rest = below(mount.point, link.path.removesuffix(b" (deleted)"))
    return rest is not None and below(path, join(mount.root, rest)) is not None


def _holder(pid: int) -> Holder | None:
    try:
        return holders.holder(pid)
    except OSError:
        return None
