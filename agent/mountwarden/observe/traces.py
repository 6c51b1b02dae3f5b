"""What all processes name and where they live: enough to say that none has anything to do with a container.

One listing serves any number of containers. It is made in a forked child with a deadline: a command line can't be read
while its process waits for a page of a dead file system. Any user has processes, and what these are must neither keep
the listing from being made nor make it large: a command line may have any length (prctl(2), PR_SET_MM_MAP), a root may
be on a file system that refuses stat(2) to root (FUSE of a user namespace), and the path of a working directory or of a
control group may be longer than the kernel tells.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import NoAnswer
from ..kernel import abi, child, syscalls
from . import processes

DEADLINE = 2.0
"""Seconds for a listing."""
MOST = 1 << 18
"""Words that a listing may have; and 32 times as many bytes."""

_WORD = re.compile(rb"[0-9A-Za-z]+")
_ID = re.compile(rb"[0-9a-f]{64}")
_SHORTEST = 4
"""Digits of an id by which somebody may name it."""
_BEGINNING = re.compile(rb"[0-9a-f]{%d,63}" % _SHORTEST)
_VANISHED = (FileNotFoundError, ProcessLookupError)
_NO_SYNC = abi.AT_STATX_DONT_SYNC | abi.AT_NO_AUTOMOUNT


@dataclass(frozen=True, slots=True)
class Traces:
    """One listing of all processes."""

    text: bytes
    """Each one's command line and control groups, apart by a NUL."""
    words: frozenset[bytes]
    """The words of ASCII letters and digits in that text."""
    beginnings: frozenset[bytes]
    """Those of them of root's processes outside containers that may be the beginning of an id."""
    directories: frozenset[bytes]
    """Working directories, as each process's own namespace has them."""
    roots: frozenset[str]
    """Devices (major:minor) of the file systems on which processes have their roots, as statx(2) gives them."""

    def name(self, identity: bytes) -> bool:
        """Whether a command line or the path of a control group has this name, as a whole word.

        Of an engine's id the beginning is enough, as `docker rm` and `podman restart` take it, where root of the host
        says it: a user could say all that there are.
        """
        if _ID.fullmatch(identity) and any(identity[:end] in self.beginnings for end in range(_SHORTEST, 64)):
            return True
        if not all(word in self.words for word in _WORD.findall(identity)):
            return False
        return re.search(rb"(?<![0-9A-Za-z])%s(?![0-9A-Za-z])" % re.escape(identity), self.text) is not None


def listed() -> Traces:
    """The processes of now. Raises: NoAnswer where they say too much, or that takes too long; OSError where one may not
    be read.
    """
    what = "the child that lists all processes"
    with child.one_at_a_time(what):
        return child.ask(_listed, deadline=DEADLINE, what=what)


def _listed() -> Traces:
    listing, own = _Listing(), os.getpid()
    for pid in processes.pids():
        if pid != own:
            listing.look(pid)
    return Traces(
        b"\0".join(listing.texts),
        frozenset(listing.words),
        frozenset(listing.beginnings),
        frozenset(listing.directories),
        frozenset(listing.roots),
    )


class _Listing:
    """What was found so far: no more than a service can keep."""

    def __init__(self) -> None:
        self.texts: dict[bytes, None] = {}
        self.words: set[bytes] = set()
        self.beginnings: set[bytes] = set()
        self.directories: set[bytes] = set()
        self.roots: set[str] = set()
        self._left = 32 * MOST
        self._here = os.readlink("/proc/self/ns/pid")

    def look(self, pid: int) -> None:
        """At a process: its first thread, or another one where that has ended before the others.

        A zombie has neither directory nor root. Raises: NoAnswer where it is too much.
        """
        for place in _places(pid):
            with contextlib.suppress(*_VANISHED):
                self._take(text := processes.command_line(place))
                if self._is_root_of_the_host(place):
                    self.beginnings.update(word for word in _WORD.findall(text) if _BEGINNING.fullmatch(word))
                with _told():
                    self._take(processes.read(f"{place}/cgroup"))
                with _told():
                    self.directories.add(os.readlink(os.fsencode(f"{place}/cwd")))
                self.roots.add(_device(f"{place}/root"))
                return

    def _is_root_of_the_host(self, place: str) -> bool:
        return os.stat(place).st_uid == 0 and os.readlink(f"{place}/ns/pid") == self._here

    def _take(self, text: bytes) -> None:
        if text not in self.texts:
            self.texts[text] = None
            self.words.update(_WORD.findall(text))
            self._left -= len(text)
        if self._left < 0 or len(self.words) > MOST:
            raise NoAnswer("the processes of the host name more than can be kept")


def _places(pid: int) -> Iterator[str]:
    """Where procfs has what a process is."""
    yield f"/proc/{pid}"
    with contextlib.suppress(*_VANISHED):
        yield from (f"/proc/{pid}/task/{thread}" for thread in os.listdir(f"/proc/{pid}/task"))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Leave out a path that is longer than the kernel tells: no engine's is."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise


def _device(root: str) -> str:
    """Without I/O, and of nothing else: to that no file system has anything to say (fs/fuse/dir.c, fuse_getattr)."""
    answer = syscalls.statx(abi.AT_FDCWD, root.encode(), 0, _NO_SYNC)
    return f"{answer.stx_dev_major}:{answer.stx_dev_minor}"
