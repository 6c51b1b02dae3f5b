"""A build of BuildKit's in dockerd that stands still in a RUN: its executor's mounts are there as long as it lasts."""

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator

from tests.support.engines import IMAGE
from tests.support.machine import Machine
from tests.support.wait import wait_until

EXECUTOR = "/buildkit/executor/"
"""Below the data-root: a directory for each RUN, with its mountpoint `rootfs`."""

_DOCKERFILE = """
FROM {image}
RUN --mount=type=cache,target=/cache sleep {seconds}
"""
_SECONDS = itertools.count(1000)
"""Each build of this kind sleeps for another time, by which its process is known among those of others."""


@contextlib.contextmanager
def building(host: Machine, name: str = "built") -> Iterator[str]:
    """While this lasts, `docker build` is in its RUN; gives the mountpoint of that RUN's file system.

    At the end the client is ended, and by that the build.
    """
    seconds = next(_SECONDS)
    host.write(f"/root/{name}/Dockerfile", _DOCKERFILE.format(image=IMAGE, seconds=seconds))
    client = host.popen("docker", "build", "--no-cache", "--network=none", "-t", name, f"/root/{name}")
    try:
        mountpoint = wait_until(lambda: _of(host, seconds), 60, "the RUN sleeps in its file system")
        yield mountpoint
    finally:
        os.killpg(client.pid, signal.SIGTERM)
        client.communicate(timeout=30)


def executors(host: Machine) -> list[str]:
    """The mountpoints of RUNs in PID 1's namespace."""
    points = (line.split(" ")[4] for line in host.read("/proc/1/mountinfo").splitlines())
    return [point for point in points if EXECUTOR in point]


def build(host: Machine, name: str, seconds: int) -> None:
    """A whole build, of a RUN that takes so long."""
    host.write(f"/root/{name}/Dockerfile", _DOCKERFILE.format(image=IMAGE, seconds=seconds))
    host.docker("build", "--no-cache", "--network=none", "-t", name, f"/root/{name}")


def _of(host: Machine, seconds: int) -> str | None:
    """Where the file system is mounted that the process of a RUN has as its root."""
    pid = host.run("pgrep", "-f", "-x", f"sleep {seconds}", check=False).stdout.strip()
    tables = [host.run("cat", f"/proc/{one}/mountinfo", check=False).stdout for one in (pid, "1")] if pid else ["", ""]
    inside, home = ([line.split(" ") for line in table.splitlines()] for table in tables)
    devices = {fields[2] for fields in inside if fields[4] == "/"}
    return next((fields[4] for fields in home if fields[2] in devices and EXECUTOR in fields[4]), None)
