"""The doctor with real engines: a container that will leak the next mount is named before, with what ends it."""

import json
from typing import Any

import pytest

from tests.support import rootfs
from tests.support.machine import Machine


def doctor(host: Machine) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(host.run("mountwarden", "doctor", "--no-canary", "--json").stdout)
    return told


def run(host: Machine, engine: str, *options: str) -> str:
    """A container; returns its id."""
    words = ("run", "-d", "--network", "none", *options, "bb", "sleep", "1000")
    return host.run(engine, *words).stdout.strip()


def of(host: Machine, container: str) -> list[dict[str, Any]]:
    """What is foreseen of a container, but for what its engine wants."""
    return [
        one
        for one in doctor(host)["foreseen"]
        if not one["on_purpose"] and any(holder["container"] == container for holder in one["holders"])
    ]


def test_a_container_of_podman_with_a_private_bind_of_the_host_is_named(podman_host: Machine) -> None:
    """Docker's live layer is the next mount: its umount does not reach the container."""
    podman_host.start_docker()
    podman_host.import_image("docker")
    layer = run(podman_host, "docker")
    container = run(podman_host, "podman", "-v", "/:/host:rprivate")
    (one,) = of(podman_host, container)
    merged = podman_host.docker("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", layer).stdout.strip()
    pid = podman_host.podman("inspect", "-f", "{{.State.Pid}}", container).stdout.strip()
    podman_host.run("umount", merged)
    kept = podman_host.run("cat", f"/proc/{pid}/mountinfo").stdout
    podman_host.podman("rm", "-f", "-t", "0", container)
    podman_host.docker("rm", "-f", layer)
    podman_host.stop_docker()
    assert one["who"] == f"container {container[:12]}"
    assert "/host/var/lib/docker" in [sight["at"] for sight in one["sights"] if sight["copies"]]
    assert one["cause"]["code"] == "private-bind"
    assert "bind-mounts the host's / at /host with private propagation" in one["cause"]["text"]
    assert "-v /:/host:rslave" in one["fix"]
    assert f" /host{merged} " in kept, "as foretold"


@pytest.mark.long
def test_a_container_of_podman_with_a_slave_bind_is_not_named(podman_host: Machine) -> None:
    container = run(podman_host, "podman", "-v", "/:/host:rslave")
    found = of(podman_host, container)
    podman_host.podman("rm", "-f", "-t", "0", container)
    assert found == []


@pytest.mark.long
def test_podmans_private_home_is_told_as_its_purpose(podman_host: Machine) -> None:
    container = run(podman_host, "podman")
    unit = podman_host.unit("bystander", "PrivateTmp=yes")
    document = doctor(podman_host)
    podman_host.run("systemctl", "stop", unit)
    podman_host.podman("rm", "-f", "-t", "0", container)
    (purpose,) = (check for check in document["checks"] if check["id"] == "namespaces.on-purpose")
    assert purpose["status"] == "ok"
    kept = [one for one in document["foreseen"] if one["who"] == unit]
    assert [(one["on_purpose"], one["leaks"], one["cause"]["code"]) for one in kept] == [(True, 0, "root-private")]
    assert any("skip_mount_home" in (check["hint"] or "") for check in document["checks"] if check["id"] == "roots")


@pytest.mark.long
def test_a_container_of_docker_that_binds_another_engines_root_is_named(docker_host: Machine) -> None:
    container = run(docker_host, "docker", "-v", "/var/lib/kubelet:/data:ro")
    harmless = run(docker_host, "docker", "-v", "/:/host")
    (one,) = of(docker_host, container)
    others = of(docker_host, harmless)
    picture = docker_host.run("mountwarden", "map", "--no-wait", "--all").stdout
    docker_host.docker("rm", "-f", container, harmless)
    assert [sight["at"] for sight in one["sights"]] == ["/data"]
    assert "-v /var/lib/kubelet:/data:ro,rslave" in one["fix"]
    assert others == [], "Docker makes a bind of its own root a slave"
    assert f"container {container[:12]}" in picture


@pytest.mark.long
def test_an_engine_in_a_namespace_of_its_own_is_told(docker_host: Machine) -> None:
    docker_host.stop_docker()
    docker_host.write("/etc/systemd/system/docker.service.d/own.conf", "[Service]\nPrivateTmp=yes\n")
    docker_host.run("systemctl", "daemon-reload")
    docker_host.start_docker()
    pid = docker_host.main_pid("docker.service")
    document = doctor(docker_host)
    docker_host.stop_docker()
    docker_host.run("rm", "-r", "/etc/systemd/system/docker.service.d")
    docker_host.run("systemctl", "daemon-reload")
    docker_host.start_docker()
    told = [check["text"] for check in document["checks"] if check["id"] == "roots"]
    assert any(f"its daemon (process {pid}) has a mount namespace of its own" in text for text in told), told


SYSTEMS = """
set -e
mkdir -p /run/credentials/x.service /run/x/l /run/x/u /srv/site
mount -t ramfs ramfs /run/credentials/x.service
mount -t tmpfs upper /run/x/u && mkdir /run/x/u/u /run/x/u/w
mount -t overlay sysext -o ro,lowerdir=/usr:/run/x/l /usr
mount -t overlay site -o lowerdir=/run/x/l,upperdir=/run/x/u/u,workdir=/run/x/u/w /srv/site
mkdir -p /run/snapd/ns && mount --bind /run/snapd/ns /run/snapd/ns && mount --make-private /run/snapd/ns
touch /run/snapd/ns/hello.mnt
for cpu in $(seq 0 64); do  # ids are in order on one processor only, see tests/host/test_without_a_process.py
    taskset --cpu-list $cpu unshare --mount=/run/snapd/ns/hello.mnt true && break
done
ip netns add blue
"""
"""What systemd, snapd, ip(8) and an operator mount: credentials, an extension, kept namespaces, an overlay by hand."""
UNDONE = """
ip netns del blue; umount -l /run/snapd/ns/hello.mnt /run/snapd/ns /srv/site /usr /run/x/u /run/credentials/x.service
"""


def test_known_engines_are_told_and_nothing_else_is_taken_for_one(podman_host: Machine) -> None:
    """Containers of Docker, containerd, podman and systemd-nspawn, a user's podman, and what the system mounts."""
    host = podman_host
    host.start_docker()
    image = [host.import_image(engine) for engine in ("docker", "ctr")][-1]
    containers = [(engine, run(host, engine, "-v", "/srv")) for engine in ("docker", "podman")]
    host.run("ctr", "run", "-d", "--null-io", "--cpu-shares", "0", image, "plain", "sleep", "1000")
    host.run("sh", "-c", f"mkdir -p /var/lib/machines/m && tar -C /var/lib/machines/m -xf {rootfs.ARCHIVE}")
    spawn = ("systemd-nspawn", "-q", "--keep-unit", "--register=no", "--as-pid2", "--volatile=overlay")
    unit = host.unit("spawned", command=(*spawn, "-D", "/var/lib/machines/m", "/bin/sleep", "2000"))
    host.start_rootless()
    host.rootless("run", "-d", "bb", "sleep", "1000")
    nested = ("--network", "none", "bb", "sh", "-c", "echo crio > /proc/self/comm; sleep 1000; true")
    containers.append(("podman", host.podman("run", "-d", *nested).stdout.strip()))
    host.run("sh", "-c", SYSTEMS)
    document = doctor(host)
    host.run("sh", "-c", UNDONE)
    host.run("systemctl", "stop", unit)
    host.run("ctr", "task", "kill", "-s", "KILL", "plain")
    for engine, container in containers:
        host.run(engine, "rm", "-f", container)
    host.stop_docker()
    assert [check for check in document["checks"] if check["id"] == "engines.unknown"] == []
    told = {(one["engine"], one["of"]): one for one in document["engines"]}
    lines = [check["text"] for check in document["checks"] if check["id"] == "engines"]
    assert "/var/lib/docker" in {root["path"] for root in told["Docker", "host"]["roots"]}
    assert "/run/containerd" in {root["path"] for root in told["containerd", "host"]["roots"]}
    assert "/var/lib/containers/storage" in {root["path"] for root in told["podman", "host"]["roots"]}
    assert told["systemd-nspawn", "host"]["roots"] == []
    assert any("nothing to guard" in line for line in lines)
    assert told["podman", "user"]["user"] == 1000
    assert told["CRI-O", "container"]["container"] == containers[-1][1]
    assert ("CRI-O", "host") not in told
    docker = next(line for line in lines if line.startswith("Docker: process "))
    assert "(dockerd, docker.service)" in docker
    assert "/var/lib/docker (shared, peer group " in docker
