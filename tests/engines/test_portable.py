"""Portable services: a tree of files that a unit has as its root directory. Nothing of theirs is guarded or found."""

from collections.abc import Iterator

import pytest

from tests.engines.test_nested import assert_quiet
from tests.support import rootfs
from tests.support.fixtures import booted
from tests.support.machine import Machine

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

TREE = "/var/lib/portables/web"
UNIT = "[Service]\nExecStart=/bin/sleep 1000\nPrivateTmp=yes\n"


@pytest.fixture
def host() -> Iterator[Machine]:
    """A host with the service, dockerd and a container that runs."""
    with booted() as machine:
        machine.run("systemctl", "start", "mountwarden")
        machine.start_docker()
        machine.import_image("docker")
        machine.docker("run", "-d", "--name=c1", "--network=none", "bb", "sleep", "1000")
        yield machine


def test_a_portable_service_beside_dockerd(host: Machine) -> None:
    host.run("mkdir", "-p", TREE)
    host.run("tar", "-C", TREE, "-xf", str(rootfs.ARCHIVE))
    host.run(
        "sh", "-c", f"cd {TREE} && mkdir -p dev proc sys run tmp var/tmp etc && touch etc/resolv.conf etc/machine-id"
    )
    host.write(f"{TREE}/usr/lib/os-release", "ID=web\nVERSION_ID=1\n")
    host.write(f"{TREE}/usr/lib/systemd/system/web.service", UNIT)
    host.run("portablectl", "attach", "--runtime", "--profile=trusted", TREE)
    host.run("systemctl", "start", "web.service")
    pid = host.main_pid("web.service")
    assert "ID=web" in host.read(f"/proc/{pid}/root/usr/lib/os-release"), "it has a root of its own"
    assert_quiet(host)
    host.docker("rm", "-f", "c1")
    assert_quiet(host)
    host.run("systemctl", "stop", "web.service")
    host.run("portablectl", "detach", "--runtime", TREE)
    assert_quiet(host)
