"""On the oldest test host and on today's: the product runs there, and engines' leaks are found, and nothing else."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.engines.test_field import SHORT, acts, leaked, seen, service
from tests.engines.test_nested import assert_quiet
from tests.support import planted, tree
from tests.support.engines import CONTAINERD_STORE
from tests.support.fixtures import booted
from tests.support.incidents import mountpoints
from tests.support.machine import Machine
from tests.support.packages import TODAY
from tests.support.wait import wait_until

CHURN = """
set -e
docker run -d --name stays --network none bb sleep 1000
ctr run -d --null-io --cpu-shares 0 "$1" stays /bin/sleep 1000
podman run -d --name stays --network none bb sleep 1000
for number in 1 2 3; do
    docker run --rm --network none bb true
    ctr run --rm --null-io --cpu-shares 0 "$1" "goes$number" /bin/true
    podman run --rm --network none bb true
done
"""
"""Of each engine a container that goes on, and some that end."""
END = """
docker rm -f stays
ctr task rm -f stays
ctr container rm stays
podman rm -f -t 0 stays
"""


@dataclass(frozen=True)
class Suite:
    """A booted host with dockerd and the service running, and the name of the image in containerd."""

    host: Machine
    image: str


@pytest.fixture(scope="module", params=tree.BOTH)
def suite(request: pytest.FixtureRequest) -> Iterator[Suite]:
    with booted(request.param) as host:
        host.start_docker()
        host.import_image("podman")
        host.import_image("docker")
        image = host.import_image("ctr")
        with service(host, SHORT):
            yield Suite(host, image)


def test_live_containers_are_no_findings(suite: Suite) -> None:
    host = suite.host
    units = [host.unit("bystander", *planted.APART)]
    host.run("sh", "-c", CHURN, "sh", suite.image)
    units.append(host.unit("late", *planted.APART))
    assert_quiet(host)
    host.run("systemctl", "stop", *units)
    host.run("sh", "-c", END)


def detached(host: Machine, mountpoint: str, unit: str) -> bool:
    """Whether a finding was told with the unit's name, and ended by the service."""
    match = f"MOUNTWARDEN_MOUNTPOINT={mountpoint}"
    if not host.journal("MOUNTWARDEN_EVENT=acted", match):
        return False
    return unit in host.journal("MOUNTWARDEN_EVENT=found", match)[0]["MESSAGE"]  # told before, so read after


def assert_detached(host: Machine, mountpoint: str, unit: str) -> None:
    """The service does it, and the unit goes on. Then the unit is stopped."""
    wait_until(lambda: detached(host, mountpoint, unit), 20, "it is detached")
    assert mountpoint not in mountpoints(host, host.main_pid(unit))
    host.run("systemctl", "stop", unit)


def test_a_leak_of_docker_is_found_and_ended(suite: Suite) -> None:
    mountpoint = planted.docker(suite.host, "holder.service")
    assert_detached(suite.host, mountpoint, "holder.service")


def test_a_leak_of_containerd_is_found_and_ended(suite: Suite) -> None:
    mountpoint = planted.task(suite.host, "holder.service", suite.image)
    assert_detached(suite.host, mountpoint, "holder.service")


def test_a_leak_of_podman_is_told(suite: Suite) -> None:
    host = suite.host
    mountpoint = planted.podman(host, "holder.service")
    (finding,) = wait_until(lambda: leaked(host, mountpoint), 20, "it is told")
    assert (finding["severity"], finding["evidence"]) == ("info", "history")
    seen(host, 2)
    assert mountpoint in mountpoints(host, host.main_pid("holder.service"))
    assert not [act for act in acts(host) if mountpoint in act]
    host.run("systemctl", "stop", "holder.service")


@pytest.mark.parametrize("suite", [TODAY], indirect=True)
def test_docker_with_its_images_in_containerd(suite: Suite) -> None:
    host = suite.host
    host.stop_docker()
    host.start_docker(CONTAINERD_STORE)
    host.import_image("docker")
    live = host.docker("run", "-d", "--network=none", "bb", "sleep", "1000").stdout.strip()
    live_mountpoint = planted.docker_mountpoint(host, live)
    assert live_mountpoint == f"/var/lib/docker/rootfs/overlayfs/{live}"
    mountpoint = planted.docker(host, "store.service")
    wait_until(lambda: detached(host, mountpoint, "store.service"), 20, "it is detached")
    assert leaked(host, live_mountpoint) == []
    left = mountpoints(host, host.main_pid("store.service"))
    assert (mountpoint in left, live_mountpoint in left) == (False, True)
    host.run("systemctl", "stop", "store.service")
    host.docker("rm", "-f", live)


def test_the_host_and_the_product_ran_well(suite: Suite) -> None:
    """It comes last, with all that the tests above have made."""
    host = suite.host
    assert host.run("systemctl", "is-system-running").stdout == "running\n"
    report = json.loads(host.run("mountwarden", "report", "--json", check=False).stdout)
    assert report["complete"]
    assert {root["engine"] for root in report["roots"]} >= {"docker", "containerd", "containers-storage"}
    words = [str(entry["MESSAGE"]) for entry in host.journal("-u", "mountwarden.service")]
    assert [word for word in words if "Traceback" in word or "Warning" in word] == []
