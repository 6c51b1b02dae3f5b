"""What dockerd itself records: which container a layer belongs to, and whether that container runs.

`image/DRIVER/layerdb/mounts/CONTAINER/{mount-id,init-id}` name the directories below DRIVER/ of a container;
`image/DRIVER/layerdb/sha256/CHAIN/cache-id` those of image layers; `containers/CONTAINER/config.v2.json` holds State.
"""

import json
import os
from collections.abc import Sequence

from ..model import RecordState
from .file_cache import FileCache

_FILES = FileCache()
_DRIVERS = (b"overlay2", b"overlay")
_IMAGE = b""

_Indexes = dict[bytes, dict[bytes, bytes]]
_WHOLE: dict[bytes, tuple[tuple[bytes, ...], tuple[bytes, ...], dict[bytes, bytes]]] = {}


def states(data_root: bytes, rels: Sequence[bytes]) -> list[RecordState]:
    """The record of each mountpoint of `rels` below a data-root; unknown where it is incomplete, odd, or missing.

    dockerd records a container as running only some time after it mounted its layer, often some hundred milliseconds:
    meanwhile "unmounted" means no more than that the container does not run.
    """
    indexes: _Indexes = {}
    return [_state(data_root, rel, indexes) for rel in rels]


def container(data_root: bytes, rel: bytes) -> str | None:
    """The container that a mountpoint belongs to; None for an image's, or where that is not known.

    Raises: OSError and ValueError of a file that can't be read.
    """
    match rel.split(b"/"):
        case [driver, layer, b"merged"] if driver in _DRIVERS:
            found = _index(b"%s/image/%s/layerdb" % (data_root, driver)).get(layer)
            return os.fsdecode(found) if found else None
        case [b"containers", found, *_] | [b"rootfs", _, found]:
            return os.fsdecode(found)
    return None


def _state(data_root: bytes, rel: bytes, indexes: _Indexes) -> RecordState:
    try:
        match rel.split(b"/"):
            case [driver, layer, b"merged"] if driver in _DRIVERS:
                return _of_layer(data_root, driver, layer, indexes)
            case [b"containers", container, b"mounts", b"shm"] | [b"containers", container, b"shm"]:
                return _of_container(data_root, container)
            case [b"rootfs", _, container]:
                return _of_container(data_root, container)
    except (OSError, ValueError, RecursionError):
        pass  # a record that can't be read counts as unknown
    return RecordState.UNKNOWN


def _of_layer(data_root: bytes, driver: bytes, layer: bytes, indexes: _Indexes) -> RecordState:
    if driver not in indexes:
        indexes[driver] = _index(b"%s/image/%s/layerdb" % (data_root, driver))
    container = indexes[driver].get(layer)
    if container is None:
        return RecordState.UNKNOWN
    # An image's layer is mounted for as long as dockerd reads or builds on it, and only in its home.
    return RecordState.UNMOUNTED if container == _IMAGE else _of_container(data_root, container)


def _of_container(data_root: bytes, container: bytes) -> RecordState:
    config: object = _FILES.load(b"%s/containers/%s/config.v2.json" % (data_root, container), json.loads)
    match config:
        case {"State": {"Running": bool(running), "Restarting": bool(restarting)}}:
            return RecordState.LIVE if running or restarting else RecordState.UNMOUNTED
    return RecordState.UNKNOWN


def _index(layerdb: bytes) -> dict[bytes, bytes]:
    """Name of a layer's directory to its container's id, or to `_IMAGE`.

    The files never change once they are written, so a complete index is valid while the directories have these names.
    """
    chains = _FILES.names(layerdb + b"/sha256") or ()
    containers = _FILES.names(layerdb + b"/mounts") or ()
    known = _WHOLE.get(layerdb)
    if known is not None and known[:2] == (chains, containers):
        return known[2]
    index = {_word(b"%s/sha256/%s/cache-id" % (layerdb, chain)): _IMAGE for chain in chains}
    for container in containers:
        for name in (b"mount-id", b"init-id"):
            index[_word(b"%s/mounts/%s/%s" % (layerdb, container, name))] = container
    if index.pop(b"", None) is None:  # else some are not there, or not yet written
        _WHOLE[layerdb] = chains, containers, index
    return index


def _word(path: bytes) -> bytes:
    return (_FILES.load(path, bytes) or b"").strip()
