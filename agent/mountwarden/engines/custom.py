"""`[[root]]` entries of the configuration: directories of engines that have no module."""

from ..config.schema import Config, RootEntry
from ..model import Layout, MountClass, Root, RootKind
from .sources import Host

ENGINE = "custom"

_CLASSES = {RootKind.NETNS: MountClass.NETNS, RootKind.VOLUME: MountClass.VOLUME}


def roots(host: Host, config: Config) -> list[Root]:
    """The entries whose directories are there now. Raises: OSError."""
    return [_root(path, entry) for entry in config.roots if (path := host.realpath(entry.path))]


def _root(path: bytes, entry: RootEntry) -> Root:
    mount_class = _CLASSES.get(entry.kind, MountClass.LAYER)
    is_file = entry.kind is RootKind.NETNS
    layout = tuple(Layout(pattern, entry.fstype, mount_class, is_file) for pattern in entry.layout)
    return Root(path=path, engine=ENGINE, kind=entry.kind, layout=layout, home=None, rmdir_on_put=False)
