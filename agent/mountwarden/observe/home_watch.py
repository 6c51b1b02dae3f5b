"""What is mounted and unmounted at home, as it happens.

Home is the mount namespace whose view counts: here that of PID 1. poll(2) of an open proc_pid_mountinfo(5) reports
that its namespace's mounts changed (POLLPRI, Linux 2.6.30), but not which: two readings are compared. What comes and
goes between them is not seen, and a change of propagation alone only when something else changes.
"""

import enum
import os
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from ..model import Mount
from ..mounts.table import Table

PATH = "/proc/1/mountinfo"
"""The mountinfo of the host's home."""


class MountChange(enum.StrEnum):
    """What happened to a mount."""

    MOUNTED = "mounted"
    UNMOUNTED = "unmounted"
    MOVED = "moved"
    PROPAGATION = "propagation"


class HomeMounts:
    """Home's mounts, kept current. The open file keeps no namespace alive but home's own."""

    def __init__(self, path: str = PATH) -> None:
        """Raises: OSError as open(2) does."""
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._mounts = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        """The descriptor to poll for POLLPRI."""
        return self._fd

    def changes(self) -> list["Changed"]:
        """The differences from the last reading: umounts first, then mounts, then changes of what stayed.

        Raises: OSError as read(2) does.
        """
        before, self._mounts = self._mounts, self._read()
        return compare(before, self._mounts)

    def _read(self) -> dict[int, Mount]:
        os.lseek(self._fd, 0, os.SEEK_SET)
        parts = []
        while part := os.read(self._fd, 1 << 16):
            parts.append(part)
        return {mount.id: mount for mount in Table.from_text(b"".join(parts)).mounts}


@dataclass(frozen=True, slots=True)
class Changed:
    """One difference. `mount` is as it is now, or as it was where it is unmounted."""

    how: MountChange
    mount: Mount


def compare(before: dict[int, Mount], after: dict[int, Mount]) -> list[Changed]:
    """The differences between two readings. Small ids are reused: with another device or root, it is another mount."""
    same = {number for number in before.keys() & after.keys() if before[number].identity == after[number].identity}
    went = [Changed(MountChange.UNMOUNTED, mount) for number, mount in before.items() if number not in same]
    came = [Changed(MountChange.MOUNTED, mount) for number, mount in after.items() if number not in same]
    changed = [Changed(how, after[number]) for number in sorted(same) if (how := _how(before[number], after[number]))]
    return [*went, *came, *changed]


def _how(before: Mount, after: Mount) -> MountChange | None:
    if before.point != after.point:
        return MountChange.MOVED
    groups = {"shared": after.shared, "master": after.master, "unbindable": after.unbindable}
    return MountChange.PROPAGATION if replace(before, **groups) != before else None  # type: ignore[arg-type]
