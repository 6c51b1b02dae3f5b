"""What a container's OCI runtime configuration (config.json) says of its bind mounts: which, and their propagation.

The propagation is not always what is in effect (runc#5192, and Docker's silent fall-back where the source is not
shared): it is read only to tell the two apart.
"""

import glob
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_BUNDLES = (
    "/run/containerd/io.containerd.runtime.v2.task/*/{id}/config.json",
    "/run/*/containerd/io.containerd.runtime.v2.task/*/{id}/config.json",
    "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/*/{id}/config.json",
    "/run/containers/storage/overlay-containers/{id}/userdata/config.json",
    "/var/lib/containers/storage/overlay-containers/{id}/userdata/config.json",
)
_PROPAGATIONS = frozenset(("private", "rprivate", "slave", "rslave", "shared", "rshared"))
_LONGEST = 4 << 20


def asked_propagation(container: str, destination: bytes) -> str | None:
    """The propagation asked for the container's mount at `destination`; None where no configuration says."""
    return next((propagation_in(text, destination) for _path, text in _configurations(container)), None)


@dataclass(frozen=True, slots=True)
class Bind:
    """A bind mount that a container was given."""

    source: bytes
    """Path of the host."""
    destination: bytes
    """Path in the container."""
    config: str
    """The configuration that says so."""


def binds(container: str) -> tuple[Bind, ...]:
    """The bind mounts that the runtime was asked for; none where no configuration is found."""
    found = next(iter(_configurations(container)), None)
    return tuple(Bind(*pair, found[0]) for pair in binds_in(found[1])) if found else ()


def binds_in(text: bytes) -> list[tuple[bytes, bytes]]:
    """Source and destination of each bind mount of a config.json; none for what is not of that form. Pure."""
    try:
        mounts = [mount for mount in json.loads(text)["mounts"] if isinstance(mount, dict)]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    found = []
    for mount in mounts:
        source, destination, options = mount.get("source"), mount.get("destination"), mount.get("options")
        is_bind = mount.get("type") == "bind" or (
            isinstance(options, list)
            and not {"bind", "rbind"}.isdisjoint(option for option in options if isinstance(option, str))
        )
        if is_bind and isinstance(source, str) and isinstance(destination, str):
            found.append((_bytes(source), _bytes(destination)))
    return [pair for pair in found if all(path.startswith(b"/") for path in pair)]


def _bytes(path: str) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:
        return b""  # a lone surrogate


def _configurations(container: str) -> Iterator[tuple[str, bytes]]:
    """Path and text of each configuration of that container."""
    for pattern in _BUNDLES if re.fullmatch(r"[0-9a-f]{64}", container) else ():
        for path in glob.glob(pattern.format(id=container)):
            try:
                with open(path, "rb") as file:
                    yield path, file.read(_LONGEST)
            except OSError:
                continue


def propagation_in(text: bytes, destination: bytes) -> str | None:
    """The same from the text of a config.json; None for anything that is not of that form. Pure."""
    try:
        mounts = json.loads(text)["mounts"]
        options = next(m["options"] for m in mounts if os.fsencode(m["destination"]) == destination)
        return next((word for word in options if _is_propagation(word)), None)
    except (ValueError, LookupError, TypeError, StopIteration, RecursionError):
        return None


def _is_propagation(word: Any) -> bool:
    return isinstance(word, str) and word in _PROPAGATIONS
