"""Named network namespaces, ip-netns(8): files below /run/netns on which CNI plugins, podman and users mount nsfs."""

from ..config.schema import Config
from ..model import Layout, MountClass, Root, RootKind
from .sources import Host

ENGINE = "netns"
DIRECTORY = b"/run/netns"


def roots(host: Host, _config: Config) -> list[Root]:
    """The directory, where it is there. Raises: OSError."""
    path = host.realpath(DIRECTORY)
    layout = (Layout(b"*", "nsfs", MountClass.NETNS, is_file=True),)
    return [Root(path=path, engine=ENGINE, kind=RootKind.NETNS, layout=layout, home=None)] if path else []
