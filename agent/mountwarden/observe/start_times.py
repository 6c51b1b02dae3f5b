"""When processes started and directories were made. What may hang is asked in a forked child."""

import os
import time

from ..errors import NoAnswer
from ..kernel import child, syscalls
from . import processes
from .enter import DEADLINE


def process_started(pid: int) -> float | None:
    """Seconds since the Epoch at which a process started, to 10 ms; None when it has ended or may not be read."""
    try:
        text = processes.read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # proc_pid_stat(5): starttime is field 22. The name, field 2, may hold anything, but its parenthesis is the last.
    fields = text[text.rindex(b")") + 2 :].split()
    since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot


def born(path: bytes) -> float | None:
    """Seconds since the Epoch at which a directory was made; None where it can't be had, or not in time."""
    try:
        return child.ask(lambda: syscalls.birth_time(path), deadline=DEADLINE, what="the child that asks for a time")
    except (OSError, NoAnswer):
        return None
