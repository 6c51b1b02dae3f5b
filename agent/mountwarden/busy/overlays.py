"""Overlays that are made of a target. Only their options say so: paths, as whoever mounted them saw them.

Such a path is believed only where it leads to the target now, in the namespace that shows the overlay; in our own,
where the overlay is the very root of another namespace, as a container's is, or where one of our user namespace
shows it and has none of its paths. One that leads there only through the overlay itself is another directory of the
same name: the overlay was mounted before its path was. Relative paths say nothing: nobody knows from where.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from ..errors import NoAnswer
from ..model import Gap, Mount
from ..mounts.mountinfo import unescape
from ..mounts.table import Table, below, join
from ..observe import paths
from ..observe.paths import ResolvedPath
from .answer import BusyTarget
from .world import World

_LAYER = re.compile(rb"(?:lowerdir\+?|upperdir|workdir|datadir\+)=((?:\\.|[^,\\])*)")

_Overlay = tuple[str, bytes]
"""One overlay: its device, and its options."""


def layers(target: BusyTarget, world: World) -> tuple[dict[str, str], tuple[Gap, ...]]:
    """The devices of the overlays that have a layer on the target, each with the option that says so."""
    shown: dict[_Overlay, list[tuple[int, Mount]]] = {}
    for inode, table in world.tables.items():
        for mount in table.mounts:
            if mount.fstype == "overlay" and mount.root == b"/" and mount.device != target.device:
                shown.setdefault((mount.device, mount.super_options), []).append((inode, mount))
    found: dict[str, str] = {}
    gaps: tuple[Gap, ...] = ()
    views = _by_view(shown, world)
    absent: list[_Overlay] = []
    for inode in sorted(views, key=lambda inode: inode == world.own):
        overlays = views[inode] + (absent if inode == world.own else [])
        wanted = {path for one in overlays for _option, path in _options(one[1])}
        try:
            places = paths.places(wanted, None if inode == world.own else world.namespaces[inode]) if wanted else {}
        except (NoAnswer, OSError) as error:
            gaps += (Gap("the layers of overlays", str(error), inode),)
            continue
        for one in overlays:
            option = next(_believed(one, places, target, world.tables[inode]), None)
            if option is not None:
                found.setdefault(one[0], option)
            elif inode != world.own and not any(path in places for _option, path in _options(one[1])):
                absent += [one] if world.survey.owners.get(inode) == world.survey.owners.get(world.own) else []
    return found, gaps


def _by_view(shown: Mapping[_Overlay, list[tuple[int, Mount]]], world: World) -> dict[int, list[_Overlay]]:
    """In which namespace the paths of each overlay are to be walked first; our own is always one."""
    views: dict[int, list[_Overlay]] = {world.own: []}
    for overlay, places in shown.items():
        inodes = {inode for inode, _mount in places}
        is_root = any(_is_root(mount, world.tables[inode]) for inode, mount in places)
        views.setdefault(world.own if world.own in inodes or is_root else min(inodes), []).append(overlay)
    return views


def _is_root(mount: Mount, table: Table) -> bool:
    root = table.root()
    return root is not None and root.device == mount.device


def _believed(
    overlay: _Overlay, places: Mapping[bytes, ResolvedPath], target: BusyTarget, table: Table
) -> Iterator[str]:
    for option, path in _options(overlay[1]):
        place = places.get(path)
        mount = table.get(place.mount) if place is not None and place.mount is not None else None
        if place is None or mount is None or any(one.device == overlay[0] for one in _above(mount, table)):
            continue
        rest = below(mount.point, place.path)
        if rest is None or mount.device not in (target.device, *target.nodes):
            continue
        if target.path is None or below(target.path, join(mount.root, rest)) is not None:
            yield option


def _above(mount: Mount, table: Table) -> Iterable[Mount]:
    """The mount and all that it is mounted in."""
    seen: dict[int, Mount] = {}
    one: Mount | None = mount
    while one is not None and one.id not in seen:
        seen[one.id] = one
        one = table.get(one.parent)
    return seen.values()


def _options(super_options: bytes) -> Iterator[tuple[str, bytes]]:
    """Each layer of an overlay: the option, and an absolute path."""
    for option in _LAYER.finditer(super_options):
        for part in re.split(rb"(?<!\\):+", unescape(option[1])):
            path = re.sub(rb"\\(.)", rb"\1", part)
            if path.startswith(b"/"):
                yield option[0].partition(b"=")[0].decode(), path
