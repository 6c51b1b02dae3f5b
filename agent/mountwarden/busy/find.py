"""All that keeps a target busy."""

from collections.abc import Callable, Iterable

from ..model import Root
from . import devices, mounts, processes
from .answer import BusyReport
from .target import target
from .world import world


def who(asked: str, roots: Callable[[], Iterable[Root]] = tuple) -> BusyReport:
    """Who keeps `asked` busy: a path, a device, a container, or a mount id. Needs root to see all of it.

    A container that does not run, and one named by its name, is searched for in the engines' `roots`,
    which are only then determined.

    Raises: MountwardenError where there is no such thing.
    """
    seen = world()
    meant = target(asked, seen, roots)
    by_process, gaps = processes.keepers(meant, seen)
    found = (*mounts.keepers(meant, seen), *devices.keepers(meant, seen), *by_process)
    return BusyReport(meant, found, seen.gaps + gaps)
