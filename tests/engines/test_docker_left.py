"""Docker's layers that home has and dockerd does not know; and those of every kind that somebody has to do with."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.fixtures import booted
from tests.support.machine import Machine
from tests.support.ownership import Owners
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.engines, pytest.mark.timeout(300)]

ROOT = "/var/lib/docker"
LOST = "ab" * 32
POINT = f"{ROOT}/overlay2/{LOST}/merged"
SHM = f"{ROOT}/containers/{LOST}/mounts/shm"


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    """A host with dockerd, a layer that no record names, and the shm of a container that is gone."""
    with booted() as machine:
        machine.start_docker()
        machine.import_image("docker")
        plant(machine)
        yield machine


def plant(host: Machine) -> None:
    directory = f"{ROOT}/overlay2/{LOST}"
    host.run("mkdir", "-p", *(f"{directory}/{name}" for name in ("diff", "work", "merged", "lower")), SHM)
    options = f"lowerdir={directory}/lower,upperdir={directory}/diff,workdir={directory}/work"
    host.run("mount", "-t", "overlay", "overlay", "-o", options, POINT)
    host.run("mount", "-t", "tmpfs", "shm", SHM)


def test_what_dockerd_does_not_know_is_gone(host: Machine) -> None:
    wait_until(lambda: Owners(host).gone == sorted([SHM, POINT]), 20, "both are proved to be gone")
    found = Owners(host)
    assert found[POINT].left == "layer"
    assert found[POINT].frees == f"the layer's directory {ROOT}/overlay2/{LOST}"
    assert "no process lives in it" in found[POINT].proof
    assert Owners(host, as_service=True).gone == sorted([SHM, POINT])


def test_live_paused_restarting_and_copied_ones_are_owned(host: Machine) -> None:
    host.docker("run", "-d", "--name", "live", "--ipc=shareable", "bb", "sleep", "1000")
    host.docker("run", "-d", "--name", "paused", "bb", "sleep", "1000")
    host.docker("pause", "paused")
    host.docker("run", "-d", "--name", "again", "--restart=always", "bb", "false")
    host.docker("create", "--name", "stopped", "bb", "true")
    held = host.popen("docker", "cp", "stopped:/", "-")
    try:
        for _ in range(10):
            found = Owners(host)
            assert found.gone == sorted([SHM, POINT])
        assert len(found) >= 5
        assert {found[point].state for point in found if point not in (SHM, POINT)} <= {"yes", "unknown"}
    finally:
        os.killpg(held.pid, signal.SIGKILL)
        held.communicate()
        host.docker("rm", "-f", "live", "paused", "again", "stopped")


@pytest.mark.parametrize("name", ["mounts/1/mount-id", "mounts/1/init-id", "sha256/1/cache-id", "tmp/write-set-1/diff"])
def test_a_record_that_names_the_layer_or_an_image_that_is_made(host: Machine, name: str) -> None:
    layerdb = f"{ROOT}/image/overlay2/layerdb"
    place = f"{layerdb}/{name}".rpartition("/")[0]
    host.write(f"{place}/mount-id", LOST if name.endswith("/mount-id") else "other")
    host.write(f"{layerdb}/{name}", LOST)
    assert Owners(host)[POINT].state == ("unknown" if name.startswith("tmp/") else "yes")
    host.run("rm", "-r", place)
    assert POINT in Owners(host).gone


def test_a_container_that_is_known_by_its_file_or_by_a_process(host: Machine) -> None:
    config = f"{ROOT}/containers/{LOST}/config.v2.json"
    host.write(config, "{}")
    assert Owners(host)[SHM].state == "yes"
    host.run("rm", config)
    assert SHM in Owners(host).gone
    held = host.popen("python3", "-c", "input()", LOST[:12])
    try:
        wait_until(lambda: SHM not in Owners(host).gone, 20, "a process names it")
    finally:
        os.killpg(held.pid, signal.SIGKILL)
        held.communicate()


def test_a_daemon_that_is_young_stopped_frozen_or_down_proves_nothing(host: Machine) -> None:
    assert Owners(host, older_than=3600).gone == []
    assert Owners(host).gone != []
    pid = str(host.main_pid("docker.service"))
    host.run("kill", "-STOP", pid)
    assert Owners(host).gone == []
    host.run("kill", "-CONT", pid)
    assert Owners(host).gone != []
    for place in ("", "/unified"):
        file = f"/sys/fs/cgroup{place}/system.slice/docker.service/cgroup.freeze"
        if not host.run("test", "-e", file, check=False).returncode:
            host.run("sh", "-c", f"echo 1 > {file}")
            assert Owners(host).gone == []
            host.run("sh", "-c", f"echo 0 > {file}")
    host.run("kill", "-KILL", pid)
    assert Owners(host, older_than=60).gone == []
    host.stop_docker()
    assert Owners(host).gone == []
    host.run("systemctl", "start", "docker.service")
    assert Owners(host, older_than=60).gone == []
    assert Owners(host).gone != []
