"""A build of BuildKit's in dockerd that stands still in a RUN: its executor's mounts are there as long as it lasts."""

import contextlib
import os
import signal
from collections.abc import Iterator

from tests.support.engines import IMAGE
from tests.support.machine import Machine
from tests.support.wait import wait_until

EXECUTOR = "/buildkit/executor/"
"""Below the data-root: a directory for each RUN, with its mountpoint `rootfs`."""

_DOCKERFILE = f"""
FROM {IMAGE}
RUN --mount=type=cache,target=/cache sleep 1000
"""


@contextlib.contextmanager
def building(host: Machine, name: str = "built") -> Iterator[str]:
    """While this lasts, `docker build` is in its RUN; gives the mountpoint of that RUN's file system.

    At the end the client is ended, and by that the build.
    """
    host.write(f"/root/{name}/Dockerfile", _DOCKERFILE)
    before = set(executors(host))
    client = host.popen("docker", "build", "--no-cache", "--network=none", "-t", name, f"/root/{name}")
    try:
        wait_until(lambda: set(executors(host)) - before, 30, "the RUN's file system is mounted")
        (mountpoint,) = set(executors(host)) - before
        yield mountpoint
    finally:
        os.killpg(client.pid, signal.SIGTERM)
        client.communicate(timeout=30)


def executors(host: Machine) -> list[str]:
    """The mountpoints of RUNs in PID 1's namespace."""
    points = (line.split(" ")[4] for line in host.read("/proc/1/mountinfo").splitlines())
    return [point for point in points if EXECUTOR in point]
