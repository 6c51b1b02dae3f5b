"""The whole answer."""

from . import devices, mounts, processes, tables
from . import target as targets
from .facts import Answer


def who(asked: str) -> Answer:
    """Who keeps `asked` busy: a path, a device, a container's id, or a mount id. Needs root to see all of it.

    Raises: MountwardenError where there is no such thing.
    """
    world = tables.world()
    target = targets.target(asked, world)
    by_process, gaps = processes.keepers(target, world)
    found = (*mounts.keepers(target, world), *devices.keepers(target, world), *by_process)
    return Answer(target, found, world.gaps + gaps)
