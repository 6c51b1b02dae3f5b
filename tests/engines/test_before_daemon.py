"""containerd's temporary mounts and BuildKit's executors: of a daemon that has ended, and of the one that runs."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.fixtures import booted
from tests.support.inside import inside
from tests.support.machine import Machine
from tests.support.ownership import Owners
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.engines, pytest.mark.timeout(300)]

TMPMOUNTS = ("containerd", "/var/lib/containerd/tmpmounts", "*")
IDMAPPED = ("containerd", "/var/lib/containerd/tmpmounts", "*/*")
EXECUTORS = ("docker", "/var/lib/docker", "buildkit/executor/*/rootfs")
PLACE = "/var/lib/containerd/tmpmounts"
LEFT = (f"{PLACE}/containerd-mount1", f"{PLACE}/ovl-idmapped1/0")
NEW = (f"{PLACE}/containerd-mount2", f"{PLACE}/ovl-idmapped2/0", f"{PLACE}/other1")


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with booted() as machine:
        machine.start_docker()
        machine.import_image("docker")
        yield machine


def mounted(host: Machine, *points: str) -> None:
    for point in points:
        host.run("mkdir", "-p", point)
        host.run("mount", "-t", "tmpfs", "tmpmount", point)


def end(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def are_old(host: Machine, *places: str) -> None:
    """What a daemon has at its start is older than it by the clock's seconds."""
    wait_until(lambda: not host.run("find", *places, "-maxdepth", "0", "-newermt", "-3 seconds").stdout, 20)


def test_temporary_mounts_of_an_ended_containerd(host: Machine) -> None:
    mounted(host, *LEFT)
    assert Owners(host, TMPMOUNTS, IDMAPPED).gone == []
    with inside(host, *LEFT):
        are_old(host, PLACE)
        host.run("systemctl", "restart", "containerd.service")
    mounted(host, *NEW)
    found = Owners(host, TMPMOUNTS, IDMAPPED)
    assert {*LEFT, *NEW} <= set(found)
    assert found.gone == sorted(LEFT)
    assert {found[point].left for point in LEFT} == {"tmpmount"}
    assert Owners(host, TMPMOUNTS, IDMAPPED, older_than=3600).gone == []
    pid = str(host.main_pid("containerd.service"))
    host.run("kill", "-STOP", pid)
    assert Owners(host, TMPMOUNTS, IDMAPPED).gone == []
    host.run("kill", "-CONT", pid)
    assert Owners(host, TMPMOUNTS, IDMAPPED, as_service=True).gone == sorted(LEFT)
    host.run("umount", LEFT[0])
    host.run("rmdir", LEFT[0])  # nothing of ours holds it
    assert Owners(host, TMPMOUNTS, IDMAPPED).gone == [LEFT[1]]
    host.run("umount", LEFT[1], *NEW)


def test_a_build_step_whose_dockerd_was_killed(host: Machine) -> None:
    version = host.docker("version", "--format", "{{.Client.Version}}").stdout
    if int(version.partition(".")[0]) >= 23 and host.docker("buildx", "version", check=False).returncode:
        pytest.skip("this docker builds with buildx alone, and has none")
    host.write("/root/build/Dockerfile", "FROM bb\nRUN sleep 4711\n")
    build = host.popen("docker", "build", "--network=none", "/root/build", env={"DOCKER_BUILDKIT": "1"})
    try:
        step = wait_until(lambda: host.run("pgrep", "-xf", "sleep 4711", check=False).stdout.strip(), 60, "it runs")
        for _ in range(5):
            found = Owners(host, EXECUTORS)
            assert [point for point in found if "/buildkit/executor/" in point] != []
            assert found.gone == []
        are_old(host, *found)
        host.run("kill", "-KILL", str(host.main_pid("docker.service")))
        wait_until(lambda: not host.docker("version", check=False).returncode, 60, "dockerd was started again")
        found = Owners(host, EXECUTORS)
        (point,) = [point for point in found if "/buildkit/executor/" in point]
        assert found.gone == []  # the step's process lives on
        host.run("kill", "-KILL", step)
        found = wait_until(lambda: (now := Owners(host, EXECUTORS)).gone and now, 30, "it is proved to be gone")
    finally:
        end(build)
    assert found.gone == [point]
    assert found[point].left == "executor"
    assert Owners(host, EXECUTORS, older_than=3600).gone == []
