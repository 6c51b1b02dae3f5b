"""Whether dockerd can see what the plugin mounts, and if not, which settings of the plugin's unit are the cause.

In a mount namespace of its own with the home's mount private or slave, Get succeeds and the container is empty: the
failure shows only as a program that runc cannot find. So it is checked before the socket is there.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import RefusedToRun

_OCTAL = re.compile(rb"\\([0-7]{3})")

OwnSettings = Callable[[], str | None]
"""Names the settings of our own unit that gave it a mount namespace; None where none is found."""


@dataclass(frozen=True, slots=True)
class Propagation:
    """The peer groups of the mount that holds a path, from the optional fields of proc_pid_mountinfo(5)."""

    shared: int | None
    master: int | None


def propagation_of(mountinfo: bytes, path: bytes) -> Propagation | None:
    """The last mount in a mountinfo text whose mountpoint holds `path`; None if the text shows none."""
    found, longest = None, -1
    for line in mountinfo.splitlines():
        fields = line.split(b" ")
        point = _OCTAL.sub(lambda m: bytes([int(m[1], 8)]), fields[4])
        holds = path == point or path.startswith(point.rstrip(b"/") + b"/")
        if holds and len(point) >= longest:
            found, longest = fields[6 : fields.index(b"-", 6)], len(point)
    if found is None:
        return None
    groups = dict(field.split(b":", 1) for field in found if b":" in field)
    return Propagation(_group(groups, b"shared"), _group(groups, b"master"))


def _group(groups: dict[bytes, bytes], name: bytes) -> int | None:
    return int(groups[name]) if name in groups else None


def reaches(ours: Propagation | None, theirs: Propagation | None) -> bool:
    """Whether a mount made below our mount appears below theirs: peers, or theirs is a slave of ours."""
    return bool(ours and theirs and ours.shared and ours.shared in (theirs.shared, theirs.master))


def require_visible(home: bytes, own_settings: OwnSettings, init_pid: int = 1) -> None:
    """Require that mounts made here reach the mount namespace of PID 1, and so dockerd's. Raises: RefusedToRun.

    Where not even PID 1's mountinfo can be read, nothing is known and nothing is refused.
    """
    ours = _read("/proc/self/mountinfo")
    try:
        theirs = _read(f"/proc/{init_pid}/mountinfo")
    except (PermissionError, FileNotFoundError):
        return
    if _same_namespace(init_pid, ours, theirs):
        return
    if not reaches(propagation_of(ours, home), propagation_of(theirs, home)):
        named = own_settings()
        because = f"'s unit has {named}" if named else " has a mount namespace of its own"
        raise RefusedToRun(
            f"mounts made here do not reach the host: dockerd would see empty containers, as the plugin{because}",
            hint="run the plugin in the host's mount namespace, or share the home's mount with it",
        )


def _same_namespace(init_pid: int, ours: bytes, theirs: bytes) -> bool:
    """By the namespace's link; PID 1's is unreadable to root in some containers, and then by the ids of the mounts."""
    try:
        return os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{init_pid}/ns/mnt")
    except (PermissionError, FileNotFoundError):
        return bool(_ids(ours) & _ids(theirs))


def _ids(mountinfo: bytes) -> set[bytes]:
    """Mount ids are unique over all namespaces."""
    return {line.partition(b" ")[0] for line in mountinfo.splitlines()}


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
