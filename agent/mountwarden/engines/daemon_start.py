"""Which times of files are surely from before a daemon's start.

A file's time is of the wall clock, and that may have been set since: then the daemon's own mounts could seem older than
it is. Its start is therefore taken from two clocks: the one that runs since the boot, from which today's wall clock
gives the start, and the time of something that was made at the start, one of its sockets or systemd's note of the
unit's invocation (systemd, src/core/unit.c, unit_export_invocation_id). Where the two are far apart the clock was set,
and nothing is known; else what is older than both is older than the daemon. What stays is a clock that was set back
and forth again since the start.
"""

import os
from collections.abc import Sequence

from ..observe import processes
from ..observe.processes import Daemon
from ..observe.start_times import process_started
from ..systemd import cgroups

_INVOCATIONS = "/run/systemd/units/invocation:"
_APART = 60.0
"""Seconds from a start to the last that is made at it."""
_MARGIN = 2.0


def marks(daemon: Daemon, sockets: Sequence[bytes]) -> tuple[bytes, ...]:
    """Paths of what may have been made at its start. Raises: OSError where it has ended."""
    unit = cgroups.place(processes.read(f"/proc/{daemon.pid}/cgroup")).unit
    return (*sockets, os.fsencode(f"{_INVOCATIONS}{unit}")) if unit and "/" not in unit else tuple(sockets)


def before(daemon: Daemon, marks: Sequence[bytes]) -> float | None:
    """Seconds since the Epoch; None where it can't be said. For a child: it asks file systems, in the caller's view."""
    started = process_started(daemon.pid)
    if started is None:
        return None
    times = [time for time in map(_made, marks) if time is not None and abs(time - started) <= _APART]
    nearest = min(times, key=lambda time: abs(time - started), default=None)
    return None if nearest is None else min(started, nearest) - _MARGIN


def _made(path: bytes) -> float | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return None if status.st_uid else status.st_mtime  # what a user says to be a socket of the daemon's is no mark
