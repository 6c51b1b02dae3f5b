"""kubelet: the volumes that it and CSI drivers mount, for pods and once for all pods of a node.

Below the root directory (kubelet's `--root-dir`, default /var/lib/kubelet), by kubelet's own code:
pods/UID/volumes/PLUGIN/NAME, pods/UID/volume-subpaths/VOLUME/CONTAINER/INDEX, and device mounts that pods share:
plugins/DRIVER/globalmount, plugins/kubernetes.io/csi/{DRIVER/HASH,pv/PV}/globalmount, and of the built-in drivers
plugins/kubernetes.io/PLUGIN/mounts/NAME.
"""

from ..config.schema import Config
from ..model import Layout, MountClass, Root, RootKind
from .command_line import option
from .sources import Host

ENGINE = "kubelet"
COMMAND = "kubelet"
ROOT_DIR = b"/var/lib/kubelet"

_PATTERNS = (
    b"pods/*/volumes/*/*",
    b"pods/*/volume-subpaths/*/*/*",
    b"plugins/*/globalmount",
    b"plugins/kubernetes.io/csi/*/globalmount",
    b"plugins/kubernetes.io/csi/*/*/globalmount",
    b"plugins/kubernetes.io/*/mounts/*",
)
LAYOUT = tuple(Layout(pattern, None, MountClass.VOLUME) for pattern in _PATTERNS)


def roots(host: Host, _config: Config) -> list[Root]:
    """The root directory of each running kubelet; else the default one where it is there. Raises OSError."""
    daemons = host.of(COMMAND)
    if not daemons:
        path = host.realpath(ROOT_DIR)
        return [_root(path, None, None)] if path else []
    found = []
    for daemon in daemons:
        path = host.realpath(option(daemon.argv, b"--root-dir") or ROOT_DIR, daemon)
        if path:
            found.append(_root(path, daemon.namespace, None if daemon.own else daemon.pid))
    return found


def _root(path: bytes, home: int | None, pid: int | None) -> Root:
    # CSI drivers mount in namespaces of their own and propagate to PID 1's; kubelet needs not run for that.
    return Root(path=path, engine=ENGINE, kind=RootKind.VOLUME, layout=LAYOUT, home=home, home_pid=pid)
