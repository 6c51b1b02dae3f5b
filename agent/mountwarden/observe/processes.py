"""Processes: which ones exist, in which mount namespace, and which of them are engines' daemons."""

import errno
import os
from dataclasses import dataclass

from .enter import own_namespace

BEGINNING = 1 << 15
"""Bytes of a command line that count: shims, monitors and runtimes name their container among the first words."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon of an engine that is not inside a container."""

    pid: int
    comm: str
    argv: tuple[bytes, ...]
    namespace: int
    """Inode of its mount namespace."""
    own: bool
    """It is in our own mount namespace, so that its files can be read by path."""


def pids() -> list[int]:
    """Every process that /proc shows now, lowest first."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def read(path: str) -> bytes:
    """A small file of procfs, whole. Raises: OSError as open(2) and read(2) do."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


def read_or_empty(path: str) -> bytes:
    """The same; empty where it can't be read."""
    try:
        return read(path)
    except OSError:
        return b""


def command_line(place: str) -> bytes:
    """The beginning of a command line, which any process may make as long as its memory: prctl(2), PR_SET_MM_MAP.

    `place` is its directory in procfs. Waits for its memory, which a user may have on a file system that does not
    answer. Raises: OSError as open(2) and read(2) do.
    """
    with open(f"{place}/cmdline", "rb", buffering=0) as file:
        return file.read(BEGINNING) or b""


def comm(pid: int) -> str:
    """The process's name, proc_pid_comm(5). Any process may choose it: it is shown, never trusted.

    Raises: OSError where the process has ended.
    """
    return os.fsdecode(read(f"/proc/{pid}/comm").rstrip(b"\n"))


def is_alive(pid: int) -> bool:
    """Whether a process with this id, of any user, runs. One that has ended and waits for its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        fields = stat_fields(pid)
    except OSError:  # it ended just now, or /proc hides it (hidepid=)
        return not os.access("/proc/1/stat", os.R_OK)
    # State and num_threads: a first thread may end before the others.
    return fields[3] not in (b"Z", b"X") or int(fields[20]) > 1


def stat_fields(pid: int) -> dict[int, bytes]:
    """The fields of a process's stat from the third one on, numbered as in proc_pid_stat(5). Raises: OSError.

    The name, field 2, may hold anything, but its parenthesis is the last.
    """
    text = read(f"/proc/{pid}/stat")
    return dict(enumerate(text[text.rindex(b")") + 2 :].split(), start=3))


def link_inode(pid: int, namespace: str) -> int:
    """Inode of one of the process's namespaces, from the link's text `mnt:[4026531841]`, without opening it.

    Raises: OSError as readlink(2) does: ENOENT or ESRCH where the process has ended, EACCES where it may not be read.
    """
    try:
        text = os.readlink(f"/proc/{pid}/ns/{namespace}")
    except PermissionError:
        raise_if_ended(pid)
        raise
    return int(text[text.index("[") + 1 : -1])


def raise_if_ended(pid: int) -> None:
    """After an EACCES: of one that ends in that moment too, the kernel says that of its namespaces (proc_ns_readlink
    and proc_ns_get_link in fs/proc/namespaces.c). Raises: ProcessLookupError.
    """
    if not os.path.exists(f"/proc/{pid}"):
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None


class DaemonWatch:
    """Finds daemons by their command name.

    The name of each process is read twice, because a child of systemd may be seen between its fork and its exec;
    after `resync` all are read again. Only a process of root counts, in our own pid and user namespaces and with "/" as
    its root: any user may call a process dockerd, and an engine inside a container manages that container's roots only.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._seen: dict[int, int] = {}
        self._daemons: dict[int, Daemon] = {}

    def resync(self) -> None:
        """Read the name of every process at the next update."""
        self._seen.clear()

    def update(self, living: list[int]) -> tuple[Daemon, ...]:
        """The daemons among the `living` processes, lowest pid first. Raises: OSError but for an ended process."""
        seen = {pid: self._seen.get(pid, 0) for pid in living}
        for pid, times in seen.items():
            if times < 2 or pid in self._daemons:
                self._scan(pid)
            seen[pid] = min(times + 1, 2)
        self._seen = seen
        self._daemons = {pid: daemon for pid, daemon in self._daemons.items() if pid in seen}
        return tuple(self._daemons[pid] for pid in sorted(self._daemons))

    def _scan(self, pid: int) -> None:
        known = self._daemons.pop(pid, None)
        try:
            name = comm(pid)
            if name in self._names and (daemon := _daemon(pid, name)):
                self._daemons[pid] = known if known == daemon else daemon
        except (FileNotFoundError, ProcessLookupError):
            pass  # it ended meanwhile


def _daemon(pid: int, name: str) -> Daemon | None:
    if os.stat(f"/proc/{pid}").st_uid != 0 or os.readlink(f"/proc/{pid}/root") != "/":
        return None
    if any(link_inode(pid, kind) != os.stat(f"/proc/self/ns/{kind}").st_ino for kind in ("pid", "user")):
        return None
    argv = tuple(read(f"/proc/{pid}/cmdline").rstrip(b"\0").split(b"\0"))
    namespace = link_inode(pid, "mnt")
    return Daemon(pid, name, argv, namespace, namespace == own_namespace())
