"""Leaks of real engines, each by a step of the engine's own that is cut short while a unit keeps a copy.

Kernels before 3.18, and RHEL 7's, say EBUSY to who removes a mountpoint of which a copy is mounted elsewhere; so it is
said here to the engine, right after its umount. Each function takes the name of a unit that is started with a mount
namespace of its own, and returns the mountpoint that is then left in it alone. `hold` is called while the unit and
the host both have the mount.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator

from tests.support.buildkit import building
from tests.support.cri import CallFailed, Pods
from tests.support.incidents import mountpoints
from tests.support.machine import Machine
from tests.support.strace import inject
from tests.support.wait import wait_until

APART = ("PrivateTmp=yes", "MountFlags=private")
EBUSY = "error=EBUSY"

Hold = Callable[[], object]
_AT_ONCE: Hold = lambda: None  # noqa: E731


def docker_mountpoint(host: Machine, container: str) -> str:
    """Where dockerd mounts a container's file system, for its own store and for containerd's."""
    state = json.loads(host.docker("inspect", container).stdout)[0]
    return (state["GraphDriver"]["Data"] or {}).get("MergedDir") or f"/var/lib/docker/rootfs/overlayfs/{state['Id']}"


def _hold(host: Machine, unit: str, hold: Hold) -> None:
    host.unit(unit, *APART)
    hold()


def docker(host: Machine, unit: str, hold: Hold = _AT_ONCE) -> str:
    """A container of dockerd's that has been stopped and removed."""
    container = host.docker("run", "-d", "--network=none", "bb", "sleep", "1000").stdout.strip()
    mountpoint = docker_mountpoint(host, container)
    _hold(host, unit, hold)
    with inject(host, host.main_pid("docker.service"), "unlinkat", EBUSY, mountpoint):
        host.docker("stop", "-t", "0", container)
    return mountpoint


def task(host: Machine, unit: str, image: str, name: str = "task", hold: Hold = _AT_ONCE) -> str:
    """A task of containerd's that has ended."""
    host.ctr("run", "-d", "--null-io", "--cpu-shares", "0", image, name, "/bin/sleep", "1000")
    _hold(host, unit, hold)
    mountpoint = f"/run/containerd/io.containerd.runtime.v2.task/default/{name}/rootfs"
    host.ctr("task", "kill", "-s", "KILL", name)
    with inject(host, host.main_pid("containerd.service"), "unlinkat", EBUSY, mountpoint):
        host.ctr("task", "rm", name, check=False)
    return mountpoint


@contextlib.contextmanager
def pod(host: Machine, unit: str, pods: Pods, hold: Hold = _AT_ONCE) -> Iterator[str]:
    """A container of a pod that has been stopped. containerd tries again and again; while this lasts it can't."""
    sandbox, container = pods.run()
    mountpoint = f"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{container}/rootfs"
    _hold(host, unit, hold)
    with inject(host, host.main_pid("containerd.service"), "unlinkat", EBUSY, mountpoint):
        with contextlib.suppress(CallFailed):
            pods.stop_container(container)
        _await_umount(host, mountpoint)
        yield mountpoint
    pods.remove(sandbox)


@contextlib.contextmanager
def build(host: Machine, unit: str, hold: Hold = _AT_ONCE) -> Iterator[str]:
    """A step of a build of dockerd's that has been cancelled."""
    with contextlib.ExitStack() as stack:
        with building(host, unit) as mountpoint:
            _hold(host, unit, hold)
            daemon = host.main_pid("docker.service")
            stack.enter_context(inject(host, daemon, "unlinkat", EBUSY, os.path.dirname(mountpoint)))
        _await_umount(host, mountpoint)
        yield mountpoint


def _await_umount(host: Machine, mountpoint: str) -> None:
    wait_until(lambda: mountpoint not in mountpoints(host, 1), 60, "its engine has unmounted it")


def podman(host: Machine, unit: str, hold: Hold = _AT_ONCE) -> str:
    """A layer of podman's, which is killed after its umount: its record still says that it is mounted."""
    container, mountpoint = _mounted_by_podman(host)
    _hold(host, unit, hold)
    podman_umount_killed(host, container, mountpoint)
    return mountpoint


def podman_refused(host: Machine, unit: str, hold: Hold = _AT_ONCE) -> str:
    """A layer of podman's, which can't put a new directory there: its record still says that it is mounted."""
    container, mountpoint = _mounted_by_podman(host)
    _hold(host, unit, hold)
    _cut_short(host, mountpoint, EBUSY, "podman", "umount", container)
    return mountpoint


def _mounted_by_podman(host: Machine) -> tuple[str, str]:
    container = host.podman("create", "--network=none", "bb", "sleep", "1000").stdout.strip()
    return container, host.podman("mount", container).stdout.strip()


def buildah_killed(host: Machine, unit: str, hold: Hold = _AT_ONCE) -> str:
    """A layer of buildah's, which is killed after its umount: its record still says that it is mounted."""
    container = host.buildah("from", "--pull-never", "localhost/bb").stdout.strip()
    mountpoint = host.buildah("mount", container).stdout.strip()
    _hold(host, unit, hold)
    _cut_short(host, mountpoint, f"{EBUSY}:signal=SIGKILL", "buildah", "umount", container)
    return mountpoint


def podman_umount_killed(host: Machine, container: str, mountpoint: str) -> None:
    """`podman umount` is killed after the umount."""
    _cut_short(host, mountpoint, f"{EBUSY}:signal=SIGKILL", "podman", "umount", container)


def _cut_short(host: Machine, mountpoint: str, what: str, *command: str) -> None:
    """A command gets `what` after its umount: at its rmdir, or at its rename of a new directory (podman since 5)."""
    calls = "unlinkat,renameat"
    filters = ("-e", f"trace={calls}", "-e", f"inject={calls}:{what}", "-P", mountpoint)
    host.run("strace", "-f", "-o", "/dev/null", *filters, *command, check=False)
