"""Roots and records against real engines: what a process of the test host finds while engines come, move and go."""

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support import tree
from tests.support.machine import Machine
from tests.support.product import install_product
from tests.support.wait import wait_until

LOOKS = """
import json, sys
from mountwarden import engines
from mountwarden.config.schema import Config
from mountwarden.observe import processes
from mountwarden.mounts.roots import match_layout
from mountwarden.model import Base, Match, Mount, Spot

watch, host = processes.DaemonWatch(engines.COMMANDS), engines.Host()

def match(root, point):
    rel = point.encode().removeprefix(root.path + b"/")
    layout = next(each for each in root.layout if match_layout(each, rel) is not None)
    mount = Mount(1, 1, "0:1", b"/", b"/", b"", 0, 0, 0, False, "overlay", b"", b"")
    return Match(root, Base(mount, Spot("0:1", b"/"), b""), layout, rel, rel, point.encode(), Spot("0:1", b"/"))

for line in sys.stdin:
    point = json.loads(line)
    host.update(watch.update(processes.pids()))
    roots, gaps = engines.discover(host, Config())
    answer = {
        "roots": {
            f"{root.engine}:{root.path.decode()}": [root.home, root.home_known, root.home_pid, root.wants_private]
            for root in roots
        },
        "gaps": [f"{gap.what}: {gap.reason}" for gap in gaps],
        "records": [
            str(engines.record(host, match(root, point)))
            for root in roots
            if point.startswith(root.path.decode() + "/")
        ],
    }
    print(json.dumps(answer), flush=True)
"""


class Looks:
    """A process on the test host that lives for a test and looks once for each question: an agent's ticks."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def scan(self, mountpoint: str = "/") -> Any:
        """Roots, gaps, and each containing root's record of the mountpoint."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(mountpoint).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def roots(self) -> Any:
        """The roots alone; there must be no gap."""
        answer = self.scan()
        assert answer["gaps"] == []
        return answer["roots"]

    def record(self, mountpoint: str) -> str:
        """The record of a mountpoint in the one root that holds it."""
        (state,) = self.scan(mountpoint)["records"]
        return str(state)


@contextlib.contextmanager
def looking(host: Machine) -> Iterator[Looks]:
    """Looks from one process on the host."""
    path = {"PYTHONPATH": "/usr/local/lib/mountwarden"}
    with host.popen("/usr/bin/python3", "-c", LOOKS, env=path) as process:
        try:
            yield Looks(process)
        finally:
            process.communicate(timeout=10)


@contextlib.contextmanager
def product_host(tmpfs: Mapping[str, str | None] | None = None) -> Iterator[Machine]:
    """A host of a test's own, with the product and no engine running."""
    if reason := tree.obstacle():
        pytest.skip(reason)
    with Machine(tmpfs=tmpfs) as machine:
        install_product(machine)
        yield machine


def home_of(host: Machine, pid: int | str = 1) -> int:
    """Inode of a process's mount namespace; `pid` as the host counts."""
    return int(host.run("stat", "-Lc", "%i", f"/proc/{pid}/ns/mnt").stdout)


def graph(host: Machine, engine: str, container: str, what: str = "MergedDir") -> str:
    state = json.loads(host.run(engine, "inspect", container).stdout)
    return str(state[0]["GraphDriver"]["Data"][what])


def test_docker_and_its_containerd(docker_host: Machine) -> None:
    home = [home_of(docker_host), True, None, False]
    with looking(docker_host) as scans:
        roots = scans.roots()
        assert roots["docker:/var/lib/docker"] == home
        assert roots["containerd:/run/containerd"] == home


def test_dockers_record(docker_host: Machine) -> None:
    with looking(docker_host) as scans:
        docker_host.docker("create", "--network", "none", "--ipc", "shareable", "--name", "c1", "bb", "sleep", "1000")
        upper = graph(docker_host, "docker", "c1", "UpperDir")
        layer = upper.removesuffix("/diff") + "/merged"
        init = upper.removesuffix("/diff") + "-init/merged"
        shm = docker_host.docker("inspect", "-f", "{{.ID}}", "c1").stdout.strip()
        shm = f"/var/lib/docker/containers/{shm}/mounts/shm"
        image = graph(docker_host, "docker", "bb", "UpperDir").removesuffix("/diff") + "/merged"
        for when, state in (("start", "live"), ("pause", "live"), ("unpause", "live"), ("kill", "unmounted")):
            docker_host.docker(when, "c1")
            for path in (layer, init, shm):  # dockerd writes them down one after the other
                wait_until(lambda: scans.record(path) == state, 30, f"after {when} {path} is {state}")  # noqa: B023
            assert scans.record(image) == "unmounted"
        docker_host.docker("rm", "-f", "c1")
        assert scans.record(layer) == "unknown"
        assert scans.record(shm) == "unknown"


def test_containerds_record(docker_host: Machine) -> None:
    image = docker_host.import_image("ctr")
    rootfs = "/run/containerd/io.containerd.runtime.v2.task/default/c1/rootfs"
    with looking(docker_host) as scans:
        docker_host.ctr("run", "-d", "--null-io", "--cpu-shares", "0", image, "c1", "/bin/sleep", "1000")
        assert scans.record(rootfs) == "live"
        docker_host.ctr("task", "kill", "-s", "KILL", "c1")
        wait_until(lambda: scans.record(rootfs) == "unknown", 30, "the task has ended")
        docker_host.ctr("task", "rm", "c1")
        docker_host.ctr("container", "rm", "c1")
        assert scans.record(rootfs) == "unknown"


def test_podmans_store_and_record(podman_host: Machine) -> None:
    with looking(podman_host) as scans:
        assert scans.roots()["containers-storage:/var/lib/containers/storage"] == [None, True, None, True]
        container = podman_host.podman("run", "-d", "bb", "sleep", "1000").stdout.strip()
        layer = graph(podman_host, "podman", container)
        assert scans.record(layer) == "live"
        podman_host.podman("stop", "-t", "0", container)
        upper = graph(podman_host, "podman", container, "UpperDir")
        assert upper.removesuffix("/diff") == layer.removesuffix("/merged")
        assert scans.record(layer) == "unmounted"
        podman_host.podman("rm", container)
        assert scans.record(layer) == "unknown"


def test_a_layer_mounted_by_podman_in_a_unit_is_live(podman_host: Machine) -> None:
    command = ["podman", "run", "--rm", "--name", "inner", "bb", "sleep", "1000"]
    podman_host.unit("pod", "PrivateTmp=yes", "KillMode=mixed", "TimeoutStopSec=1", command=command)
    running = ("inspect", "-f", "{{.State.Running}}", "inner")
    wait_until(lambda: podman_host.podman(*running, check=False).stdout == "true\n", what="the container runs")
    layer = graph(podman_host, "podman", "inner")
    assert layer not in podman_host.read("/proc/1/mountinfo")
    with looking(podman_host) as scans:
        assert scans.record(layer) == "live"
    podman_host.podman("kill", "inner")


def test_a_moved_data_root_is_found_within_three_seconds() -> None:
    with product_host({"/var/lib/docker": None, "/srv": "mode=755"}) as machine:
        machine.run("mkdir", "-p", "/srv/real")
        machine.run("ln", "-s", "/srv/real", "/srv/link")
        with looking(machine) as scans:
            assert not [root for root in scans.roots() if root.startswith("docker:")]
            machine.start_docker("--data-root=/srv/first/docker")
            wait_until(lambda: "docker:/srv/first/docker" in scans.roots(), 3, "the new data-root is a root")
            assert scans.roots()["docker:/srv/first/docker"][1]
            machine.stop_docker()
            wait_until(lambda: scans.roots()["docker:/srv/first/docker"][:2] == [None, False], 3, "home is unknown")
            machine.write("/etc/docker/daemon.json", '{"data-root": "/srv/link"}')
            machine.start_docker()
            wait_until(lambda: "docker:/srv/real" in scans.roots(), 3, "daemon.json's data-root is a root")
            assert scans.roots()["docker:/srv/first/docker"][:2] == [None, False], "the ended one's is remembered"
            machine.write("/etc/docker/daemon.json", '{"data-root": "/srv/first/docker"}')
            assert "docker:/srv/real" in scans.roots(), "dockerd has not read the changed file"
            with looking(machine) as fresh:
                graph = [r for r in fresh.roots() if r.startswith("docker:") and r.count("/") == 2]
                assert graph == ["docker:/srv/real"]
            machine.run("systemctl", "restart", "docker.service")
            wait_until(lambda: scans.roots()["docker:/srv/first/docker"][1], 3, "the changed data-root is its root")


OWN_NAMESPACE = """
[Service]
PrivateMounts=yes
TemporaryFileSystem=/srv
ExecStart=
ExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS
"""
"""And its own containerd, as there is no other: containerd's shims must see the layers that dockerd mounts."""


def test_a_dockerd_with_its_own_namespace_is_the_home() -> None:
    with product_host() as machine:
        machine.write("/etc/systemd/system/docker.service.d/own.conf", OWN_NAMESPACE)
        machine.run("systemctl", "mask", "containerd.service")
        machine.start_docker("--data-root=/srv/docker")
        machine.import_image("docker")
        container = machine.docker("run", "-d", "--network", "none", "bb", "sleep", "1000").stdout.strip()
        layer = graph(machine, "docker", container)
        assert layer not in machine.read("/proc/1/mountinfo")
        pid = machine.show("docker.service", "MainPID")
        with looking(machine) as scans:
            wait_until(lambda: "docker:/srv/docker" in scans.roots(), 3, "the data-root only dockerd sees is a root")
            home = home_of(machine, pid)
            assert scans.roots()["docker:/srv/docker"] == [home, True, int(pid), False]
            assert scans.roots()["containerd:/run/docker/containerd/daemon"][:2] == [home, True]
            assert scans.record(layer) == "live"
            machine.docker("kill", container)
            wait_until(lambda: scans.record(layer) == "unmounted", 30, "the layer is unmounted")


def test_userns_remap_has_a_root_of_its_own() -> None:
    with product_host() as machine:
        for name in ("subuid", "subgid"):
            machine.write(f"/etc/{name}", "user:100000:65536\n")
        machine.start_docker("--userns-remap=user")
        with looking(machine) as scans:
            wait_until(lambda: "docker:/var/lib/docker/100000.100000" in scans.roots(), 3, "the remapped root is there")


@pytest.mark.parametrize("text", ["{", '{"data-root": 3}'])
def test_a_torn_daemon_json_under_a_running_dockerd(docker_host: Machine, text: str) -> None:
    docker_host.write("/etc/docker/daemon.json", text)
    with looking(docker_host) as scans:
        assert "docker:/var/lib/docker" in scans.scan()["roots"]
    docker_host.run("rm", "/etc/docker/daemon.json")
