"""Unix sockets on which processes listen, by proc_pid_net(5) and the links of /proc/PID/fd, and connections to them.

The lines of /proc/PID/net/unix are `Num: RefCount Protocol Flags Type St Inode Path` (net/unix/af_unix.c,
unix_seq_show); Flags has __SO_ACCEPTCON of a socket that listens. Any user may bind a socket to a path with a newline
in it, and so add lines of his own making: who connects must ask whose the peer is, and go on with the next one. And he
may have as many sockets as he likes: the list is never held whole.
"""

import heapq
import os
import re
import socket
import struct
from collections.abc import Collection, Iterator

SECONDS = 2.0
"""For a peer to answer."""
EACH = 1.0
"""Seconds for one socket, so that another one may still answer."""
MOST = 100
"""Sockets of one process."""

_USUAL = frozenset(
    directory + name
    for directory in (b"/run", b"/var/run")
    for name in (b"/docker.sock", b"/containerd/containerd.sock", b"/docker/containerd/containerd.sock")
)

_ACCEPTCON = 0x10000
_LINK = re.compile(r"socket:\[(\d+)\]")


def served(pid: int, wanted: Collection[bytes]) -> frozenset[bytes]:
    """Those of these last components of paths on which anybody listens in the network namespace of a process.

    A path's name is a name of the file system, and is seen here only where the socket is of that network namespace.

    Raises: OSError where the process has ended.
    """
    bases = (os.path.basename(name) for _inode, name in _listening(pid))
    return frozenset(base for base in bases if base in wanted)


def own(pid: int) -> tuple[bytes, ...]:
    """The paths that the process itself listens on, or was given by systemd(1) to listen on: `MOST` at most, and first
    those in whose directories root alone can put a name. Raises: OSError.
    """
    held = _held(pid)
    found = (name for inode, name in _listening(pid) if inode in held and name.startswith(b"/"))
    return tuple(dict.fromkeys(heapq.nsmallest(MOST, found, key=lambda name: name not in _USUAL)))


def connected(path: bytes, pid: int) -> socket.socket:
    """A connection to a socket of that process, or of systemd(1), which is made at once or not; it waits `EACH` at most
    each time.

    Who called listen(2) counts, unix(7). Raises: PermissionError where another process did; OSError.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    made.setblocking(False)
    try:
        made.connect(path)
        peer, uid, _gid = struct.unpack("3i", made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid or peer not in (1, pid):
            raise PermissionError("the socket is another process's")
        made.settimeout(EACH)
    except BaseException:
        made.close()
        raise
    return made


def _listening(pid: int) -> Iterator[tuple[int, bytes]]:
    with open(f"/proc/{pid}/net/unix", "rb") as lines:
        next(lines, b"")
        for line in lines:
            fields = line.removesuffix(b"\n").split(maxsplit=7)
            try:
                if len(fields) == 8 and int(fields[3], 16) & _ACCEPTCON:
                    yield int(fields[6]), fields[7]
            except ValueError:
                continue  # the rest of a name with a newline


def _held(pid: int) -> frozenset[int]:
    """Inodes of the sockets that a process has open."""
    found = set[int]()
    directory = f"/proc/{pid}/fd"
    for name in os.listdir(directory):
        try:
            link = _LINK.fullmatch(os.readlink(f"{directory}/{name}"))
        except FileNotFoundError:
            continue  # closed meanwhile
        if link:
            found.add(int(link[1]))
    return frozenset(found)
