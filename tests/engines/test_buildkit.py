"""dockerd's own BuildKit: the file system that a build's step runs in, live, left by a step cut short, and ended."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.engines.test_nested import assert_quiet
from tests.support.fixtures import booted
from tests.support.machine import Machine
from tests.support.strace import inject
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

EXECUTOR = "/var/lib/docker/buildkit/executor/"


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    """A host with the service, dockerd and its image."""
    with booted() as machine:
        machine.run("systemctl", "start", "mountwarden")
        machine.start_docker()
        machine.import_image("docker")
        machine.write("/root/build/Dockerfile", 'FROM bb\nRUN ["/bin/sleep", "7777"]\n')
        yield machine


@contextlib.contextmanager
def step(host: Machine) -> Iterator[str]:
    """A build whose step runs: the mountpoint of its file system. At the exit the build is cancelled."""
    build = ("env", "DOCKER_BUILDKIT=1", "docker", "build", "--no-cache", "--network=none", "/root/build")
    client = host.popen(*build)
    try:
        wait_until(lambda: mounted(host, 1), 60, "a step runs")
        wait_until(lambda: host.run("pgrep", "-f", "sleep 7777", check=False).returncode == 0, 30, "it sleeps")
        (point,) = mounted(host, 1)
        yield point
    finally:
        host.run("pkill", "-INT", "-x", "docker", check=False)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(client.pid, signal.SIGTERM)
        client.communicate(timeout=30)
        wait_until(lambda: not mounted(host, 1), 60, "dockerd has cancelled it")


def mounted(host: Machine, pid: int) -> list[str]:
    """The mountpoints of steps in a process's namespace."""
    points = (line.split(" ")[4] for line in host.read(f"/proc/{pid}/mountinfo").splitlines())
    return [point for point in points if point.startswith(EXECUTOR)]


def test_a_step_that_runs_and_is_cancelled_is_nothing(host: Machine) -> None:
    unit = host.unit("beside", "PrivateTmp=yes")
    with step(host):
        assert_quiet(host)
    assert_quiet(host)
    assert mounted(host, host.main_pid(unit)) == []


def test_what_a_step_cut_short_leaves_is_ended(host: Machine) -> None:
    """dockerd can't remove its directory, so that the copy of another unit stays."""
    with step(host) as point:
        unit = host.unit("leaky", "PrivateTmp=yes", "MountFlags=private")
        pid = host.main_pid(unit)
        assert mounted(host, pid) == [point]
        tracing = inject(host, host.main_pid("docker.service"), "unlinkat", "error=EBUSY", os.path.dirname(point))
        tracing.__enter__()
    try:
        wait_until(lambda: mounted(host, pid) == [], 60, "the service has ended it")
    finally:
        tracing.__exit__(None, None, None)
    acted = [e for e in host.journal("SYSLOG_IDENTIFIER=mountwarden") if e["MOUNTWARDEN_EVENT"] == "acted"]
    (entry,) = [entry for entry in acted if entry["MOUNTWARDEN_MOUNTPOINT"] == point]
    assert (entry["MOUNTWARDEN_ENGINE"], entry["MOUNTWARDEN_EVIDENCE"]) == ("docker", "history")
    assert entry["MOUNTWARDEN_ROOT"] == "/var/lib/docker/buildkit"
    assert json.loads(host.run("mountwarden", "report", "--json").stdout)["findings"] == []
