"""A Looker that sees this test run alone: what others do on the machine meanwhile would be seen too."""

import os
from collections.abc import Callable

from mountwarden.observe import processes, processless

_RUN = os.getpid()


def only_ours() -> None:
    """From here on, for the rest of a forked child: no process but this run's own is there to be looked at."""
    every: Callable[[], list[int]] = processes.pids
    processes.pids = lambda: [pid for pid in every() if _is_ours(pid)]
    processless._walked = lambda: ((), ())  # others' namespaces would now seem to have no process


def _is_ours(pid: int) -> bool:
    while pid not in (0, _RUN):
        try:
            pid = int(processes.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return False
    return pid == _RUN
