"""When processes started and directories were made. What may hang is asked in a forked child."""

import os
import time

from ..errors import NoAnswer
from ..kernel import child, syscalls
from . import processes
from .enter import DEADLINE


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it has ended or may not be read.

    No other process of the boot has the same pid and start.
    """
    try:
        return int(processes.stat_fields(pid)[22])
    except OSError:
        return None


def start_ticks_before(pid: int, boot: float) -> int | None:
    """The same; None also for a process that is not surely older than `boot`, in seconds of CLOCK_BOOTTIME."""
    ticks = start_ticks(pid)
    return ticks if ticks is not None and (ticks + 1) / os.sysconf("SC_CLK_TCK") <= boot else None


def process_started(pid: int) -> float | None:
    """Seconds since the Epoch at which a process started, to 10 ms; None when it has ended or may not be read."""
    ticks = start_ticks(pid)
    if ticks is None:
        return None
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def born(path: bytes) -> float | None:
    """Seconds since the Epoch at which a directory was made; None where it can't be had, or not in time."""
    try:
        return child.ask(lambda: syscalls.birth_time(path), deadline=DEADLINE, what="the child that asks for a time")
    except (OSError, NoAnswer):
        return None
