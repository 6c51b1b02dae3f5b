"""Which component varies in the paths of an engine's mountpoints: from some mountpoints to patterns with `*`. Pure.

Docker's `overlay2/X/merged`, containerd's `io.containerd.runtime.v2.task/NAMESPACE/ID/rootfs`: engines name a directory
after each container, and what lies in it always alike.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

STAR = b"*"

Parts = tuple[bytes, ...]
"""A path or a pattern by its components."""

_ID = re.compile(rb"(?=.*[0-9])(?:[0-9]+|[0-9a-f-]{8,}|[0-9a-z]{20,}|.*[0-9a-f]{12,}.*)")
"""Numbers, the hexadecimal ids of most engines, UUIDs, the 25 letters and digits of BuildKit and Docker's swarm."""
_USUAL = frozenset((b"merged", b"merge", b"rootfs", b"root", b"fs", b"shm", b"mnt", b"mount", b"target", b"_data"))
"""What engines call a mountpoint in the directory of its container."""


def patterns(paths: Iterable[Parts]) -> Counter[Parts]:
    """The patterns of some paths below one directory, with how many each is of.

    A path that is like no other has its star where an id is, else above a usual name of a mountpoint; where neither
    is there, nothing says which component varies, and it is left out.
    """
    found = Counter[Parts]()
    for length in {len(path) for path in paths}:
        for pattern, many in _generalised([path for path in paths if len(path) == length]).items():
            starred = pattern if STAR in pattern else _alone(pattern)
            if starred is not None:
                found[starred] += many
    return found


def _generalised(paths: Iterable[Parts]) -> Counter[Parts]:
    """Names that have the same patterns below them stand for one another, and so does an id for any other."""
    below: dict[bytes, list[Parts]] = {}
    for path in paths:
        if not path:
            return Counter({(): 1})
        below.setdefault(path[0], []).append(path[1:])
    known = {name: _generalised(rests) for name, rests in below.items()}
    alike = Counter(frozenset(each) for each in known.values())
    found = Counter[Parts]()
    for name, rests in known.items():
        first = STAR if _is_id(name) or alike[frozenset(rests)] > 1 else name
        found.update({(first, *rest): many for rest, many in rests.items()})
    return found


def _alone(pattern: Parts) -> Parts | None:
    if len(pattern) > 1 and pattern[-1] in _USUAL:
        return (*pattern[:-2], STAR, pattern[-1])
    return None


def _is_id(name: bytes) -> bool:
    return _ID.fullmatch(name) is not None


def split(pattern: Parts) -> tuple[Parts, Parts]:
    """What stands before the first star, and the rest."""
    at = pattern.index(STAR)
    return pattern[:at], pattern[at:]


def by_directory(found: Mapping[Parts, int]) -> dict[Parts, Counter[bytes]]:
    """Patterns below each directory that holds what varies, each as a path, with their numbers."""
    directories: dict[Parts, Counter[bytes]] = {}
    for pattern, many in found.items():
        directory, rest = split(pattern)
        directories.setdefault(directory, Counter())[b"/".join(rest)] += many
    return directories
