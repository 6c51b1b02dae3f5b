"""The programs of container engines by the names of their processes, and which modules know the roots of each.

The names are those of the executables, cut to 15 bytes as proc_pid_comm(5) has them. k3s (cmd/k3s/main.go), RKE2, k0s
and MicroK8s (kubelite) run kubelet, and some of them containerd, in one process or as its children. conmon is the
monitor of podman and CRI-O, one for each container. systemd-nspawn(1) and LXC mount a container's file systems in the
container's own mount namespace: nothing of theirs is in home.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from . import buildkit, containerd, containers_storage, crio, docker, incus, kubelet, nerdctl


@dataclass(frozen=True, slots=True)
class Program:
    """What a process of some name is of."""

    name: str
    """Of the engine, as its makers write it."""
    modules: tuple[str, ...] = ()
    """The engines, as the configuration's `engines` has them, whose roots are its; empty where no module knows them."""
    mounts_at_home: bool = True
    """Whether it mounts in home at all."""


_NODE = (containerd.ENGINE, kubelet.ENGINE)

PROGRAMS: Mapping[str, Program] = MappingProxyType(
    {
        docker.COMMAND: Program("Docker", (docker.ENGINE,)),
        containerd.COMMAND: Program("containerd", (containerd.ENGINE, nerdctl.ENGINE)),
        containers_storage.CRIO: Program("CRI-O", (containers_storage.ENGINE, crio.ENGINE)),
        "podman": Program("podman", (containers_storage.ENGINE,)),
        "conmon": Program("podman", (containers_storage.ENGINE,)),
        "kubelet": Program("kubelet", (kubelet.ENGINE,)),
        "kubelite": Program("MicroK8s", _NODE),
        "k3s": Program("k3s", _NODE),
        "k3s-server": Program("k3s", _NODE),
        "k3s-agent": Program("k3s", _NODE),
        "rke2": Program("RKE2", _NODE),
        "k0s": Program("k0s", _NODE),
        buildkit.COMMAND: Program("BuildKit", (buildkit.ENGINE,)),
        "incusd": Program("Incus", (incus.ENGINE,)),
        "lxd": Program("LXD", (incus.ENGINE,)),
        "nomad": Program("Nomad"),
        "balena-engine-d": Program("balenaEngine"),
        "gdn": Program("Garden"),
        "mesos-agent": Program("Mesos"),
        "mesos-slave": Program("Mesos"),
        "lxc-start": Program("LXC", mounts_at_home=False),
        "systemd-nspawn": Program("systemd-nspawn", mounts_at_home=False),
    }
)
