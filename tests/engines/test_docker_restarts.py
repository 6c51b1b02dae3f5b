"""Live containers of a dockerd that is killed again and again: at no moment does one of them count as left."""

import json
from collections.abc import Iterator

import pytest

from tests.support import tree
from tests.support.fixtures import booted
from tests.support.machine import Machine
from tests.support.ownership import Owners
from tests.support.packages import TODAY
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.engines, pytest.mark.timeout(300)]

ROUNDS = 2
STORES = {
    "graph driver": (tree.SUITE, {}),
    "containerd's store": (TODAY, {"features": {"containerd-snapshotter": True}}),
}
LOST = "/var/lib/docker/rootfs/overlayfs/" + "ab" * 32


@pytest.fixture(scope="module", params=STORES)
def host(request: pytest.FixtureRequest) -> Iterator[Machine]:
    suite, features = STORES[request.param]
    with booted(suite) as machine:
        machine.write("/etc/docker/daemon.json", json.dumps({"live-restore": True, **features}))
        machine.start_docker()
        machine.import_image("docker")
        for name in ("live", "paused"):
            machine.docker("run", "-d", "--name", name, "--ipc=shareable", "bb", "sleep", "10000")
        machine.docker("pause", "paused")
        yield machine


def test_no_live_one_is_told_while_dockerd_comes_back(host: Machine) -> None:
    for daemon in ("docker.service", "containerd.service") * ROUNDS:
        host.run("kill", "-KILL", str(host.main_pid(daemon)))
        for _ in range(6):
            found = Owners(host)
            assert found.gone == []
        assert len(found) >= 2
        host.run("systemctl", "reset-failed", "docker.socket", "docker.service", "containerd.service", check=False)
        host.run("systemctl", "start", "docker.service")
        wait_until(lambda: not host.docker("ps", check=False).returncode, 60, "dockerd answers again")


def test_a_file_system_of_a_container_that_is_gone(host: Machine) -> None:
    host.run("mkdir", "-p", LOST, "/tmp/lower")
    host.run("mount", "-t", "overlay", "overlay", "-o", "lowerdir=/tmp/lower:/usr/share/doc", LOST)
    wait_until(lambda: Owners(host).gone == [LOST], 30, "it is told, and no live one with it")
    host.run("kill", "-STOP", str(host.main_pid("docker.service")))
    assert Owners(host).gone == []
    host.run("kill", "-CONT", str(host.main_pid("docker.service")))
    host.run("umount", LOST)
