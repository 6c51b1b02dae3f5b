"""Mount namespaces without a process: only a bind mount of their nsfs file, or an open descriptor, keeps them alive.

snapd's /run/snapd/ns/*.mnt are such. They are found by the walk over all mount namespaces where the kernel allows it
(NS_MNT_GET_NEXT, Linux 6.12, in the initial pid namespace only), by the nsfs lines of the homes' tables, and by the
links of /proc/PID/fd. A door is how one of them can be entered: by the bind mount, the descriptor, or the walk. Nothing
stays open.
"""

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ..errors import NoAnswer
from ..kernel import abi, child, syscalls
from ..model import Door, Gap
from ..mounts.table import Table
from . import entries, processes
from .descriptors import Descriptors, inode_in
from .enter import DEADLINE

T = TypeVar("T")

_NO_WALK = (errno.EPERM, errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP)


@dataclass(frozen=True, slots=True)
class Unlisted:
    """The mount namespaces in which a listing has shown no process, by inode."""

    doors: dict[int, Door]
    """Of those without a process."""
    members: dict[int, tuple[int, ...]]
    """Processes of the others: made since, or in one where each forks the next and exits, which a listing may miss."""
    gaps: tuple[Gap, ...] = ()
    """What could not be asked."""


def unlisted(
    known: Mapping[int, tuple[int, ...]],
    tables: Mapping[int, Table],
    pids: Iterable[int],
    descriptors: Descriptors | None = None,
) -> Unlisted:
    """Each mount namespace that is not in `known` (processes by inode).

    `tables` are the homes' mounts by their namespace. Where the walk shows which namespaces there are, descriptors are
    searched only for what has no bind mount; `descriptors` are those of the search before. It is for a resync only.

    Raises: OSError other than for a process that has ended or may not be read.
    """
    bound = binds(known, tables)  # a bind mount rather than a descriptor: it outlives every process
    walked, gaps = _walked()
    members = {inode: who for inode, who in (walked or {}).items() if who and inode not in known}
    seen = {*known, *bound}
    alone = None if walked is None else [inode for inode, who in walked.items() if not who and inode not in seen]
    by_descriptor, more = (descriptors or Descriptors()).search({**known, **members}, list(pids), alone)
    entries.expect(alone or ())
    doors = dict.fromkeys(alone or (), Door("walk")) | by_descriptor | bound
    return Unlisted({inode: door for inode, door in doors.items() if inode not in members}, members, gaps + more)


def through(door: Door, inode: int, function: Callable[[], T], *, deadline: float = DEADLINE) -> T:
    """Run `function` in a forked child that entered the namespace `inode` by its door.

    `deadline` is in seconds. Raises: ProcessLookupError where the door leads elsewhere by now; OSError as open(2) and
    setns(2) do; NoAnswer where the child missed the deadline; what `function` raises.
    """

    with entries.opened_namespace(door, inode, deadline=deadline) as fd:

        def entered() -> T:
            syscalls.setns(fd, abi.CLONE_NEWNS)
            os.close(fd)
            return function()

        return child.ask(entered, deadline=deadline, what=f"the child in mount namespace {inode}")


def binds(known: Mapping[int, tuple[int, ...]], tables: Mapping[int, Table]) -> dict[int, Door]:
    """The same of those alone that a home keeps by a bind mount of their nsfs file."""
    own = os.stat("/proc/self/ns/mnt").st_ino
    found: dict[int, Door] = {}
    for home, table in tables.items():
        pid = 0 if home == own else next(iter(known.get(home, ())), None)
        if pid is None:
            continue
        for mount in table.mounts:
            inode = inode_in(mount.root) if mount.fstype == "nsfs" else None
            if inode is not None and inode not in known:
                found[inode] = Door("bind", pid, mount.point)
    return found


def _walked() -> tuple[dict[int, tuple[int, ...]] | None, tuple[Gap, ...]]:
    """The processes of each mount namespace of the walk, by inode, in its order; None where it is refused."""
    try:
        every = entries.walk()
    except NoAnswer as error:
        return None, (Gap("the walk over all mount namespaces", error.message),)
    except OSError as error:
        if error.errno not in _NO_WALK:
            raise
        return None, ()
    members: dict[int, list[int]] = {inode: [] for inode in every}
    for pid in processes.pids() if every else ():
        if (inode := _of(pid)) in members:
            members[inode].append(pid)
    return {inode: tuple(who) for inode, who in members.items()}, ()


def _of(pid: int) -> int | None:
    try:
        return processes.link_inode(pid, "mnt")
    except OSError:
        return None
