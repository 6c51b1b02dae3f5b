"""Leaks of real engines, each by a step of the engine's own that is cut short while a unit keeps a copy.

Kernels before 3.18, and RHEL 7's, say EBUSY to who removes a mountpoint of which a copy is mounted elsewhere; so it is
said here to the engine, right after its umount. Each function takes the name of a unit that is started with a mount
namespace of its own, and returns the mountpoint that is then left in it alone.
"""

import json

from tests.support.machine import Machine
from tests.support.strace import inject

APART = ("PrivateTmp=yes", "MountFlags=private")
EBUSY = "error=EBUSY"


def docker_mountpoint(host: Machine, container: str) -> str:
    """Where dockerd mounts a container's file system, for its own store and for containerd's."""
    state = json.loads(host.docker("inspect", container).stdout)[0]
    return (state["GraphDriver"]["Data"] or {}).get("MergedDir") or f"/var/lib/docker/rootfs/overlayfs/{state['Id']}"


def docker(host: Machine, unit: str) -> str:
    """A container of dockerd's that has been stopped and removed."""
    container = host.docker("run", "-d", "--network=none", "bb", "sleep", "1000").stdout.strip()
    mountpoint = docker_mountpoint(host, container)
    host.unit(unit, *APART)
    with inject(host, host.main_pid("docker.service"), "unlinkat", EBUSY, mountpoint):
        host.docker("stop", "-t", "0", container)
    return mountpoint


def task(host: Machine, unit: str, image: str, name: str = "task") -> str:
    """A task of containerd's that has ended."""
    host.ctr("run", "-d", "--null-io", "--cpu-shares", "0", image, name, "/bin/sleep", "1000")
    host.unit(unit, *APART)
    mountpoint = f"/run/containerd/io.containerd.runtime.v2.task/default/{name}/rootfs"
    host.ctr("task", "kill", "-s", "KILL", name)
    with inject(host, host.main_pid("containerd.service"), "unlinkat", EBUSY, mountpoint):
        host.ctr("task", "rm", name, check=False)
    return mountpoint


def podman(host: Machine, unit: str) -> str:
    """A layer of podman's, which is killed after its umount: its record still says that it is mounted."""
    container = host.podman("create", "--network=none", "bb", "sleep", "1000").stdout.strip()
    mountpoint = host.podman("mount", container).stdout.strip()
    host.unit(unit, *APART)
    podman_umount_killed(host, container, mountpoint)
    return mountpoint


def podman_umount_killed(host: Machine, container: str, mountpoint: str) -> None:
    """`podman umount` is killed after the umount: at its rmdir, or at its rename of a new directory (since 5)."""
    calls = "unlinkat,renameat"
    kill = ("-e", f"trace={calls}", "-e", f"inject={calls}:{EBUSY}:signal=SIGKILL", "-P", mountpoint)
    host.run("strace", "-f", "-o", "/dev/null", *kill, "podman", "umount", container, check=False)
