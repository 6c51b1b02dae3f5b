"""On which mounts processes have their root directory: what is somebody's "/" is in use, whatever else is known."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..kernel import abi, syscalls

_ROOTS = abi.STATX_MNT_ID
_NO_SYNC = abi.AT_STATX_DONT_SYNC | abi.AT_NO_AUTOMOUNT


@dataclass(frozen=True, slots=True)
class ProcessRoots:
    """The root directories of some processes."""

    mounts: frozenset[int]
    """Small ids of the mounts that they are on, each in its process's namespace."""
    devices: frozenset[str]
    """Devices of the directories. That of process 1 is not among them: what of the host's own file system is bound
    somewhere has it too.
    """


def of(pids: Iterable[int]) -> ProcessRoots:
    """The root directories of these processes, by /proc/PID/root, without I/O on their file systems.

    A process that has ended, or may not be asked, has none.
    """
    mounts, devices = set[int](), set[str]()
    own = _root(1)
    for found in map(_root, pids):
        if found is not None:
            mounts.add(found[0])
            devices.add(found[1])
    return ProcessRoots(frozenset(mounts), frozenset(devices - ({own[1]} if own else set())))


def _root(pid: int) -> tuple[int, str] | None:
    try:
        answer = syscalls.statx(abi.AT_FDCWD, b"/proc/%d/root" % pid, _ROOTS, _NO_SYNC)
    except OSError:
        return None
    return int(answer.stx_mnt_id), f"{answer.stx_dev_major}:{answer.stx_dev_minor}"
