"""A namespace's mountinfo as one text, which the package itself never has."""

from collections.abc import Iterable

from mountwarden.model import Door
from mountwarden.observe import namespaces


def whole(inode: int, pids: Iterable[int], door: Door | None = None) -> bytes | None:
    """The text; None as `namespaces.read`."""
    return namespaces.read(inode, pids, lambda lines: b"".join(lines.blocks()), door)
