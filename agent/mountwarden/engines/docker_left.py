"""Docker: layers and containers' file systems that dockerd has mounted and does not know any more.

What dockerd knows of a layer (moby, layer/filestore.go, layer/layer_store.go; since 29 below daemon/internal): a
container's are named by image/DRIVER/layerdb/mounts/ID/{mount-id,init-id}, an image's by layerdb/sha256/CHAIN/cache-id.
While it makes an image's layer, only layerdb/tmp/write-set-* says so (layer/filestore.go, StartTransaction), and the
layer's own name comes last: then no layer is said to be left. A container's layer is written down after its init layer
was mounted and unmounted (layer_store.go, initMount, saveMount): for a moment its name is nowhere. BuildKit in dockerd
mounts layers of the same driver by itself, and names them in buildkit/snapshots.db alone, before it mounts them
(builder/builder-next/adapters/snapshot/snapshot.go, Prepare, Mounts): a layer whose name is anywhere in that file, be
it in a page that is free again, is not said to be left. A container has containers/ID/config.v2.json before it has any
mount and until its last one is unmounted (daemon/create.go, create; daemon/delete.go, cleanupContainer). A stopped one
that `docker cp`, `commit` or `export` mounts has it too, and its layer its name.
"""

import os
import re
import time
from collections.abc import Sequence
from functools import partial

from ..escape import printable
from ..files import read_regular
from ..model import Match, Mount
from ..model.ownership import OWNER_UNKNOWN, LeftBehind, Owned, Ownership
from ..observe import unix_sockets
from . import docker, docker_api
from .proof import Inquiry, Pairs

_LIMIT = 64 << 20
_DRIVERS = (b"overlay2", b"overlay")
_LAYER = re.compile(rb"(?:[0-9a-f]{64}|[0-9a-z]{25})(?:-init)?")
"""A name that dockerd or BuildKit gives: not that of a trial mount (check-overlayfs-support…)."""
_CONTAINER = re.compile(rb"[0-9a-f]{64}")

_RUNS = "dockerd runs and answers"


def claims(match: Match) -> bool:
    """Whether it is for this module to say who owns a mount there."""
    if match.root.engine != docker.ENGINE:
        return False
    match match.rel.split(b"/"):
        case [driver, layer, b"merged"] if driver in _DRIVERS:
            return _LAYER.fullmatch(layer) is not None
        case [b"containers", name, b"mounts", b"shm"] | [b"containers", name, b"shm"] | [b"rootfs", _, name]:
            return _CONTAINER.fullmatch(name) is not None
    return False


def owners(inquiry: Inquiry, pairs: Pairs) -> list[Ownership]:
    """One for each, all of one root. Raises: NoAnswer, OSError, ValueError where something can't be asked."""
    root = pairs[0][0].root
    daemon = inquiry.daemon(root)
    if daemon is None:
        return [OWNER_UNKNOWN] * len(pairs)
    sockets = unix_sockets.own(daemon.pid)
    rels = [match.rel for match, _mount in pairs]
    states = inquiry.ask(daemon, partial(_states, root.path, rels, sockets, daemon.pid, inquiry.older_than), len(pairs))
    return [_ownership(inquiry, *pair, state) for pair, state in zip(pairs, states, strict=True)]


def _ownership(inquiry: Inquiry, match: Match, mount: Mount, state: Owned) -> Ownership:
    if state is not Owned.GONE:
        return Ownership(state)
    if mount.device in inquiry.traces.roots or inquiry.traces.name(_name(match)):
        return OWNER_UNKNOWN
    return Ownership(Owned.GONE, LeftBehind.LAYER, _proof(match), _frees(match))


def _name(match: Match) -> bytes:
    parts = match.rel.split(b"/")
    return parts[2] if parts[0] == b"rootfs" else parts[1]


def _proof(match: Match) -> str:
    what = "image or container has this layer" if match.rel.endswith(b"/merged") else "container has this id"
    return f"{_RUNS}, no {what}, no process lives in it"


def _frees(match: Match) -> str:
    if not match.rel.endswith(b"/merged"):
        return ""
    return f"the layer's directory {printable(os.path.dirname(os.path.join(match.root.path, match.rel)))}"


def _states(
    data_root: bytes, rels: Sequence[bytes], sockets: Sequence[bytes], pid: int, older_than: float
) -> list[Owned]:
    """In the daemon's mount namespace."""
    listed = docker_api.containers(sockets, pid)
    records = _Records(data_root, listed, older_than)
    return [_state(rel.split(b"/"), listed, records) for rel in rels]


def _state(parts: Sequence[bytes], listed: frozenset[bytes], records: "_Records") -> Owned:
    if parts[-1] == b"merged":
        return records.of_layer(parts[0], parts[1])
    container = parts[2] if parts[0] == b"rootfs" else parts[1]
    return Owned.YES if container in listed else records.of_container(container)


class _Records:
    """What dockerd's files say, each read once."""

    def __init__(self, data_root: bytes, listed: frozenset[bytes], older_than: float) -> None:
        self._data_root = data_root
        self._listed = listed
        self._before = time.time() - older_than
        self._layers: dict[bytes, frozenset[bytes] | None] = {}
        self._builds = _content(data_root + b"/buildkit/snapshots.db")

    def of_layer(self, driver: bytes, layer: bytes) -> Owned:
        if driver not in self._layers:
            self._layers[driver] = _layers(b"%s/image/%s/layerdb" % (self._data_root, driver), self._listed)
        known = self._layers[driver]
        if known is None or layer in self._builds or not self._settled(b"%s/%s" % (driver, layer)):
            return Owned.UNKNOWN
        return Owned.YES if layer in known else Owned.GONE

    def of_container(self, container: bytes) -> Owned:
        directory = b"containers/" + container
        if os.path.lexists(b"%s/%s/config.v2.json" % (self._data_root, directory)):
            return Owned.YES
        return Owned.GONE if self._settled(directory) else Owned.UNKNOWN

    def _settled(self, directory: bytes) -> bool:
        """Whether nothing was made or removed in it lately."""
        try:
            status = os.stat(b"%s/%s" % (self._data_root, directory), follow_symlinks=False)
        except FileNotFoundError:
            return True
        return max(status.st_mtime, status.st_ctime) < self._before


def _layers(layerdb: bytes, containers: frozenset[bytes]) -> frozenset[bytes] | None:
    """The names of all layers that dockerd knows; None where that is not certain, as where a container has none.

    Raises: OSError.
    """
    if _names(layerdb + b"/tmp") or not containers <= set(_names(layerdb + b"/mounts")) or not _names(layerdb):
        return None
    found = set[bytes]()
    for directory, files in ((b"sha256", (b"cache-id",)), (b"mounts", (b"mount-id", b"init-id"))):
        for name in _names(b"%s/%s" % (layerdb, directory)):
            words = [_content(b"%s/%s/%s/%s" % (layerdb, directory, name, file)).strip() for file in files]
            if not words[0]:
                return None
            found.update(filter(None, words))
    return frozenset(found)


def _names(directory: bytes) -> list[bytes]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _content(path: bytes) -> bytes:
    try:
        return read_regular(path, _LIMIT).data
    except FileNotFoundError:
        return b""
