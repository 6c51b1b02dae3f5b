"""Processes that keep mounts of a test host in use, so that nobody can unmount them there but lazily."""

import contextlib
import os
import signal
from collections.abc import Iterator

from tests.support.machine import Machine


@contextlib.contextmanager
def inside(host: Machine, *points: str) -> Iterator[None]:
    """While this lasts a process has its working directory on each of the mounts."""
    held = [host.popen("env", "-C", point, "sh", "-c", "echo; exec sleep 1000") for point in points]
    try:
        for one in held:
            assert one.stdout
            one.stdout.readline()
        yield
    finally:
        for one in held:
            os.killpg(one.pid, signal.SIGKILL)
            one.communicate()
