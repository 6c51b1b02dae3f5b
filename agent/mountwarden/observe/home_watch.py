"""What is mounted and unmounted at home, as it happens.

An open proc_pid_mountinfo(5) says by poll(2) that its namespace's mounts changed (POLLPRI, since Linux 2.6.30), not
which: two readings are compared. What comes and goes between them is not seen, nor is a change of propagation alone
until something else changes.
"""

import enum
import os
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from ..model import Mount
from ..mounts.table import Table

PATH = "/proc/1/mountinfo"


class MountChange(enum.StrEnum):
    """What happened to a mount."""

    MOUNTED = "mounted"
    UNMOUNTED = "unmounted"
    MOVED = "moved"
    PROPAGATION = "propagation"


class HomeMounts:
    """Home's mounts, kept current. Open, it pins no namespace but home's own."""

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
        """To be polled for POLLPRI."""
        return self._fd

    def changes(self) -> list["Changed"]:
        """What is different from the last reading: what went first, then what came, then what was changed."""
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
    """One difference; of a mount that was changed, as it is now."""

    how: MountChange
    mount: Mount


def compare(before: dict[int, Mount], after: dict[int, Mount]) -> list[Changed]:
    """The differences between two readings. Small mount ids are used again: another file system is another mount."""
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
