"""All that keeps a target busy."""

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import replace

from ..errors import MountwardenError
from ..model import Root
from ..observe import open_files
from ..observe.processes import link_inode
from . import devices, living, managers, mounts, overlays, processes
from .answer import BusyReport, Follower, Keeper
from .target import HINT, target
from .world import World, world


def who(asked: str, roots: Callable[[], Iterable[Root]] = tuple) -> BusyReport:
    """Who keeps `asked` busy: a path, a device, a container, a mount id, or a namespace. Needs root to see all of it.

    A container that does not run, and one named by its name, is searched for in the engines' `roots`,
    which are only then determined.

    Raises: MountwardenError where there is no such thing.
    """
    seen = world()
    meant = target(asked, seen, roots)
    alone = meant.mounts is not None or meant.space is not None
    layers, gaps = ({}, ()) if alone else overlays.layers(meant, seen)
    links, more = open_files.links([pid for pid in seen.pids if pid != os.getpid()])  # we end before
    known, unknown = processes.identified(meant, seen, links)
    by_process, untold = managers.named(processes.keepers(meant, seen, links, known), links)
    mounted = tuple(mounts.keepers(meant, seen, layers))
    staying, followers = _split(mounted, seen, frozenset(one.mount for one in by_process if one.mount is not None))
    rest = (*devices.keepers(meant, seen), *living.keepers(meant, seen), *processes.folded(by_process))
    if meant.removed and not (staying or followers or rest):
        if meant.meant:
            raise MountwardenError(f"{meant.meant}: it does not run, and has no directory of its own while it does not")
        raise MountwardenError(f"{asked}: {os.strerror(errno.ENOENT)}", hint=HINT)
    return BusyReport(
        meant,
        (*staying, *rest),
        seen.gaps + gaps + more + unknown + untold,
        followers,
        own=seen.own,
        is_host=_is_host(seen),
        names={inode: seen.name(inode) for inode in {one.namespace for one in staying} - {None, seen.own} if inode},
    )


def _split(
    mounted: tuple[Keeper, ...], seen: World, busy: frozenset[int]
) -> tuple[tuple[Keeper, ...], tuple[Follower, ...]]:
    """What an umount here takes along keeps nothing busy; where a process is busy in it, that process does."""
    here = (seen.graph.places[one.mount].mount for one in mounted if one.namespace == seen.own and one.mount)
    along = seen.follows(sorted(here, key=lambda mount: not seen.home.visible(mount)))
    staying: list[Keeper] = []
    followers: list[Follower] = []
    for one in mounted:
        mount = seen.graph.places[one.mount].mount if one.mount else None
        shown = mount is None or (one.namespace == seen.own and seen.home.visible(mount))
        if one.mount not in along or one.namespace is None or shown:
            staying.append(one)
        elif one.mount in busy:
            staying.append(replace(one, needs="what is busy in it must release it; then it goes with an umount here"))
        else:
            name = "one beneath it here" if one.namespace == seen.own else seen.name(one.namespace)
            followers.append(Follower(one.namespace, one.mount, one.where, name, one.holders))
    return tuple(staying), tuple(followers)


def _is_host(seen: World) -> bool:
    try:
        return link_inode(1, "mnt") == seen.own
    except OSError:
        return False
