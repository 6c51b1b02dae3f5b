"""Very many leaks at once: how long the command and the service take to end them."""

import time

from tests.bench.agent.figures import Aim, Line
from tests.bench.agent.hosts import Bench, Crowd
from tests.bench.agent.page import Section
from tests.bench.agent.service import start, stop

UNIT = "batch.service"
DETACH = ("mountwarden", "detach", "--all", "--yes", "--tier", "mountinfo")
FOUND = ("MOUNTWARDEN_EVENT=found", "MOUNTWARDEN_EVENT=summary")
"""Many at once are one entry."""
COMMAND = Aim(2, "s")
SERVICE = Aim(60, "s")
PATIENCE = 120.0
"""Seconds that the service gets."""


def measure(bench: Bench) -> list[Section]:
    """On a small host: first the command, with no service; then the service."""
    count = bench.few(30, 1000)
    with bench.crowd(bench.few(3, 10), 30) as crowd:
        took, left = _detached(crowd, count)
        lines = [_line("`detach --all`, wall time", took, left, COMMAND)]
        start(crowd.host, "mountinfo")
        took, left = _by_service(crowd, count)
        lines.append(_line("the service, from the first `found` to the end of the last", took, left, SERVICE))
    return [Section(f"{count:,} leaks of one unit", lines)]


def _line(what: str, took: float, left: int, aim: Aim) -> Line:
    figure = f"{took:.1f} s" if not left else f"{left:,} are left after {took:.0f} s"
    return Line(what, figure, aim=aim, measured=float("inf") if left else took, leads=True)


def _leak(crowd: Crowd, count: int) -> tuple[int, float]:
    """A unit with copies of many layers, which the host then unmounts; its pid, and when that began."""
    crowd.tool("layers", "mount", str(count))
    time.sleep(3)  # a service that runs sees them
    crowd.host.unit(UNIT, "MountFlags=private")
    time.sleep(3)
    began = time.time()
    crowd.tool("layers", "umount", str(count))
    return crowd.host.main_pid(UNIT), began


def _left(crowd: Crowd, pid: int) -> int:
    """How many layers are still in the unit's namespace."""
    text = crowd.host.read(f"/proc/{pid}/mountinfo")
    return sum("/batch-" in line for line in text.splitlines())


def _detached(crowd: Crowd, count: int) -> tuple[float, int]:
    """Wall seconds of the command, and how many leaks it left."""
    pid, _ = _leak(crowd, count)
    began = time.monotonic()
    crowd.host.run(*DETACH, check=False, timeout=600)
    took = time.monotonic() - began
    left = _left(crowd, pid)
    crowd.host.run("systemctl", "stop", UNIT)
    return took, left


def _by_service(crowd: Crowd, count: int) -> tuple[float, int]:
    """Seconds from its first entry of them to when none was left, and how many are after its time is up."""
    pid, began = _leak(crowd, count)
    until = time.time() + PATIENCE
    while (left := _left(crowd, pid)) and time.time() < until:
        time.sleep(0.2)
    ended = time.time()
    entries = crowd.host.journal("-t", "mountwarden", *FOUND)
    at = (int(entry["__REALTIME_TIMESTAMP"]) / 1e6 for entry in entries)
    first = min((one for one in at if one > began), default=began)
    crowd.host.run("systemctl", "stop", UNIT)
    stop(crowd.host)
    return ended - first, left
