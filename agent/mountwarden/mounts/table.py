"""One namespace's mounts as a tree: where each is attached, and which one a path leads to. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ..model import Mount, Spot
from .mountinfo import parse


def below(parent: bytes, path: bytes) -> bytes | None:
    """What `path` is below `parent`, without a leading slash: empty for itself, None where it is not below."""
    if parent == b"/":
        return path[1:] if path.startswith(b"/") else None
    if path == parent:
        return b""
    return path[len(parent) + 1 :] if path.startswith(parent + b"/") else None


def join(directory: bytes, rest: bytes) -> bytes:
    """`rest` below `directory`, the inverse of `below`."""
    if not rest:
        return directory
    return directory + rest if directory.endswith(b"/") else directory + b"/" + rest


Dentry = tuple[str, bytes]
"""What a mount is attached to: device, and path in the file system. A Spot as a tuple, which hashes faster."""


def dentry_of(mount: Mount, parent: Mount) -> Dentry | None:
    """What `mount` is attached to: (parent's device, parent's mnt_root joined with the path below the parent).

    None for a mountpoint or root that was deleted, and where the mount is not below its parent.
    """
    if mount.point.endswith(b"//deleted") or parent.root.endswith(b"//deleted"):
        return None
    rest = below(parent.point, mount.point)
    return None if rest is None else (parent.device, join(parent.root, rest))


def spot_of(mount: Mount, parent: Mount | None) -> Spot | None:
    """The same as a Spot; None also for an overmount, and where the parent is not visible to the reader.

    An overmount is a mount on the root of its own parent.
    """
    if parent is None or (dentry := dentry_of(mount, parent)) is None or dentry[1] == parent.root:
        return None
    return Spot(*dentry)


class Table:
    """The mounts of one namespace by id, with what is needed to walk them."""

    __slots__ = ("_by_id", "_children", "mounts", "unreadable")

    def __init__(self, mounts: Iterable[Mount], unreadable: dict[str, int] | None = None) -> None:
        self.mounts: tuple[Mount, ...] = tuple(mounts)
        self.unreadable = unreadable or {}
        self._by_id = {mount.id: mount for mount in self.mounts}
        self._children: dict[int, list[Mount]] = {}
        for mount in self.mounts:
            if mount.parent != mount.id:
                self._children.setdefault(mount.parent, []).append(mount)

    @classmethod
    def from_text(cls, text: bytes, uniques: Mapping[bytes, int] = MappingProxyType({})) -> "Table":
        """The table of a whole mountinfo text; `uniques` are unique ids by small ones as written."""
        return cls(*parse(text, uniques))

    @classmethod
    def from_blocks(cls, blocks: Iterable[bytes]) -> "Table":
        """The table of a mountinfo in blocks of whole lines."""
        mounts: list[Mount] = []
        unreadable: Counter[str] = Counter()
        for block in blocks:
            more, reasons = parse(block)
            mounts += more
            unreadable.update(reasons)
        return cls(mounts, dict(unreadable))

    def get(self, identity: int) -> Mount | None:
        """The mount with that small id."""
        return self._by_id.get(identity)

    def children(self, identity: int) -> list[Mount]:
        """Mounts whose parent is that mount."""
        return self._children.get(identity, [])

    def root(self) -> Mount | None:
        """The namespace's own root mount: the one at "/" whose parent is not in the table."""
        return next((m for m in self.mounts if m.point == b"/" and m.parent not in self._by_id), None)

    def spot(self, mount: Mount) -> Spot | None:
        """Where a mount of this table is attached."""
        return spot_of(mount, self.get(mount.parent))

    def stacked_on(self, mount: Mount) -> list[Mount]:
        """What is stacked on the root of `mount`, the topmost last; it ends where a damaged text has a circle."""
        stack, seen = list[Mount](), {mount.id}
        while over := next((child for child in self.children(mount.id) if child.point == mount.point), None):
            if over.id in seen:
                break
            seen.add(over.id)
            stack.append(mount := over)
        return stack

    def top(self, mount: Mount) -> Mount:
        """What a path to the root of `mount` leads to: the topmost mount that is stacked on it."""
        return [mount, *self.stacked_on(mount)][-1]

    def containing(self, path: bytes) -> Mount | None:
        """The mount that `path` leads to from the namespace's root; symbolic links must be resolved before."""
        mount = self.root() if path.startswith(b"/") else None
        while mount is not None:
            mount = self.top(mount)
            nearer = [
                child
                for child in self.children(mount.id)
                if len(child.point) > len(mount.point) and below(child.point, path) is not None
            ]
            if not nearer:
                return mount
            mount = min(nearer, key=lambda child: len(child.point))
        return None

    def visible(self, mount: Mount) -> bool:
        """Whether the mount's own path leads to it, so that nothing covers it."""
        return self.containing(mount.point) is mount
