"""Whether a process is stopped, frozen or a zombie, and so does nothing whatever it may hold."""

import os
from collections.abc import Iterator

from . import processes

_UNIFIED = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
"""Where systemd mounts version 2 of the control groups: alone, or beside version 1."""
_FREEZER = "/sys/fs/cgroup/freezer"


def acts(pid: int) -> bool:
    """Whether the process runs or waits as any other does: no zombie, not stopped or traced, not frozen.

    proc_pid_stat(5): Z, X, x, T, t. kernel's cgroup-v2.rst: cgroup.freeze of a group or of one above it;
    freezer-subsystem.rst: freezer.state, which has what the groups above have too. Where the process's control group
    is not found, it counts as frozen. Raises: OSError where the process has ended.
    """
    state = processes.stat_fields(pid)[3]
    return state not in (b"Z", b"X", b"x", b"T", b"t") and not _frozen(processes.read(f"/proc/{pid}/cgroup"))


def _frozen(groups: bytes) -> bool:
    for line in groups.splitlines():
        _number, controllers, path = os.fsdecode(line).split(":", 2)
        if not controllers and _frozen_unified(path.removesuffix(" (deleted)")):
            return True
        if "freezer" in controllers.split(",") and _read(f"{_FREEZER}{path}/freezer.state") not in (None, "THAWED"):
            return True
    return False


def _frozen_unified(path: str) -> bool:
    place = next((place for place in _UNIFIED if os.path.exists(f"{place}{path}/cgroup.procs")), None)
    return path != "/" if place is None else any(_read(f"{place}{one}/cgroup.freeze") == "1" for one in _upwards(path))


def _upwards(path: str) -> Iterator[str]:
    while path != "/":
        yield path
        path = os.path.dirname(path)


def _read(path: str) -> str | None:
    try:
        return processes.read(path).decode(errors="replace").strip()
    except FileNotFoundError:
        return None  # a root group has none
