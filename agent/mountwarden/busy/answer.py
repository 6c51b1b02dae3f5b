"""What an answer is made of. Frozen, without input or output."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..model import Gap, Holder


@dataclass(frozen=True, slots=True)
class BusyTarget:
    """What is asked about: a file system, by its device, and perhaps only a directory of it."""

    asked: str
    device: str
    """major:minor as mountinfo shows it."""
    path: bytes | None = None
    """The directory in the file system, where not all of it is meant."""
    nodes: tuple[str, ...] = ()
    """Block devices (major:minor) whose own nodes count too: the device, its partitions."""
    mounts: frozenset[int] | None = None
    """Small ids of the mounts that are meant, where it is not the file system: a bind, a mount of /proc, and copies."""
    space: tuple[str, int] | None = None
    """A namespace, by its kind ("net") and inode number: its nsfs files, and what lives in it."""
    meant: str = ""
    """Which container, by its engine's own files; printable. Empty where it is none, or only its processes tell it."""
    removed: bool = False
    """There is no such path any more; something that was there may be kept all the same."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """One thing that keeps the target busy."""

    how: str
    """mount, stacked, overlay, cwd, root, exe, map, file, socket, device, swap, loop, holder (a device on top), or
    lives (in the namespace that is asked about).
    """
    where: bytes
    """The mountpoint or file, as its namespace shows it; the device on top."""
    needs: str
    """What would release it: a part of a sentence."""
    namespace: int | None = None
    mount: int | None = None
    """Small mount id."""
    holders: tuple[Holder, ...] = ()
    detail: str = ""
    command: str | None = None
    """One that does it, or the last way that `needs` names."""


@dataclass(frozen=True, slots=True)
class Follower:
    """A mount of the target elsewhere that an umount here takes along, and in which nothing is busy."""

    namespace: int
    mount: int
    """Small mount id."""
    where: bytes
    """Its mountpoint, as its namespace shows it."""
    name: str
    """Whose namespace it is."""
    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True, slots=True)
class BusyReport:
    """Everything that keeps the target busy, and what could not be asked."""

    target: BusyTarget
    keepers: tuple[Keeper, ...]
    gaps: tuple[Gap, ...] = ()
    followers: tuple[Follower, ...] = ()
    own: int | None = None
    """Inode of the mount namespace that was asked from."""
    is_host: bool = False
    """Whether that is process 1's."""
    names: Mapping[int, str] = field(default_factory=dict)
    """Whose each other mount namespace is that the keepers name."""
