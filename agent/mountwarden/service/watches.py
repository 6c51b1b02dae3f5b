"""Which directories are watched for a root, an engine or a configuration that appears or changes."""

import os
import time
from collections.abc import Iterable

from ..model import RootState
from .triggers import Triggers, Wake, Watch

ENGINE_DIRECTORIES = (b"/etc/docker", b"/etc/containers", b"/etc/containerd")
"""Where engines keep the files that name their roots."""
USUAL_ROOTS = (b"/var/lib/docker", b"/var/lib/containers/storage", b"/run/containerd", b"/var/lib/kubelet")
"""Roots that an engine's first start makes."""
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs", "glusterfs", "lustre", "gpfs", "virtiofs"})
"""File systems on which even a path's lookup can hang; so can any that starts with "fuse"."""

RETRY = 60.0
"""Seconds after which what a limit kept from being watched is tried again."""

_SELF = 0x400 | 0x800  # IN_DELETE_SELF, IN_MOVE_SELF
_APPEARS = 0x100 | 0x80  # IN_CREATE, IN_MOVED_TO
_CONTENT = 0x8 | 0x40 | 0x80 | 0x200  # IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_DELETE


class Watches:
    """Keeps the watches up with the roots."""

    def __init__(self, triggers: Triggers, configuration: bytes) -> None:
        """`configuration` is its directory."""
        self._triggers = triggers
        self._configuration = configuration
        self._roots: frozenset[bytes] | None = None
        self._again = 0.0

    def update(self, states: Iterable[RootState]) -> None:
        """Watch what the roots of a scan ask for, if they changed or `renew` was called since."""
        local = (state for state in states if state.mount is not None and is_local(state.mount.fstype))
        roots = frozenset(state.root.path for state in local)
        if roots != self._roots and time.monotonic() >= self._again:
            complete = self._triggers.watch(watch_list(roots, self._configuration))
            self._roots = roots if complete else None
            self._again = 0.0 if complete else time.monotonic() + RETRY

    def renew(self) -> None:
        """A watched directory went or another came: the next scan's roots are watched anew."""
        self._roots, self._again = None, 0.0


def watch_list(roots: Iterable[bytes], own: bytes) -> list[Watch]:
    """The directories to watch, as the host is now. `roots` are paths on local file systems, `own` our configuration.

    A root that is there is watched only for its own end: its engine makes and removes entries in it all the time, and
    mountinfo reports mounts. For one that is not there yet, the nearest parent that is there is watched.
    """
    watches: list[Watch] = []
    for path in {*roots, *USUAL_ROOTS}:
        watches.append(_awaited(path, Wake.ROOTS) or Watch(path, _SELF, Wake.ROOTS))
    for path in ENGINE_DIRECTORIES:
        watches.append(_awaited(path, Wake.ENGINES) or Watch(path, _CONTENT | _SELF, Wake.ENGINES))
    for path in (own, os.path.join(own, b"mountwarden.toml.d")):
        watches.append(_awaited(path, Wake.CONFIG) or Watch(path, _CONTENT, Wake.CONFIG, suffix=".toml"))
    return watches


def is_local(fstype: str) -> bool:
    """Whether a path's lookup on such a file system can't hang on a network or a program."""
    return fstype not in REMOTE and not fstype.startswith("fuse")


def _awaited(path: bytes, wake: Wake) -> Watch | None:
    """The watch for a directory that does not exist; None when it does."""
    if os.path.isdir(path):
        return None
    missing = path
    while not os.path.isdir(parent := os.path.dirname(missing)):
        missing = parent
    return Watch(parent, _APPEARS | _SELF, wake, os.fsdecode(os.path.basename(missing)))
