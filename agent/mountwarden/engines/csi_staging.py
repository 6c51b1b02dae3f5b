"""kubelet: the volume that a CSI driver staged, whose block device has gone from the host.

NodeStageVolume mounts a device once for all pods of the node, at plugins/kubernetes.io/csi/DRIVER/HASH/globalmount
(kubernetes, pkg/volume/csi/csi_attacher.go, makeDeviceMountPath); NodePublishVolume binds that into each pod. Where the
device is taken away first, the mount stays and every access fails; kubelet asks the driver to unstage only what it
knows from its API server (pkg/kubelet/volumemanager/reconciler).
A block device is gone when /sys/dev/block has none of its number (block/genhd.c, del_gendisk): its number is not given
out again while the mount keeps it. That the node by which it was mounted is gone, or is of another device, proves
nothing: a logical volume may be renamed under its mount, and a driver may have mounted it by a node that only its own
container has. Nor is a volume left that a pod still has.
"""

import os
from functools import partial

from ..escape import printable
from ..model import Match, Mount, is_on_block_device
from ..model.ownership import OWNER_UNKNOWN, LeftBehind, Owned, Ownership
from ..observe import unix_sockets
from . import daemon_alive, kubelet
from .proof import Inquiry, Pairs

_DEVICES = "/sys/dev/block"
_PROOF = "kubelet runs, the volume's block device has gone from the host, no pod has it"


def claims(match: Match) -> bool:
    """Whether it is for this module to say who owns a mount there."""
    parts = match.rel.split(b"/")
    return match.root.engine == kubelet.ENGINE and parts[0] == b"plugins" and parts[-1] == b"globalmount"


def owners(inquiry: Inquiry, pairs: Pairs) -> list[Ownership]:
    """One for each, all of one root. Raises: NoAnswer, OSError where something can't be asked."""
    root = pairs[0][0].root
    daemon = inquiry.daemon(root)
    if daemon is None:
        return [OWNER_UNKNOWN] * len(pairs)
    if sockets := unix_sockets.own(daemon.pid):
        inquiry.ask(daemon, partial(daemon_alive.answer, daemon, sockets), 0)
    known = frozenset(os.listdir(_DEVICES))
    return [_owner(inquiry, mount, known) for _match, mount in pairs]


def _owner(inquiry: Inquiry, mount: Mount, known: frozenset[str]) -> Ownership:
    if not known or not is_on_block_device(mount) or mount.device.startswith("0:") or mount.device in known:
        return OWNER_UNKNOWN
    if _has_a_pod(inquiry, mount.device):
        return OWNER_UNKNOWN
    return Ownership(Owned.GONE, LeftBehind.STAGING, _PROOF, f"the block device {printable(mount.source)}")


def _has_a_pod(inquiry: Inquiry, device: str) -> bool:
    return any(
        mount.device == device and state.matches[spot].rel.startswith(b"pods/")
        for state in inquiry.roots
        if state.root.engine == kubelet.ENGINE
        for spot, mounts in state.live.items()
        for mount in mounts
    )
