"""The propagation that a container's OCI runtime configuration (config.json) asks for a bind mount.

That is not always what is in effect (runc#5192, and Docker's silent fall-back where the source is not shared): it is
read only to tell the two apart.
"""

import glob
import json
import os
import re
from typing import Any

_BUNDLES = (
    "/run/containerd/io.containerd.runtime.v2.task/*/{id}/config.json",
    "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/*/{id}/config.json",
    "/run/containers/storage/overlay-containers/{id}/userdata/config.json",
    "/var/lib/containers/storage/overlay-containers/{id}/userdata/config.json",
)
_PROPAGATIONS = frozenset(("private", "rprivate", "slave", "rslave", "shared", "rshared"))
_LONGEST = 4 << 20


def asked_propagation(container: str, destination: bytes) -> str | None:
    """The propagation asked for the container's mount at `destination`; None where no configuration says."""
    if not re.fullmatch(r"[0-9a-f]{64}", container):
        return None
    for pattern in _BUNDLES:
        for path in glob.glob(pattern.format(id=container)):
            try:
                with open(path, "rb") as file:
                    return propagation_in(file.read(_LONGEST), destination)
            except OSError:
                continue
    return None


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
