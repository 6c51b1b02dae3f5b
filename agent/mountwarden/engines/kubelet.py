"""kubelet: the volumes that it and CSI drivers mount, for pods and once for all pods of a node.

Below the root directory, by kubernetes pkg/kubelet/kubelet_getters.go, 1.20 to 1.34: pods/UID/volumes/PLUGIN/NAME
(getPodVolumeDir(); a CSI driver mounts on `mount` in it, pkg/volume/csi/csi_mounter.go, GetPath()), pods/UID/
volume-subpaths/VOLUME/CONTAINER/INDEX (k8s.io/mount-utils and pkg/volume/util/subpath/subpath_linux.go,
doBindSubPath()), and device mounts that pods share: plugins/DRIVER/globalmount,
plugins/kubernetes.io/csi/{DRIVER/HASH,pv/PV}/globalmount (pkg/volume/csi/csi_attacher.go, makeDeviceMountPath()), and
of the built-in drivers plugins/kubernetes.io/PLUGIN/mounts/NAME. kubelet removes a volume's directory right after its
umount (k8s.io/mount-utils mount_helper_common.go, CleanupMountPoint()). It keeps no record that says what is mounted.

The root directory is `--root-dir` of kubelet(8), default /var/lib/kubelet. In other distributions it is that of a
process of another name: microk8s' kubelite reads kubelet's options from the file of `--kubelet-args-file`
(canonical/microk8s microk8s-resources/default-args/kubelet: ${SNAP_COMMON}/var/lib/kubelet), k3s has it as
`--kubelet-arg=root-dir=…` (k3s-io/k3s pkg/cli/cmds/agent.go), and RKE2 runs kubelet(8) with k3s' default; k0s runs it
with /var/lib/k0s/kubelet (k0sproject/k0s pkg/component/worker/kubelet.go). CSI drivers mount in namespaces of their
own and propagate to PID 1's, so that no kubelet needs to run for any of this.
"""

import os
from collections.abc import Iterator
from functools import partial

from ..config.schema import Config
from ..model import Layout, MountClass, Root, RootKind
from ..observe.processes import Daemon
from .command_line import option, options
from .sources import Host

ENGINE = "kubelet"
ROOT_DIR = b"/var/lib/kubelet"
_SNAP_COMMON = b"/var/snap/microk8s/common"
USUAL = (ROOT_DIR, b"/var/lib/k0s/kubelet", _SNAP_COMMON + ROOT_DIR)
"""Where it is in one distribution or another."""

_PATTERNS = (
    b"pods/*/volumes/*/*",
    b"pods/*/volumes/kubernetes.io~csi/*/mount",
    b"pods/*/volume-subpaths/*/*/*",
    b"plugins/*/globalmount",
    b"plugins/kubernetes.io/csi/*/globalmount",
    b"plugins/kubernetes.io/csi/*/*/globalmount",
    b"plugins/kubernetes.io/*/mounts/*",
)
LAYOUTS = tuple(Layout(pattern, None, MountClass.VOLUME) for pattern in _PATTERNS)


def roots(host: Host, _config: Config) -> list[Root]:
    """The root directory of each running kubelet; else the usual ones that are there. Raises OSError."""
    found = [root for command in _ROOT_DIRS for root in host.each(command, partial(_of_daemon, host))]
    if found or any(map(host.of, _ROOT_DIRS)):
        return found
    paths = dict.fromkeys(path for usual in USUAL if (path := host.realpath(usual)))
    return [_root(path, None, None) for path in paths]


def _of_daemon(host: Host, daemon: Daemon) -> Iterator[Root]:
    directory = _ROOT_DIRS[daemon.comm](host, daemon)
    if directory and (path := host.realpath(directory, daemon)):
        yield _root(path, daemon.namespace, None if daemon.own else daemon.pid)


def _root(path: bytes, home: int | None, pid: int | None) -> Root:
    return Root(path=path, engine=ENGINE, kind=RootKind.VOLUME, layout=LAYOUTS, home=home, home_pid=pid)


def _of_kubelet(_host: Host, daemon: Daemon) -> bytes:
    return option(daemon.argv, b"--root-dir") or ROOT_DIR


def _of_kubelite(host: Host, daemon: Daemon) -> bytes:
    """By the file of kubelet's arguments, one on a line; ${SNAP_COMMON} and ${SNAP_DATA} are the snap's own."""
    file = option(daemon.argv, b"--kubelet-args-file")
    words = (host.read(file, daemon) or b"").split() if file else []
    found = option([b"", *words], b"--root-dir") or _SNAP_COMMON + ROOT_DIR
    data = os.path.dirname(os.path.dirname(file)) if file else b""
    for name, value in ((b"SNAP_COMMON", _SNAP_COMMON), (b"SNAP_DATA", data)):
        found = found.replace(b"${%s}" % name, value).replace(b"$%s/" % name, value + b"/")
    return found.strip(b"\"'")


def _of_k3s(_host: Host, daemon: Daemon) -> bytes | None:
    """By `--kubelet-arg root-dir=…`, of which there may be many; None for a client's command, such as `k3s kubectl`."""
    if not {b"server", b"agent"} & {*daemon.argv[1:2]} and daemon.comm == "k3s":
        return None
    given = (value.partition(b"=") for value in options(daemon.argv, b"--kubelet-arg"))
    return [ROOT_DIR, *(value for name, _, value in given if name == b"root-dir")][-1]


_ROOT_DIRS = {
    "kubelet": _of_kubelet,
    "kubelite": _of_kubelite,
    "k3s": _of_k3s,
    "k3s-server": _of_k3s,
    "k3s-agent": _of_k3s,
}
"""By command name, what finds the root directory of such a process."""
