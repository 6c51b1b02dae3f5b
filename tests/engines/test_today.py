"""Engines that only today's test host has: each starts, mounts where it is said to, and is quiet from start to end."""

from collections.abc import Iterator

import pytest

from tests.engines.test_nested import assert_quiet
from tests.support import incus, tree
from tests.support.buildkit import building, executors
from tests.support.cri import Pods
from tests.support.engines import CONTAINERD_STORE
from tests.support.incidents import mountpoints
from tests.support.machine import Machine
from tests.support.packages import TODAY
from tests.support.product import install_product
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

COUNT = 3
APART = ("PrivateTmp=yes", "MountFlags=private")
STATE = "/run/containerd"


@pytest.fixture(params=[TODAY])
def host(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A host of today's with the service running, and no engine yet."""
    if reason := tree.obstacle(request.param):
        pytest.skip(reason)
    with Machine(suite=request.param, tmpfs=incus.TMPFS) as machine:
        install_product(machine)
        machine.run("systemctl", "start", "mountwarden")
        yield machine


def test_pods_of_containerd(host: Machine) -> None:
    pods = Pods(host)
    pods.start()
    made = [pods.run() for _ in range(COUNT)]
    made.append(pods.run(host_network=True))
    bystander = host.unit("bystander", *APART)
    live = mountpoints(host, 1)
    for pod, container in made:
        assert f"{STATE}/io.containerd.grpc.v1.cri/sandboxes/{pod}/shm" in live
        for task in (pod, container):
            assert f"{STATE}/io.containerd.runtime.v2.task/k8s.io/{task}/rootfs" in live
    assert len([point for point in live if point.startswith("/run/netns/cni-")]) == COUNT
    assert_quiet(host)
    host.run("systemctl", "stop", bystander)
    pods.stop_container(made[0][1])
    for pod, _container in made:
        pods.remove(pod)
    assert [point for point in mountpoints(host, 1) if point.startswith((STATE, "/run/netns/"))] == []
    assert_quiet(host)


@pytest.mark.parametrize("flags", [(), (CONTAINERD_STORE,)], ids=["overlay2", "containerd's store"])
def test_a_build(host: Machine, flags: tuple[str, ...]) -> None:
    host.start_docker(*flags)
    host.import_image("docker")
    with building(host) as mountpoint:
        assert mountpoint in mountpoints(host, 1)
        bystander = host.unit("bystander", *APART)
        assert_quiet(host)
        host.run("systemctl", "stop", bystander)
    wait_until(lambda: not executors(host), 30, "its file system is unmounted")
    assert_quiet(host)


def test_incus(host: Machine) -> None:
    incus.start(host)
    names = [f"c{number}" for number in range(COUNT)]
    for name in names:
        incus.launch(host, name)
    listed = host.run("incus", "list", "--format", "csv", "--columns", "ns").stdout.split()
    assert listed == [f"{name},RUNNING" for name in names]
    bystander = host.unit("bystander", *APART)
    assert_quiet(host)
    incus.delete(host, *names)
    host.run("systemctl", "stop", bystander)
    assert_quiet(host)


def test_buildah(host: Machine) -> None:
    host.import_image("podman")
    name = host.buildah("from", "--pull-never", "localhost/bb").stdout.strip()
    mounted = host.buildah("mount", name).stdout.strip()
    assert mounted in mountpoints(host, 1)
    host.buildah("run", name, "touch", "/made")
    host.run("test", "-e", f"{mounted}/made")
    bystander = host.unit("bystander", *APART)
    assert_quiet(host)
    host.buildah("umount", name)
    host.buildah("commit", "--rm", name, "built")
    host.run("systemctl", "stop", bystander)
    assert_quiet(host)
    assert host.podman("run", "--rm", "built", "ls", "/made").stdout == "/made\n"


def test_rootless_podman(host: Machine) -> None:
    host.start_rootless()
    for _ in range(COUNT):
        host.rootless("run", "-d", "bb", "sleep", "1000")
    bystander = host.unit("bystander", *APART)
    assert len(host.rootless("ps", "-q").stdout.split()) == COUNT
    assert_quiet(host)
    host.rootless("rm", "-f", "-t", "0", "-a")
    host.run("systemctl", "stop", bystander)
    assert_quiet(host)
