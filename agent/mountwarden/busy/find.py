"""The whole answer."""

from collections.abc import Callable, Iterable

from ..model import Root
from . import devices, mounts, processes
from . import target as targets
from . import world as tables
from .answer import BusyReport


def who(asked: str, roots: Callable[[], Iterable[Root]] = tuple) -> BusyReport:
    """Who keeps `asked` busy: a path, a device, a container, or a mount id. Needs root to see all of it.

    A container that does not run, and one named by its name, is looked for in the engines' `roots`,
    which are asked for then alone.

    Raises: MountwardenError where there is no such thing.
    """
    world = tables.world()
    target = targets.target(asked, world, roots)
    by_process, gaps = processes.keepers(target, world)
    found = (*mounts.keepers(target, world), *devices.keepers(target, world), *by_process)
    return BusyReport(target, found, world.gaps + gaps)
