"""What the umount of some mounts of home could have to do with in a namespace: read before it is predicted."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from ..model import Mount, Spot
from ..mounts import mountinfo
from .directory_users import few, parsed
from .mount_lines import MountLines

_LINE = re.compile(rb"(?m)^(\d+) (\d+) (\S+) \S+ (\S+) .*$")


@dataclass(frozen=True, slots=True)
class Spread:
    """The mounts that are to be unmounted, by what their umount spreads from and takes along."""

    devices: frozenset[bytes]
    """Of the mounts, and of what they are mounted on: what propagation reaches is of the same."""
    own: frozenset[bytes]
    """Of the mounts alone."""
    names: frozenset[bytes]
    """The last components of their mountpoints' paths, as mountinfo writes them: the same wherever they are shown."""

    @classmethod
    def of(cls, mounts: Collection[Mount], parents: Iterable[Mount], spots: Iterable[Spot]) -> "Spread":
        """Of these mounts, what they are mounted on, and where."""
        own = frozenset(mount.device.encode() for mount in mounts)
        names = frozenset(mountinfo.escape(spot.path).rpartition(b"/")[2] for spot in spots)
        return cls(own | {parent.device.encode() for parent in parents}, own, names)

    def concerned(self, lines: MountLines) -> list[Mount]:
        """The mounts of a namespace that are copies of them, that an umount may spread to, or that are on one of these.

        Raises: OSError as reading does; EFBIG where there are more than the limits of `lines` let keep.
        """
        on, copies = set[bytes](), set[bytes]()
        for line in self._lines(lines):
            if line[3] in self.devices:
                on.add(line[1])
            if line[3] in self.own:
                copies.add(line[1])
        return few(lines, parsed(line[0] for line in self._lines(lines) if self._matters(line, on, copies)))

    def _matters(self, line: re.Match[bytes], on: set[bytes], copies: set[bytes]) -> bool:
        if line[3] in self.devices or line[2] in copies:
            return True
        return line[2] in on and line[4].rpartition(b"/")[2] in self.names

    def _lines(self, lines: MountLines) -> Iterator[re.Match[bytes]]:
        return (line for block in lines.blocks() for line in _LINE.finditer(block))
