"""Containers by name or id, by what Docker and podman themselves wrote down; they need not run."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..engines.files import read

DOCKER = "/var/lib/docker"
PODMAN = "/var/lib/containers/storage"
_SHORTEST = 12


@dataclass(frozen=True, slots=True)
class Known:
    """A container of a record."""

    id: str
    names: tuple[str, ...]
    layer: str
    """The directory of its writable layer; whether it is there was not looked at."""

    def is_called(self, asked: str) -> bool:
        """Whether that is its name, or the beginning of its id."""
        return asked in self.names or (len(asked) >= _SHORTEST and self.id.startswith(asked))


def find(asked: str) -> Known | None:
    """The container of that name or id; Docker's comes first where podman has the same name."""
    return next((known for known in (*_docker(), *_podman()) if known.is_called(asked)), None)


def _docker() -> Iterator[Known]:
    """containers/ID/config.v2.json has the name, with a slash before it; layerdb the name of the layer."""
    for identity in _listed(f"{DOCKER}/containers"):
        config = _load(f"{DOCKER}/containers/{identity}/config.v2.json")
        name = config.get("Name") if isinstance(config, dict) else None
        layer = _text(f"{DOCKER}/image/overlay2/layerdb/mounts/{identity}/mount-id")
        if layer is not None:
            names = (name.removeprefix("/"),) if isinstance(name, str) else ()
            yield Known(identity, names, f"{DOCKER}/overlay2/{layer}")


def _podman() -> Iterator[Known]:
    """containers.json of containers/storage lists all, with the layer of each."""
    listed = _load(f"{PODMAN}/overlay-containers/containers.json")
    for entry in listed if isinstance(listed, list) else ():
        match entry:
            case {"id": str(identity), "layer": str(layer), "names": list(names)}:
                texts = tuple(name for name in names if isinstance(name, str))
                yield Known(identity, texts, f"{PODMAN}/overlay/{os.path.basename(layer)}")


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _load(path: str) -> Any:
    try:
        return json.loads(read(os.fsencode(path)))
    except (OSError, ValueError, RecursionError):
        return None  # a record that can't be read names no container


def _text(path: str) -> str | None:
    try:
        return os.path.basename(read(os.fsencode(path)).decode("ascii").strip()) or None
    except (OSError, ValueError):
        return None
