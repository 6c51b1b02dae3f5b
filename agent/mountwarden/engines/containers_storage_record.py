"""What containers/storage itself records: which layers are mounted, and which layers there are.

RUNROOT/overlay-layers/mountpoints.json is a list of {"id", "path", "count"} of the layers that are mounted ("[]" when
none is); GRAPHROOT/overlay-layers/layers.json, with volatile-layers.json beside it or in RUNROOT, a list of {"id", …};
GRAPHROOT/overlay-containers/containers.json, with volatile-containers.json likewise, a list of {"id", "layer", …}.
A container's shm is in use exactly while its layer is.
"""

import json
import os
from collections.abc import Iterator, Sequence

from ..model import RecordState
from .file_cache import FileCache

_FILES = FileCache()


def states(record: Sequence[str], rels: Sequence[bytes]) -> list[RecordState]:
    """The record of each mountpoint of `rels`; `record` is the path of mountpoints.json and that of layers.json.

    Unknown for what is torn, odd or not there: without mountpoints.json nobody mounted a layer since boot, or the
    store is used with another runroot. A count that a killed engine left behind says live for ever: that errs on the
    safe side.
    """
    if len(record) != 2:
        return [RecordState.UNKNOWN] * len(rels)
    try:
        counts, known, containers = _counts(os.fsencode(record[0])), _known(record), _containers(record)
    except (OSError, ValueError, RecursionError):
        return [RecordState.UNKNOWN] * len(rels)
    return [_state(_layer(rel, containers), counts, known) for rel in rels]


def container(record: Sequence[str], rel: bytes) -> str | None:
    """The one container that a mountpoint belongs to; None where there is none, or that is not known.

    Raises: OSError and ValueError of a file that can't be read.
    """
    match rel.split(b"/"):
        case [b"overlay", layer, b"merged"]:
            owners = [owner for owner, its in _containers(record).items() if its == layer] if len(record) == 2 else []
            return os.fsdecode(owners[0]) if len(owners) == 1 else None
        case [b"overlay-containers", found, b"userdata", b"shm"]:
            return os.fsdecode(found)
    return None


def _layer(rel: bytes, containers: dict[bytes, bytes]) -> bytes | None:
    match rel.split(b"/"):
        case [b"overlay", layer, b"merged"]:
            return layer
        case [b"overlay-containers", container, b"userdata", b"shm"]:
            return containers.get(container)
    return None


def _state(layer: bytes | None, counts: dict[bytes, int] | None, known: frozenset[bytes]) -> RecordState:
    if layer is None or counts is None:
        return RecordState.UNKNOWN
    if counts.get(layer, 0) >= 1:
        return RecordState.LIVE
    return RecordState.UNMOUNTED if layer in known else RecordState.UNKNOWN


def _counts(path: bytes) -> dict[bytes, int] | None:
    """Mount counts by layer; None where there is no record. Raises: ValueError where it is no list of mountpoints."""
    return _FILES.load(path, _parse_counts)


def _parse_counts(data: bytes) -> dict[bytes, int]:
    counts: dict[bytes, int] = {}
    for entry in _entries(data):
        match entry:
            case {"id": str(layer), "count": int(count)}:
                counts[_key(layer)] = count
            case _:
                raise ValueError("an entry without id or count")
    return counts


def _known(record: Sequence[str]) -> frozenset[bytes]:
    return frozenset().union(*(_FILES.load(path, _parse_known) or () for path in _lists(record, "layers")))


def _containers(record: Sequence[str]) -> dict[bytes, bytes]:
    """The layer of each container."""
    found: dict[bytes, bytes] = {}
    for path in _lists(record, "containers"):
        found |= _FILES.load(path, _parse_containers) or {}
    return found


def _lists(record: Sequence[str], what: str) -> Iterator[bytes]:
    """Where the store keeps a list: GRAPHROOT's, and the volatile ones beside it and in RUNROOT."""
    runroot, graphroot = (os.path.dirname(os.path.dirname(path)) for path in record)
    yield os.fsencode(f"{graphroot}/overlay-{what}/{what}.json")
    for place in (graphroot, runroot):
        yield os.fsencode(f"{place}/overlay-{what}/volatile-{what}.json")


def _parse_containers(data: bytes) -> dict[bytes, bytes]:
    return {
        _key(entry["id"]): _key(entry["layer"])
        for entry in _entries(data)
        if isinstance(entry, dict) and "id" in entry and "layer" in entry
    }


def _parse_known(data: bytes) -> frozenset[bytes]:
    return frozenset(_key(entry["id"]) for entry in _entries(data) if isinstance(entry, dict) and "id" in entry)


def _entries(data: bytes) -> list[object]:
    parsed = json.loads(data)  # an empty file is incomplete: the engine replaces it as a whole
    if not isinstance(parsed, list):
        raise ValueError("the file holds no list")
    return parsed


def _key(layer: object) -> bytes:
    return str(layer).encode(errors="surrogatepass")
