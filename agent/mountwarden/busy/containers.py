"""Containers by name or id, by Docker's and podman's own records; they need not run."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..engines.file_cache import read
from ..model import Root, RootKind

_SHORTEST = 12


@dataclass(frozen=True, slots=True)
class KnownContainer:
    """A container of a record."""

    id: str
    names: tuple[str, ...]
    layer: str
    """The directory of its writable layer; whether it exists was not checked."""

    def is_called(self, asked: str) -> bool:
        """Whether that is its name, or the beginning of its id."""
        return asked in self.names or (len(asked) >= _SHORTEST and self.id.startswith(asked))


def find(asked: str, roots: Iterable[Root]) -> KnownContainer | None:
    """The container of that name or id, of the engines whose roots these are; the first where two have the name.

    A root that another namespace than our own shows is left out: what is at its path here is another directory.
    """
    stores = (root for root in roots if root.kind is RootKind.GRAPH and root.home_pid is None)
    every = (known for root in stores if root.engine in _READ for known in _READ[root.engine](os.fsdecode(root.path)))
    return next((known for known in every if known.is_called(asked)), None)


def _docker(root: str) -> Iterator[KnownContainer]:
    """containers/ID/config.v2.json has the name, with a slash before it, and the driver; layerdb the layer's name."""
    for identity in _listed(f"{root}/containers"):
        match _load(f"{root}/containers/{identity}/config.v2.json"):
            case {"Name": str(name), "Driver": str(driver)} if "/" not in driver:
                layer = _text(f"{root}/image/{driver}/layerdb/mounts/{identity}/mount-id")
                if layer is not None:
                    yield KnownContainer(identity, (name.removeprefix("/"),), f"{root}/{driver}/{layer}")


def _podman(root: str) -> Iterator[KnownContainer]:
    """containers.json of containers/storage lists all, with the layer of each."""
    listed = _load(f"{root}/overlay-containers/containers.json")
    for entry in listed if isinstance(listed, list) else ():
        match entry:
            case {"id": str(identity), "layer": str(layer), "names": list(names)}:
                texts = tuple(name for name in names if isinstance(name, str))
                yield KnownContainer(identity, texts, f"{root}/overlay/{os.path.basename(layer)}")


_READ: dict[str, Callable[[str], Iterator[KnownContainer]]] = {"docker": _docker, "containers-storage": _podman}


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
