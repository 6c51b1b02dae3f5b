"""Whether an engine's daemon is there to own what it mounted: the ground on which every proof of an owner's end is.

Of one that has just started nobody can say what it still takes up again: dockerd restores its containers, containerd
its shims, kubelet its pods, one after the other.
"""

import os
import time
from collections.abc import Sequence

from ..observe import processes, unix_sockets
from ..observe.frozen import acts
from ..observe.processes import Daemon
from ..observe.start_times import start_ticks
from . import docker_api, grpc_unix

SECONDS = unix_sockets.SECONDS
"""For a daemon to answer."""


def runs(daemon: Daemon, older_than: float) -> bool:
    """Whether it is still this daemon, at work, and started at least `older_than` seconds ago. Never raises."""
    try:
        if processes.comm(daemon.pid) != daemon.comm or processes.link_inode(daemon.pid, "mnt") != daemon.namespace:
            return False
        started = started_at(daemon)
        return started is not None and _boot() - started >= older_than and acts(daemon.pid)
    except (OSError, ValueError):
        return False


def answer(daemon: Daemon, sockets: Sequence[bytes]) -> None:
    """Have the daemon answer on one of its sockets: for a child with a deadline, in the daemon's mount namespace.

    Raises: OSError, ValueError where it does not.
    """
    if daemon.comm == "dockerd":
        docker_api.containers(sockets, daemon.pid)
    else:
        grpc_unix.first_answering(sockets, daemon.pid)


def started_at(daemon: Daemon) -> float | None:
    """When it started, in seconds of CLOCK_BOOTTIME; None where it has ended."""
    ticks = start_ticks(daemon.pid)
    return None if ticks is None else ticks / os.sysconf("SC_CLK_TCK")


def _boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
