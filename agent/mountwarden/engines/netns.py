"""Named network namespaces: files below /run/netns on which CNI plugins, podman and users mount nsfs.

By ip-netns(8) of iproute2 (ip/ipnetns.c, netns_add() and netns_delete(): the file is unlinked after the umount, which
takes every copy along); containers/common pkg/netns/netns_linux.go, NewNS() and UnmountNS(), and containerd
pkg/netns/netns_linux.go, newNS() and unmountNS(), do the same. There is no record.
"""

from ..config.schema import Config
from ..model import Layout, MountClass, Root, RootKind
from .sources import Host

ENGINE = "netns"
DIRECTORY = b"/run/netns"
LAYOUTS = (Layout(b"*", "nsfs", MountClass.NETNS, is_file=True),)


def roots(host: Host, _config: Config) -> list[Root]:
    """The directory, where it is there. Raises: OSError."""
    path = host.realpath(DIRECTORY)
    return [Root(path=path, engine=ENGINE, kind=RootKind.NETNS, layout=LAYOUTS, home=None)] if path else []
