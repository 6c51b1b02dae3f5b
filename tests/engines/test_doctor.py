"""The doctor with real engines: a container that will leak the next mount is named before, with what ends it."""

import json
from typing import Any

import pytest

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
