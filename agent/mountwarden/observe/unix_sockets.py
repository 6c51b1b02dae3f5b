"""Unix sockets on which processes listen, by proc_pid_net(5) and the links of /proc/PID/fd, and connections to them.

The lines of /proc/PID/net/unix are `Num: RefCount Protocol Flags Type St Inode Path` (net/unix/af_unix.c,
unix_seq_show); Flags has __SO_ACCEPTCON of a socket that listens. Any user may bind a socket to a path with a newline
in it, and so add a line of his own making: who connects must ask whose the peer is.
"""

import os
import re
import socket
import struct
from collections.abc import Iterator

from . import processes

SECONDS = 2.0
"""For a peer to answer."""

_ACCEPTCON = 0x10000
_LINK = re.compile(r"socket:\[(\d+)\]")


def names(pid: int) -> frozenset[bytes]:
    """What anybody listens on in the network namespace of a process: paths as they were bound, `@name` if abstract.

    A path's name is a name of the file system, and is seen here only where the socket is of that network namespace.

    Raises: OSError where the process has ended.
    """
    return frozenset(name for _inode, name in _listening(pid))


def own(pid: int) -> tuple[bytes, ...]:
    """The paths that the process itself listens on, or was given by systemd(1) to listen on. Raises: OSError."""
    held = _held(pid)
    return tuple(name for inode, name in _listening(pid) if inode in held and name.startswith(b"/"))


def connected(path: bytes) -> socket.socket:
    """A connection to a socket of root, unix(7), that waits `SECONDS` at most each time.

    Raises: PermissionError where another user listens; OSError.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    made.settimeout(SECONDS)
    try:
        made.connect(path)
        _pid, uid, _gid = struct.unpack("3i", made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid:
            raise PermissionError("the socket is another user's")
    except BaseException:
        made.close()
        raise
    return made


def _listening(pid: int) -> Iterator[tuple[int, bytes]]:
    for line in processes.read(f"/proc/{pid}/net/unix").splitlines()[1:]:
        fields = line.split(maxsplit=7)
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
