"""Containers by the files of Docker and of containers/storage, of root or of a user. They need not run.

moby: container/container.go (config.v2.json), layer/filestore.go (mount-id); with containerd's image store
daemon/snapshotter/mount.go mounts on rootfs/SNAPSHOTTER/ID. containers/storage: containers.go (newContainerStore)
lists in containers.json what is kept, and in volatile-containers.json what `podman run --rm` makes.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..files import read_regular
from .known_containers import KnownContainer


@dataclass(frozen=True, slots=True)
class StoreOwner:
    """Whose files are read: another's are not, wherever a user's links lead to. `limit`: bytes of a file at most."""

    uid: int | None = None
    """None: anybody's."""
    name: str | None = None
    """The user's, where it is not root."""
    limit: int = 64 << 20


ROOT = StoreOwner()


def docker(root: str, owner: StoreOwner = ROOT) -> Iterator[KnownContainer]:
    """containers/ID/config.v2.json has the name, with a slash before it, and the driver; layerdb the layer's name."""
    for identity in listed(f"{root}/containers"):
        match load(f"{root}/containers/{identity}/config.v2.json", owner):
            case {"Name": str(name), "Driver": str(driver)} if _is_name(driver):
                layer = _word(f"{root}/image/{driver}/layerdb/mounts/{identity}/mount-id", owner)
                where = f"{root}/{driver}/{layer}" if layer else f"{root}/rootfs/{driver}/{identity}"
                yield KnownContainer("Docker", identity, (name.removeprefix("/"),), where, owner.name)


def podman(root: str, owner: StoreOwner = ROOT) -> Iterator[KnownContainer]:
    """The lists of containers/storage have all, with the layer of each."""
    for name in ("containers.json", "volatile-containers.json"):
        entries = load(f"{root}/overlay-containers/{name}", owner)
        for entry in entries if isinstance(entries, list) else ():
            match entry:
                case {"id": str(identity), "layer": str(layer)} if _is_name(layer):
                    names = entry.get("names")
                    texts = tuple(one for one in names if isinstance(one, str)) if isinstance(names, list) else ()
                    yield KnownContainer("podman", identity, texts, f"{root}/overlay/{layer}", owner.name)


def _is_name(text: str) -> bool:
    return bool(text) and "/" not in text and "\0" not in text and text not in (".", "..")


def listed(path: str) -> list[str]:
    """The names in a directory; none where it can't be read."""
    try:
        return sorted(os.listdir(path))
    except (OSError, ValueError):
        return []


def content(path: str, owner: StoreOwner = ROOT) -> bytes:
    """A regular file of that owner. Raises: OSError."""
    found = read_regular(path, owner.limit)
    if owner.uid not in (None, found.status.st_uid):
        raise PermissionError(f"{path} is another user's")
    return found.data


def load(path: str, owner: StoreOwner = ROOT) -> Any:
    """What a JSON file holds; None where it can't be read: it names no container then."""
    try:
        return json.loads(content(path, owner))
    except (OSError, ValueError, RecursionError):
        return None


def _word(path: str, owner: StoreOwner) -> str | None:
    try:
        text = content(path, owner).decode("ascii").strip()
    except (OSError, ValueError):
        return None
    return text if _is_name(text) else None
