"""The mounts of all namespaces, read for one question and thrown away."""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import NoAnswer
from ..model import Gap, Namespace
from ..mounts.table import Table
from ..observe import namespaces, processes, processless
from ..observe.enter import own_namespace


@dataclass(frozen=True, slots=True)
class World:
    """Each namespace's mounts, and who is in it."""

    own: int
    namespaces: Mapping[int, Namespace]
    tables: Mapping[int, Table]
    pids: tuple[int, ...]
    gaps: tuple[Gap, ...]
    by_pid: Mapping[int, int] = field(default_factory=dict)
    """The namespace of each process."""

    @property
    def home(self) -> Table:
        """Our own namespace's mounts."""
        return self.tables[self.own]


def world() -> World:
    """Read every mount namespace once."""
    pids = processes.pids()
    found = namespaces.members(pids, threads=True)
    own = own_namespace()
    tables: dict[int, Table] = {}
    gaps = list(found.gaps)
    spaces = {inode: Namespace(inode, members) for inode, members in found.by_inode.items()}
    _read(spaces, tables, gaps)
    doors, more = processless.doors(found.by_inode, {own: tables[own]}, pids)
    spaces_without = {inode: Namespace(inode, door=door) for inode, door in doors.items()}
    _read(spaces_without, tables, gaps)
    by_pid = {pid: inode for inode, members in found.by_inode.items() for pid in members}
    return World(own, spaces | spaces_without, tables, tuple(pids), (*gaps, *more), by_pid)


def _read(spaces: Mapping[int, Namespace], tables: dict[int, Table], gaps: list[Gap]) -> None:
    for inode, space in spaces.items():
        try:
            text = namespaces.read_mountinfo(inode, space.pids, space.door)
        except (OSError, NoAnswer) as error:
            number = error.errno if isinstance(error, OSError) else None
            why = os.strerror(number or errno.EIO) if isinstance(error, OSError) else error.message
            gaps.append(Gap("the mounts of a namespace", why, inode))
            continue
        if text is not None:
            tables[inode] = Table.from_text(text)
