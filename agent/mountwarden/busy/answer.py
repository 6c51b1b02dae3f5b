"""What an answer is made of. Frozen, without input or output."""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Keeper:
    """One thing that keeps the target busy."""

    how: str
    """mount, stacked, overlay, cwd, root, exe, map, file, device, swap, loop, or holder (a device on top)."""
    where: bytes
    """The mountpoint or file, as its namespace shows it; the device on top."""
    needs: str
    """What would release it: a part of a sentence."""
    namespace: int | None = None
    mount: int | None = None
    """Small mount id."""
    holders: tuple[Holder, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BusyReport:
    """Everything that keeps the target busy, and what could not be asked."""

    target: BusyTarget
    keepers: tuple[Keeper, ...]
    gaps: tuple[Gap, ...] = ()
