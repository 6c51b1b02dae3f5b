"""What a line of mountinfo is mounted on, as far as the filter needs it."""

from dataclasses import dataclass, field

from ...model import Candidate, Mount
from ...mounts.table import spot_of

Key = tuple[bytes, ...]
"""(device, path) as mountinfo writes them, escapes and all."""


def with_parent(candidate: Candidate, parent: Mount | None) -> Candidate:
    if candidate.parent is not None or parent is None:
        return candidate
    return Candidate(candidate.mount, parent, spot_of(candidate.mount, parent))


@dataclass(slots=True)
class ParentMount:
    """What a mount is mounted on, and where its children's spots then begin."""

    mount: Mount | None
    device: bytes = b""
    root: bytes = b""
    cut: int = 0
    """Bytes of a child's mount point that the parent's own takes up, less the slash between."""
    groups: frozenset[int] = frozenset()
    copy_of: dict[bytes, Key | None] = field(default_factory=dict)
    key: Key = ()
    """The parent's own identity."""
