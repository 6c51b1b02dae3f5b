"""What all processes name and where they live: enough to say that none has anything to do with a container.

One listing serves any number of containers. It is made in a forked child with a deadline: a command line can't be read
while its process waits for a page of a dead file system, and a root may lie on one.
"""

import os
import re
from dataclasses import dataclass

from ..kernel import child
from . import processes

DEADLINE = 2.0
"""Seconds for a listing."""

_WORD = re.compile(rb"[0-9A-Za-z]+")
_ID = re.compile(rb"[0-9a-f]{64}")
_SHORTEST = 4
"""Digits of an id by which somebody may name it."""
_VANISHED = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True, slots=True)
class Traces:
    """One listing of all processes."""

    text: bytes
    """Each one's command line and control groups, apart by a NUL."""
    words: frozenset[bytes]
    """The words of ASCII letters and digits in that text."""
    directories: frozenset[bytes]
    """Working directories, as each process's own namespace has them."""
    roots: frozenset[str]
    """Devices (major:minor) of the file systems on which processes have their roots, as stat(2) gives them."""

    def name(self, identity: bytes) -> bool:
        """Whether a command line or the path of a control group has this name, as a whole word.

        Of an engine's id the beginning is enough, as `docker rm` and `podman restart` take it.
        """
        if _ID.fullmatch(identity) and any(identity[:end] in self.words for end in range(_SHORTEST, len(identity))):
            return True
        if not all(word in self.words for word in _WORD.findall(identity)):
            return False
        return re.search(rb"(?<![0-9A-Za-z])%s(?![0-9A-Za-z])" % re.escape(identity), self.text) is not None


def listed() -> Traces:
    """The processes of now. Raises: NoAnswer where that takes too long; OSError where one may not be read."""
    text, directories, roots = child.ask(_listed, deadline=DEADLINE, what="the child that lists all processes")
    return Traces(text, frozenset(_WORD.findall(text)), directories, roots)


def _listed() -> tuple[bytes, frozenset[bytes], frozenset[str]]:
    parts: list[bytes] = []
    directories, roots = set[bytes](), set[str]()
    own = os.getpid()
    for pid in processes.pids():
        if pid == own:
            continue
        try:
            parts += [processes.read(f"/proc/{pid}/{name}") for name in ("cmdline", "cgroup")]
            directories.add(os.readlink(b"/proc/%d/cwd" % pid))
            device = os.stat(f"/proc/{pid}/root").st_dev
            roots.add(f"{os.major(device)}:{os.minor(device)}")
        except _VANISHED:
            continue  # it has ended: a zombie has neither directory nor root
    return b"\0".join(parts), frozenset(directories), frozenset(roots)
