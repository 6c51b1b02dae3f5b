"""The processes that keep a target busy: by their working directory, root, executable, files and mappings."""

from collections.abc import Iterable, Iterator, Mapping

from ..explain import holders
from ..model import Gap, Holder, Mount
from ..mounts.table import below, join
from ..observe import open_files
from ..observe.open_files import Link
from .answer import BusyTarget, Keeper
from .world import World

_NEEDS = {"cwd": "leave the directory", "file": "close it", "device": "close it"}


def keepers(target: BusyTarget, world: World) -> tuple[tuple[Keeper, ...], tuple[Gap, ...]]:
    """Every process that is in, or has open, something of the target."""
    found, gaps = open_files.links(world.pids)
    by_id = {mount.id: mount for table in world.tables.values() for mount in table.mounts}
    return tuple(_kept(target, world, found, by_id)), gaps


def _kept(target: BusyTarget, world: World, found: Iterable[Link], by_id: Mapping[int, Mount]) -> Iterator[Keeper]:
    known: dict[int, Holder | None] = {}
    for link in found:
        mount = by_id.get(link.mount)
        how = _how(link, mount, target)
        if how is None:
            continue
        if link.pid not in known:
            known[link.pid] = _holder(link.pid)
        yield Keeper(
            how=how,
            where=link.path,
            needs=f"process {link.pid} must {_needs(how, link.pid)}",
            namespace=world.by_pid.get(link.pid),
            mount=link.mount,
            holders=tuple(holder for holder in (known[link.pid],) if holder),
            detail=(link.how if how in ("file", "device") else "") + ("" if mount else " on a detached mount"),
        )


def _needs(how: str, pid: int) -> str:
    if pid == 1:  # with which the host would end
        return _NEEDS.get(how, "release it")
    return f"{_NEEDS[how]}, or end" if how in _NEEDS else "end"


def _how(link: Link, mount: Mount | None, target: BusyTarget) -> str | None:
    if link.rdev in target.nodes:
        return "device"
    if mount is None:
        # A detached mount is in no table, and only the object's own device is known.
        inside = link.device == target.device and target.path is None
    else:
        inside = mount.device == target.device or mount.device in target.nodes
        inside = inside and (target.path is None or _below(link, mount, target.path))
    return ("file" if link.how.startswith("fd ") else link.how) if inside else None


def _below(link: Link, mount: Mount, path: bytes) -> bool:
    """Whether the link's path, as its namespace shows it, lies below a directory of the file system."""
    rest = below(mount.point, link.path.removesuffix(b" (deleted)"))
    return rest is not None and below(path, join(mount.root, rest)) is not None


def _holder(pid: int) -> Holder | None:
    try:
        return holders.holder(pid)
    except OSError:
        return None
