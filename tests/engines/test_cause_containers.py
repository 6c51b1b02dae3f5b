"""Causes of real leaks in real containers, each as its exact sentence."""

from collections.abc import Iterator

import pytest

from tests.support.causes import findings, leaks
from tests.support.machine import Machine
from tests.support.wait import wait_until

ROOT = "/var/lib/docker"
LAYER = f"{ROOT}/overlay2/deadbeef"
MERGED = f"{LAYER}/merged"
MAKE = f"""
set -e; mkdir -p {LAYER}/lower {LAYER}/diff {LAYER}/work {MERGED}
cd {LAYER}
mount -t overlay overlay -o lowerdir=lower,upperdir=diff,workdir=work merged
"""


@pytest.fixture
def docker_layer(docker_host: Machine) -> Iterator[str]:
    yield from live_layer(docker_host)


@pytest.fixture
def podman_layer(podman_host: Machine) -> Iterator[str]:
    yield from live_layer(podman_host)


def live_layer(host: Machine) -> Iterator[str]:
    """A live layer below a shared root, beside what dockerd has there."""
    host.run("sh", "-c", MAKE)
    yield MERGED
    host.run("umount", MERGED, check=False)
    host.run("rm", "-rf", LAYER)


def run(host: Machine, engine: str, volume: str) -> str:
    """A container with one volume; returns its id."""
    return host.run(engine, "run", "-d", "--network", "none", "-v", volume, "bb", "sleep", "1000").stdout.strip()


def only(found: list[dict[str, object]]) -> dict[str, object]:
    assert len(found) == 1, found
    assert found[0]["gaps"] == []
    return found[0]


def test_docker_binds_another_engines_root(docker_host: Machine) -> None:
    """Docker makes binds of its own root slaves; any other directory gets private propagation unless asked."""
    root = "/var/lib/kubelet"
    docker_host.run("sh", "-c", MAKE.replace(ROOT, root))
    container = run(docker_host, "docker", f"{root}:/data:ro")
    pid = docker_host.docker("inspect", "-f", "{{.State.Pid}}", container).stdout.strip()
    docker_host.run("umount", MERGED.replace(ROOT, root))
    finding = only(leaks(docker_host, root))
    docker_host.docker("rm", "-f", container)
    docker_host.run("rm", "-rf", f"{root}/overlay2")
    assert finding["holders"] == [[int(pid), "sleep", f"docker-{container}.scope", container, 0]]
    assert finding["namespace_kind"] == "container"
    assert finding["code"] == "private-bind"
    assert finding["text"] == (
        f"Container {container[:12]} bind-mounts the host's /var/lib/kubelet at /data with private propagation, "
        "so umounts on the host do not reach it."
    )
    assert finding["fix"]["text"] == (  # type: ignore[index]
        "Create the container again with -v /var/lib/kubelet:/data:ro,rslave "
        "(in Kubernetes, mountPropagation: HostToContainer below the container's volumeMounts)."
    )


def test_docker_slave_that_is_not_in_effect(docker_host: Machine, docker_layer: str) -> None:
    """Docker makes a bind of its own root a slave; what made it private then does not show in its settings."""
    container = run(docker_host, "docker", "/:/host")
    pid = docker_host.docker("inspect", "-f", "{{.State.Pid}}", container).stdout.strip()
    docker_host.run("nsenter", "-t", pid, "-m", "mount", "--make-rprivate", "/host")
    docker_host.run("umount", docker_layer)
    finding = only(leaks(docker_host, ROOT))
    docker_host.docker("rm", "-f", container)
    assert finding["code"] == "slave-not-effective"
    assert finding["text"] == (
        f"Container {container[:12]} was to bind-mount the host's / at /host with rslave propagation, "
        "but that mount is private, so umounts on the host do not reach it."
    )


def test_docker_slave_bind_over_a_private_root(docker_host: Machine, docker_layer: str) -> None:
    docker_host.run("mount", "--make-private", ROOT)
    container = run(docker_host, "docker", "/:/host")
    docker_host.run("umount", docker_layer)
    finding = next(found for found in leaks(docker_host, ROOT) if found["holders"][0][3] == container)
    docker_host.run("mount", "--make-shared", ROOT)
    later = next(found for found in leaks(docker_host, ROOT) if found["holders"][0][3] == container)
    docker_host.docker("rm", "-f", container)
    assert finding["text"] == (
        f"/var/lib/docker is private on the host, so no umount there reaches container {container[:12]}."
    )
    assert later["text"] == (
        f"/var/lib/docker was private when container {container[:12]} started or became private later, "
        "so no umount there reaches it."
    )


def test_podman_binds_the_host_with_private_propagation(podman_host: Machine, podman_layer: str) -> None:
    container = run(podman_host, "podman", "/:/host:ro,rprivate")
    podman_host.run("umount", podman_layer)
    finding = only(leaks(podman_host, ROOT))
    podman_host.podman("rm", "-f", "-t", "0", container)
    assert finding["holders"][0][2:4] == [f"libpod-{container}.scope", container]  # type: ignore[index]
    assert finding["code"] == "private-bind"
    assert finding["text"] == (
        f"Container {container[:12]} bind-mounts the host's / at /host with private propagation, "
        "so umounts on the host do not reach it."
    )


def test_podman_slave_bind_receives_the_umount(podman_host: Machine, podman_layer: str) -> None:
    container = run(podman_host, "podman", "/:/host:rslave")
    podman_host.run("umount", podman_layer)
    assert leaks(podman_host, ROOT) == []
    podman_host.podman("rm", "-f", "-t", "0", container)


def test_podmans_own_root(podman_host: Machine) -> None:
    """containers/storage keeps its home private: a unit with plain PrivateTmp= is cut off on a stock host."""
    container = run(podman_host, "podman", "/etc:/data")
    unit = podman_host.unit("bystander", "PrivateTmp=yes")
    found = findings(podman_host, "", engine="containers-storage")
    podman_host.run("systemctl", "stop", unit)
    podman_host.podman("rm", "-f", "-t", "0", container)
    severed = only([f for f in found if f["kind"] == "severed" and f["holders"][0][2] == unit])
    assert severed["text"] == (
        "/var/lib/containers/storage/overlay is private on the host, so no umount there reaches the mount namespace of "
        "bystander.service (PrivateTmp=yes, set when it was started as a transient unit)."
    )
    assert 'skip_mount_home = "true"' in severed["fix"]["content"]  # type: ignore[index]
    the_fix_fixes_it(podman_host, severed["fix"])  # type: ignore[arg-type]
    private = only([f for f in found if f["kind"] == "private-root"])
    assert private["text"] == (
        "containers/storage makes /var/lib/containers/storage/overlay private each time it starts, "
        "as skip_mount_home is not set."
    )


def the_fix_fixes_it(host: Machine, fix: dict[str, str]) -> None:
    """With that file in place, podman works as before on a root that stays shared, and a new unit is reached."""
    assert host.run("test", "-e", fix["file"], check=False).returncode == 1, "Debian has none"
    # podman unmounts it itself where its last process finds the storage unused; one that still runs would mount it.
    wait_until(lambda: host.run("pgrep", "-x", "podman|conmon", check=False).returncode == 1, 30, "podman has ended")
    home = "/var/lib/containers/storage/overlay"
    host.run("sh", "-c", "while mountpoint -q $0; do umount -l $0; done", home)
    host.write(fix["file"], fix["content"])
    container = run(host, "podman", "/etc:/data")
    unit = host.unit("reached", "PrivateTmp=yes")
    found = findings(host, "", engine="containers-storage")
    host.run("systemctl", "stop", unit)
    host.podman("rm", "-f", "-t", "0", container)
    host.run("rm", fix["file"])
    assert [one for one in found if one["kind"] in ("severed", "private-root")] == []
