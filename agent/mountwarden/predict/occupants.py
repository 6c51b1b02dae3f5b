"""Who makes a mount busy: processes by their links in /proc and their bound sockets, loop devices, swap files.

What the kernel holds for others and /proc does not show (a descriptor on its way through a socket, a file registered
with io_uring, an exported directory of nfsd) is not found.
"""

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..explain import holders
from ..model import Gap, Holder
from ..mounts.table import Table, join
from ..observe import block_devices, open_files, processes
from ..observe.all_mounts import Survey
from ..observe.open_files import Link

_UNREADABLE = (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class Occupant:
    """One thing that holds a mount: a process and how, or a device of the kernel's own."""

    how: str
    """cwd, root, exe, map, "fd 7", "socket /run/x", "loop0" or "swap"."""
    mount: int
    holder: Holder | None = None
    """None for a device."""
    path: bytes = b""
    """What it holds, as it sees it."""


@dataclass(frozen=True, slots=True)
class Held:
    """A process that holds a mount (small id), and how."""

    pid: int
    how: str
    mount: int
    path: bytes


def occupants(mounts: frozenset[int], seen: Survey, home: int) -> tuple[tuple[Occupant, ...], tuple[Gap, ...]]:
    """What holds one of the mounts (small ids), and what could not be asked. Ourselves left out: we end before.

    `home` is the inode of our own namespace. A process is listed once for each mount.
    """
    pids = [pid for pid in processes.pids() if pid != os.getpid()]
    found, gaps = open_files.links(pids)
    held = [Held(link.pid, link.how, link.mount, link.path) for link in found if link.mount in mounts]
    held += bound_sockets(mounts, seen, found)
    first = {(one.pid, one.mount): one for one in reversed(held)}
    users = [Occupant(one.how, one.mount, _holder(one.pid), one.path) for _key, one in sorted(first.items())]
    devices, more = _devices(mounts, seen, seen.tables.get(home))
    return (*users, *devices), gaps + more


def _holder(pid: int) -> Holder:
    try:
        return holders.holder(pid) or Holder(pid, "?")
    except OSError:
        return Holder(pid, "?")


def bound_sockets(mounts: frozenset[int], seen: Survey, found: Iterable[Link]) -> list[Held]:
    """Sockets that are bound to a path (unix(7)): they hold its mount, and their descriptors do not show it."""
    by_pid = {pid: inode for inode, pids in seen.pids.items() for pid in pids}
    concerned = {inode for inode, table in seen.tables.items() if any(m.id in mounts for m in table.mounts)}
    bound: dict[int, Mapping[bytes, bytes]] = {}
    held = []
    for link in found:
        inode = by_pid.get(link.pid)
        if inode not in concerned or not link.path.startswith(b"socket:["):
            continue
        path = _bound(link.pid, bound).get(link.path[8:-1])
        if path is None:
            continue
        mount = seen.tables[inode].containing(os.path.normpath(path))
        if mount is not None and mount.id in mounts:
            held.append(Held(link.pid, "socket", mount.id, path))
    return held


def _bound(pid: int, known: dict[int, Mapping[bytes, bytes]]) -> Mapping[bytes, bytes]:
    """Path by inode of the sockets of a process's network namespace; each of those is read once."""
    try:
        network = processes.link_inode(pid, "net")
        if network not in known:
            known[network] = _parsed(processes.read(f"/proc/{pid}/net/unix"))
        root = os.readlink(f"/proc/{pid}/root".encode())
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
        return {}
    return known[network] if root == b"/" else {inode: join(root, path[1:]) for inode, path in known[network].items()}


def _parsed(text: bytes) -> dict[bytes, bytes]:
    """Of proc_net_unix: seven fields, the last of them the inode, then a path where it is bound to one."""
    fields = (line.split(None, 7) for line in text.split(b"\n")[1:])
    return {field[6]: field[7] for field in fields if len(field) > 7 and field[7].startswith(b"/")}


def _devices(mounts: frozenset[int], seen: Survey, home: Table | None) -> tuple[list[Occupant], tuple[Gap, ...]]:
    """Loop devices and swap on files of the mounts. Their paths are as our own namespace shows them."""
    by_device: dict[str, set[int]] = {}
    for table in seen.tables.values():
        for mount in table.mounts:
            by_device.setdefault(mount.device, set()).add(mount.id)
    found, unknown = list[Occupant](), 0
    for name, backing in block_devices.loops():
        on = by_device.get(block_devices.backing_device(name) or "", set())
        shown = home.containing(backing) if home is not None else None
        if shown is not None and shown.id in on:
            found += [Occupant(name, shown.id, path=backing)] if shown.id in mounts else []
        else:
            unknown += not mounts.isdisjoint(on)
    for path, kind in block_devices.swaps():
        shown = home.containing(path) if home is not None and kind == b"file" else None
        if shown is not None and shown.id in mounts:
            found.append(Occupant("swap", shown.id, path=path))
    reason = "its file is on one of several mounts of the file system"
    return found, (Gap("what a loop device holds", reason, None, unknown),) if unknown else ()
