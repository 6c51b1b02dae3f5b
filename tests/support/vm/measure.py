"""Runs in a guest: what a scan after one change costs, how soon leaks are told beside churn, and what idling costs.

The guest's processor is emulated, so that only ratios say anything; what is told within which time says that it is.
"""

import contextlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mountwarden.kernel import syscalls

from tests.bench.agent.crowd import ROOT
from tests.bench.agent.figures import middle, paired
from tests.bench.agent.idle import UNITS
from tests.bench.agent.planted import LIVES, PAUSE
from tests.support.scratch_ns import hold, overlay
from tests.support.wait import wait_until

NAMESPACES, MOUNTS = 50, 200
PLANTED = 6
CHURN = 1.0
"""Seconds between two mounts that come and go."""
ROUNDS = 3
IDLE, SETTLED = 30.0, 15.0
"""Seconds over which an idle service is measured, and before that."""
PATIENCE = 90.0
_CAME = Path("/tmp/came")
CHANGES = ("mount", "umount", "other")
_GROUP = Path("/sys/fs/cgroup/measured")
_REPORT = Path("/run/mountwarden/report.json")


def measure(tier: str) -> dict[str, Any]:
    """All of it, with the tier that the service uses here; the guest is left with the mounts, and without processes."""
    with _crowd():
        told: dict[str, Any] = {"size": [NAMESPACES, MOUNTS], "scan": _scans(tier)}
        with _agent():
            time.sleep(SETTLED)
            alone = _share()
            with _leaky(UNITS):
                time.sleep(SETTLED)
                told["idle"] = {"alone": alone, "beside": _share(), "namespaces": UNITS}
    with _agent():  # with few namespaces: what the budget allows an emulated processor would take most of the time
        told["churn"] = _churned()
    return told


@contextlib.contextmanager
def _crowd() -> Iterator[None]:
    command = [sys.executable, "-m", "tests.bench.agent.crowd", str(NAMESPACES), str(MOUNTS)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as crowd:
        assert crowd.stdout
        assert crowd.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            crowd.kill()


def _scans(tier: str) -> dict[str, float]:
    """The ratio of the scan after each change to reading all texts, and the seconds of that."""
    names = [f"{change}-{tier}" for change in CHANGES]
    command = [sys.executable, "-m", "tests.bench.agent.scan_costs", str(ROUNDS), "read", *names]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    times = json.loads(done.stdout)
    ratios = {change: paired(times[f"{change}-{tier}"], times["read"]) for change in CHANGES}
    return ratios | {"reading": middle(times["read"])}


@contextlib.contextmanager
def _agent() -> Iterator[None]:
    """The service, which only observes, in a control group that counts what it takes."""
    _GROUP.mkdir(exist_ok=True)
    started = time.time()
    command = [sys.executable, "-m", "mountwarden", "agent", "--observe"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=lambda: _join(os.getpid())
    ) as agent:
        wait_until(lambda: _REPORT.exists() and _REPORT.stat().st_mtime > started, PATIENCE, "its first report")
        try:
            yield
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait(PATIENCE)


def _join(pid: int) -> None:
    (_GROUP / "cgroup.procs").write_text(str(pid))


def _share() -> float:
    """Of a core, what the service takes from now on."""
    before, began = _used(), time.monotonic()
    time.sleep(IDLE)
    return (_used() - before) / (time.monotonic() - began)


def _used() -> float:
    fields = dict(line.split() for line in (_GROUP / "cpu.stat").read_text().splitlines())
    return int(fields["usage_usec"]) / 1e6


def _told() -> dict[str, float]:
    """When it was seen that a leak is confirmed, by its mountpoint."""
    findings = json.loads(_REPORT.read_text())["findings"]
    now = time.time()
    return {one["mountpoint"]: now for one in findings if one["kind"] == "leaked" and one["confirmed"]}


@contextlib.contextmanager
def _leaky(count: int) -> Iterator[None]:
    """Private namespaces, each with a leak of its own, once all are told."""
    with contextlib.ExitStack() as stack:
        points = [_leak(stack, b"leaky-%d" % number, 0.0) for number in range(count)]
        wait_until(lambda: {os.fsdecode(one) for one in points} <= _told().keys(), PATIENCE, "all are told")
        yield


def _leak(stack: contextlib.ExitStack, name: bytes, lives: float) -> bytes:
    """A layer that a new namespace keeps; its mountpoint."""
    layer = overlay(ROOT + b"/" + name)
    stack.enter_context(hold(propagation="private"))
    time.sleep(lives)
    syscalls.umount(layer.merged)
    return layer.merged


def _churned() -> dict[str, Any]:
    """Leaks that are planted while other mounts and namespaces come and go: seconds until each is told."""
    gone: dict[str, float] = {}
    told: dict[str, float] = {}

    def watch(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not (len(gone) == PLANTED and gone.keys() <= told.keys()):
            for point, at in _told().items():
                told.setdefault(point, at)
            time.sleep(0.05)

    with _churn() as came, contextlib.ExitStack() as stack:
        for number in range(PLANTED):
            point = os.fsdecode(_leak(stack, b"planted-%d" % number, LIVES))
            gone[point] = time.time()
            watch(PAUSE)
        watch(PATIENCE)
        seconds = [told.get(point, math.inf) - at for point, at in gone.items()]
        starts = came()
    found = [one for one in seconds if one < math.inf]
    median, longest = (middle(found), max(found)) if found else (None, None)
    return {"planted": PLANTED, "told": len(found), "median": median, "longest": longest, "starts": starts}


@contextlib.contextmanager
def _churn() -> Iterator[Callable[[], int]]:
    """Layers and namespaces that come and go within; how many there were."""
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.die_with_parent(signal.SIGKILL)
            for number in itertools.count():
                layer = overlay(ROOT + b"/churn-%d" % (number % 4))
                with hold(propagation="slave"):
                    syscalls.umount(layer.merged)
                _CAME.write_text(str(number + 1))
                time.sleep(CHURN)
        finally:
            os._exit(1)
    try:
        yield lambda: int(_CAME.read_text())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
