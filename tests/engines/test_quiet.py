"""What engines do that looks like a leak and is none: nothing is told, nothing done, from its start to its end."""

import json
import os
from collections.abc import Iterator

import pytest

from tests.engines.test_nested import LOOP, RIGHTS, USR, assert_quiet, copies
from tests.support import rootfs
from tests.support.fixtures import booted
from tests.support.machine import Machine
from tests.support.strace import inject
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

COUNT = 5
FLAGS = "--bridge=none --iptables=false --ip6tables=false"


@pytest.fixture
def host() -> Iterator[Machine]:
    """A host with the agent running, and no engine yet."""
    with booted() as machine:
        machine.run("systemctl", "start", "mountwarden")
        yield machine


@pytest.fixture
def docker(host: Machine) -> Machine:
    """The same with dockerd and its image."""
    host.start_docker()
    host.import_image("docker")
    return host


SLAVE = """
[Service]
MountFlags=slave
ExecStart=
ExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS
"""
"""And a containerd of its own, which sees the layers that dockerd mounts."""


def test_dockerd_in_a_unit_with_slave_mounts(host: Machine) -> None:
    host.write("/etc/systemd/system/docker.service.d/own.conf", SLAVE)
    host.run("systemctl", "mask", "containerd.service")
    host.start_docker()
    host.import_image("docker")
    host.run("sh", "-c", LOOP.format(count=COUNT, run="docker run --network=none"), timeout=200)
    assert copies(host, host.main_pid("docker.service"), "/merged") >= COUNT
    assert copies(host, 1, "/merged") == 0, "a slave's mounts do not reach its master"
    assert_quiet(host)
    host.run("sh", "-c", "docker rm -f $(docker ps -aq)", timeout=200)
    assert_quiet(host)


SNAP = "/run/snapd/ns/docker.mnt"
MAKE_PLACE = "d=${1%/*}; mkdir -p $d; mount --bind $d $d; mount --make-private $d; touch $1"
START = (
    f"nsenter --mount={SNAP} dockerd -H unix:///run/snap.sock --data-root /var/lib/docker --exec-root /run/snap "
    f"--pidfile /run/snap.pid --live-restore {FLAGS}"
)


def keep_namespace(host: Machine, path: str) -> None:
    """Bind a new mount namespace, a slave of home, to a file.

    Linux numbers namespaces by processor since 6.18, and binds only one with a number above that of the caller's own:
    one that is made later on the processor where that was made has it.
    """
    host.run("sh", "-ec", MAKE_PLACE, "sh", path)
    apart = ("unshare", "--mount", "--propagation=slave", "sh", "-c", "mount --make-rshared / && exec sleep 1000")
    refused = []
    for processor in sorted(os.sched_getaffinity(0)):
        maker = host.unit(f"maker{processor}", f"CPUAffinity={processor}", command=apart)
        pid = host.main_pid(maker)
        wait_until(lambda pid=pid: host.read(f"/proc/{pid}/comm") == "sleep\n", 30, "the namespace is made")
        bound = host.run("mount", "--bind", f"/proc/{pid}/ns/mnt", path, check=False)
        host.run("systemctl", "stop", maker)
        if bound.returncode == 0:
            return
        refused.append(bound.stderr)
    pytest.fail("".join(refused))


def test_dockerd_in_a_namespace_that_a_file_keeps_stopped_under_live_restore(host: Machine) -> None:
    """As the snap has it: a mount namespace bound to a file, which outlives the daemon as its containers do."""
    keep_namespace(host, SNAP)
    client = "docker -H unix:///run/snap.sock"
    unit = host.unit("snapdocker", "KillMode=process", "Delegate=yes", command=("sh", "-c", f"exec {START}"))

    def answers() -> bool:
        return host.run("sh", "-c", f"{client} info", check=False).returncode == 0

    wait_until(answers, 30, "dockerd serves")
    host.run("sh", "-c", f"{client} import {rootfs.ARCHIVE} bb")
    host.run("sh", "-c", LOOP.format(count=COUNT, run=f"{client} run --network=none"), timeout=200)
    assert copies(host, host.main_pid(unit), "/merged") >= COUNT
    assert copies(host, 1, "/merged") == 0
    assert_quiet(host)
    host.run("systemctl", "stop", unit)
    assert host.run("pgrep", "-x", "dockerd", check=False).returncode == 1
    inside = host.run("nsenter", f"--mount={SNAP}", "cat", "/proc/self/mountinfo").stdout
    assert inside.count("/merged ") >= COUNT, "the layers are live, and only there"
    assert_quiet(host)
    host.run("systemctl", "reset-failed", unit, check=False)
    host.unit("snapdocker2", "KillMode=process", "Delegate=yes", command=("sh", "-c", f"exec {START}"))
    wait_until(answers, 30, "dockerd serves again")
    assert_quiet(host)
    host.run("sh", "-c", f"{client} rm -f $({client} ps -aq)", timeout=200)
    assert_quiet(host)


def test_dockerd_killed_between_umount_and_rmdir_and_started_again(docker: Machine) -> None:
    host = docker
    containers = [host.docker("run", "-d", "--network=none", "bb", "sleep", "1000").stdout.strip() for _ in range(3)]
    merged = host.docker("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", containers[0]).stdout.strip()
    host.unit("bystander", "PrivateTmp=yes")
    host.write("/run/systemd/system/docker.service.d/norestart.conf", "[Service]\nRestart=no\n")
    host.run("systemctl", "daemon-reload")
    with inject(host, host.main_pid("docker.service"), "unlinkat", "error=EBUSY:signal=SIGKILL", merged):
        host.docker("stop", "-t", "0", containers[0], check=False)
        wait_until(lambda: host.show("docker.service", "ActiveState") == "failed", 30, "dockerd was killed")
    assert merged not in host.read("/proc/1/mountinfo")
    host.run("test", "-d", merged)
    assert_quiet(host)
    host.start_docker()
    wait_until(lambda: host.docker("info", check=False).returncode == 0, 30, "dockerd serves again")
    assert_quiet(host)
    host.docker("start", *containers)
    assert_quiet(host)
    host.docker("rm", "-f", *containers)
    assert_quiet(host)


def test_podman_in_a_container_of_podman(host: Machine) -> None:
    host.import_image("podman")
    host.run("sh", "-c", f"({USR}) | podman import - usr")
    binds = ("-v", "/usr:/usr:ro", "-v", "/etc:/etc:ro", "-v", "inner:/var/lib/containers")
    start = "mount -t tmpfs run /run; mount -t tmpfs tmp /tmp; mkdir -p /var/tmp; exec sleep 1000"
    host.podman(
        "run", "-d", *RIGHTS[:-1], "--cap-add=MKNOD", "--network=none", "--name=outer", *binds, "usr", "sh", "-c", start
    )
    wait_until(lambda: host.podman("exec", "outer", "test", "-d", "/var/tmp", check=False).returncode == 0, 30)
    host.run("sh", "-c", "podman save bb | podman exec -i outer podman load")

    def inner(command: str) -> str:
        return host.podman("exec", "outer", "sh", "-c", command, timeout=200).stdout

    run = "podman --runtime crun run --network=none --cgroups=disabled"
    inner(LOOP.format(count=COUNT, run=run))
    pid = int(host.podman("inspect", "-f", "{{.State.Pid}}", "outer").stdout)
    assert copies(host, pid, "/merged") >= COUNT, "their layers are mounted in the container's namespace"
    assert_quiet(host)
    inner("podman rm -f -t 0 -a")
    assert_quiet(host)
    host.podman("rm", "-f", "-t", "0", "outer")
    assert_quiet(host)


def test_nspawn_containers_beside_dockerd(docker: Machine) -> None:
    host = docker
    for tree in ("one", "two"):
        where = f"/var/lib/machines/{tree}"
        host.run("sh", "-c", f"mkdir -p {where} && tar -C {where} -xf {rootfs.ARCHIVE}")
    host.run("sh", "-c", LOOP.format(count=COUNT, run="docker run --network=none"), timeout=200)
    spawn = ("systemd-nspawn", "--quiet", "--keep-unit", "--register=no", "--as-pid2")
    bind = "--bind-ro=/var/lib/docker:/mnt"
    units = [
        host.unit("one", command=(*spawn, "-D", "/var/lib/machines/one", "/bin/sleep", "2000")),
        host.unit("two", command=(*spawn, "-D", "/var/lib/machines/two", bind, "/bin/sleep", "2000")),
    ]
    wait_until(lambda: host.run("pgrep", "-fcx", "/bin/sleep 2000", check=False).stdout == "2\n", 30, "both run")
    assert_quiet(host)
    host.run("sh", "-c", "docker rm -f $(docker ps -aq)", timeout=200)
    assert_quiet(host)
    host.run("systemctl", "stop", *units)
    assert_quiet(host)


def test_buildah_and_ctr_from_start_to_end(docker: Machine) -> None:
    host = docker
    host.import_image("podman")
    image = host.import_image("ctr")
    host.unit("bystander", "PrivateTmp=yes", "MountFlags=private")
    name = host.run("buildah", "from", "--pull-never", "localhost/bb").stdout.strip()
    merged = host.run("buildah", "mount", name).stdout.strip()
    host.run("sh", "-c", f"echo text > {merged}/file")
    host.ctr("run", "-d", "--null-io", "--cpu-shares", "0", image, "c1", "/bin/sleep", "1000")
    late = host.unit("late", "PrivateTmp=yes", "MountFlags=private")
    assert copies(host, host.main_pid(late), "/merged") >= 1
    assert copies(host, host.main_pid(late), "/c1/rootfs") == 1
    assert_quiet(host)
    host.run("systemctl", "stop", late)
    host.run("buildah", "umount", name)
    host.run("buildah", "commit", name, "built")
    host.run("buildah", "rm", name)
    host.ctr("task", "rm", "-f", "c1")
    host.ctr("container", "rm", "c1")
    assert_quiet(host)
    told = json.loads(host.run("mountwarden", "report", "--json", "--all").stdout)
    assert {root["engine"] for root in told["roots"]} >= {"docker", "containers-storage", "containerd"}
