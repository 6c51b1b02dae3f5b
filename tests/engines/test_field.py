"""What people met in the field, with real engines and the service running: what is told, and what is left alone."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from mountwarden.escape import seconds

from tests.support.fixtures import booted
from tests.support.incidents import CONFIG, mountpoints, running, unit
from tests.support.machine import Machine
from tests.support.planted import podman_umount_killed
from tests.support.strace import inject
from tests.support.wait import wait_until

pytestmark = pytest.mark.long

SHORT = CONFIG.replace('mode = "observe"', "")
AUTO = SHORT + "".join(f'[[policy]]\naction = "{action}"\npolicy = "auto"\n' for action in ("detach", "unmount"))
APART = ("PrivateTmp=yes", "MountFlags=private")
SECOND = "/run/k3s/containerd"
TASK = "io.containerd.runtime.v2.task/default/c1/rootfs"


@pytest.fixture(scope="module")
def docker() -> Iterator[Machine]:
    """A host with dockerd, and the image in both engines."""
    with booted() as host:
        host.start_docker()
        host.import_image("docker")
        host.import_image("podman")
        yield host


@contextlib.contextmanager
def service(host: Machine, config: str) -> Iterator[None]:
    """While this lasts the service runs, and has looked once at least."""
    host.write("/etc/mountwarden/mountwarden.toml", config)
    host.run("systemctl", "start", "mountwarden")
    try:
        seen(host)
        yield
    finally:
        host.run("systemctl", "stop", "mountwarden")
        host.run("sh", "-c", "rm -rf /run/mountwarden/*")


def told(host: Machine) -> Any:
    return json.loads(host.run("mountwarden", "report", "--json", "--all", check=False).stdout)


def seen(host: Machine, times: int = 1) -> None:
    """Wait until the service has looked, so often, at what is there now."""
    for _ in range(times):
        started = time.time()
        wait_until(lambda: seconds(told(host)["taken"]) > started, 30, "the service has looked")  # noqa: B023


def leaked(host: Machine, mountpoint: str) -> list[dict[str, Any]]:
    found = told(host)["findings"]
    return [f for f in found if f["kind"] == "leaked" and f["mountpoint"] == mountpoint and f["confirmed"]]


def acts(host: Machine) -> list[str]:
    return [e["MESSAGE"] for e in host.journal("MOUNTWARDEN_EVENT=acted")]


@pytest.mark.parametrize("config", [SHORT, AUTO], ids=["default", "auto"])
def test_podman_killed_between_its_umount_and_its_rename(docker: Machine, config: str) -> None:
    made = docker.podman("create", "--network=none", "bb", "sleep", "1000").stdout.strip()
    merged = docker.podman("mount", made).stdout.strip()
    with service(docker, config), unit(docker, "holder", *APART) as holder:
        pid = docker.main_pid(holder)
        assert merged in mountpoints(docker, pid)
        seen(docker)
        podman_umount_killed(docker, made, merged)
        assert merged not in mountpoints(docker, 1)
        counts = json.loads(docker.read("/run/containers/storage/overlay-layers/mountpoints.json"))
        assert [one["count"] for one in counts if one["path"] == merged] == [1]
        (finding,) = wait_until(lambda: leaked(docker, merged), 30, "it is told")
        assert (finding["severity"], finding["evidence"]) == ("info", "history")
        assert finding["detail"].startswith("the engine's record still says that it is in use")
        assert not any(remedy["automatic"] for remedy in finding["remedies"])
        seen(docker, 2)
        assert merged in mountpoints(docker, pid)
        assert acts(docker) == []
    docker.podman("rm", "-f", "-t", "0", made)


@contextlib.contextmanager
def daemon_unit(host: Machine, name: str, command: tuple[str, ...], *ready: str) -> Iterator[str]:
    """A daemon in a unit of that name, which serves when the command `ready` works."""
    full = host.unit(name, "Delegate=yes", "KillMode=process", command=command)
    try:
        wait_until(lambda: host.run(*ready, check=False).returncode == 0, 30, "it serves")
        yield full
    finally:
        host.run("systemctl", "stop", full, check=False)


def told_when_stopped(host: Machine, daemon: str, root: str, mountpoint: str) -> None:
    """The daemon of a leak is stopped, and then the service started anew: both times root and leak are there."""
    (before,) = wait_until(lambda: leaked(host, mountpoint), 30, "the leak is told")
    assert (before["root"], before["severity"]) == (root, "warning")
    host.run("systemctl", "stop", daemon)
    for action in ("is-active", "restart"):
        host.run("systemctl", action, "mountwarden")
        seen(host)
        states = {one["path"]: one["home_known"] for one in told(host)["roots"]}
        assert states[root] is False, "nobody's view of it is known"
        (after,) = wait_until(lambda: leaked(host, mountpoint), 30, "it is still told")
        assert (after["id"], after["severity"], after["evidence"]) == (before["id"], "warning", "history")


def test_the_second_of_two_containerds_is_stopped(docker: Machine) -> None:
    image = docker.import_image("ctr")
    state = 'version = 2\nroot = "/home/k3s"\nstate = "{}"\n[grpc]\naddress = "{}/containerd.sock"\n'
    docker.write("/etc/k3s.toml", state.format(SECOND, SECOND))
    ctr = ("ctr", "--address", f"{SECOND}/containerd.sock")
    mountpoint = f"{SECOND}/{TASK}"
    with (
        service(docker, CONFIG),
        daemon_unit(docker, "k3s", ("containerd", "--config", "/etc/k3s.toml"), *ctr, "version") as daemon,
    ):
        docker.run("sh", "-c", f"docker save bb | {' '.join(ctr)} image import -")
        docker.run(*ctr, "run", "-d", "--null-io", "--cpu-shares", "0", image, "c1", "/bin/sleep", "1000")
        with unit(docker, "holder", *APART):
            seen(docker)
            docker.run(*ctr, "task", "kill", "-s", "KILL", "c1")
            with inject(docker, docker.main_pid(daemon), "unlinkat", "error=EBUSY", mountpoint):
                docker.run(*ctr, "task", "rm", "c1", check=False)
            assert mountpoint not in mountpoints(docker, 1)
            told_when_stopped(docker, daemon, SECOND, mountpoint)


def test_the_second_of_two_dockerds_is_stopped(docker: Machine) -> None:
    socket = "unix:///run/two.sock"
    flags = f"-H {socket} --data-root=/home/two --exec-root=/run/two --pidfile=/run/two.pid --containerd-namespace=two"
    serve = f"dockerd {flags} --containerd=/run/containerd/containerd.sock --bridge=none --iptables=false"
    with (
        service(docker, CONFIG),
        daemon_unit(docker, "two", tuple(serve.split()), "docker", "-H", socket, "info") as daemon,
    ):
        docker.run("sh", "-c", f"docker save bb | docker -H {socket} load")
        run = ("docker", "-H", socket, "run", "-d", "--network=none", "bb", "sleep", "1000")
        container = docker.run(*run).stdout.strip()
        merged = "{{.GraphDriver.Data.MergedDir}}"
        mountpoint = docker.run("docker", "-H", socket, "inspect", "-f", merged, container).stdout.strip()
        with unit(docker, "holder", *APART):
            seen(docker)
            with inject(docker, docker.main_pid(daemon), "unlinkat", "error=EBUSY", mountpoint):
                docker.run("docker", "-H", socket, "stop", "-t", "0", container)
            told_when_stopped(docker, daemon, "/home/two", mountpoint)


JOB = """
set -e
lower=$(docker inspect -f '{{.GraphDriver.Data.LowerDir}}' "$1")
upper=$(docker inspect -f '{{.GraphDriver.Data.UpperDir}}' "$1")
work=$(docker inspect -f '{{.GraphDriver.Data.WorkDir}}' "$1")
merged=$(docker inspect -f '{{.GraphDriver.Data.MergedDir}}' "$1")
mkdir -p "$merged"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$work" "$merged"
exec sleep 1000
"""


@pytest.mark.parametrize("config", [SHORT, AUTO], ids=["default", "auto"])
def test_a_job_mounts_the_layer_of_a_created_container_in_a_namespace_of_its_own(docker: Machine, config: str) -> None:
    made = docker.docker("create", "--network=none", "bb", "sleep", "1000").stdout.strip()
    merged = docker.docker("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", made).stdout.strip()
    with service(docker, config):
        with unit(docker, "backup", "PrivateMounts=yes", command=("sh", "-c", JOB, "sh", made)) as job:
            pid = docker.main_pid(job)
            wait_until(lambda: merged in mountpoints(docker, pid), 30, "the job has mounted it")
            assert merged not in mountpoints(docker, 1), "home never had it"
            (finding,) = wait_until(lambda: leaked(docker, merged), 30, "it is told")
            assert finding["evidence"] == "record", "the engine's, which speaks of the container"
            assert not any(remedy["automatic"] for remedy in finding["remedies"])
            assert "unmounted on the host" not in docker.run("mountwarden", check=False).stdout
            seen(docker, 2)
            assert merged in mountpoints(docker, pid)
            assert acts(docker) == []
        docker.docker("start", made)
        docker.docker("rm", "-f", made)


def test_a_disk_that_a_container_was_given_is_in_use(docker: Machine) -> None:
    docker.run("sh", "-c", "mkdir -p /mnt/usb && truncate -s 16M /srv/usb && mkfs.ext4 -q /srv/usb")
    docker.run("mount", "-o", "loop", "/srv/usb", "/mnt/usb")
    with service(docker, AUTO), running(docker, "-v", "/mnt/usb:/data") as container:
        seen(docker)
        docker.run("umount", "/mnt/usb")
        (finding,) = wait_until(lambda: leaked(docker, "/mnt/usb"), 30, "it is told")
        assert finding["detail"] == f"in use by container {container.id[:12]} as /data"
        assert finding["severity"] == "info"
        offered = [(r["action"], r["automatic"], r["command"]) for r in finding["remedies"]]
        assert offered == [("restart", False, f"docker stop {container.id[:12]}")]
        seen(docker, 2)
        assert "/data" in mountpoints(docker, container.pid)
        assert acts(docker) == []
        docker.run(*offered[0][2].split())
        wait_until(lambda: not leaked(docker, "/mnt/usb"), 30, "it is free")
        assert docker.run("losetup", "-j", "/srv/usb").stdout == ""
    docker.run("rm", "/srv/usb")


def test_a_chroot_with_the_host_bound_into_it(docker: Machine) -> None:
    docker.run("sh", "-ec", "ip netns add demo1; mkdir -p /srv/chroot")
    with service(docker, SHORT), running(docker):
        docker.run("sh", "-ec", "mount --rbind / /srv/chroot; mount --make-rprivate /srv/chroot")
        bound = [point for point in mountpoints(docker, 1) if point.startswith("/srv/chroot/")]
        assert any(point.endswith("/merged") for point in bound)
        assert "/srv/chroot/run/netns/demo1" in bound
        seen(docker, 3)
        found = [f for f in told(docker)["findings"] if f["severity"] != "info" or f["kind"] == "stacked"]
        assert found == []
        assert "nothing is wrong" in docker.run("mountwarden").stdout
        docker.run("umount", "-R", "/srv/chroot")
    docker.run("sh", "-ec", "ip netns del demo1; rmdir /srv/chroot")


def test_a_container_in_an_unmounted_mountpoint_puts_the_detach_off_until_it_has_gone(docker: Machine) -> None:
    """A default container with the host's tree, which stands in the directory below the mount."""
    layer, merged = "/var/lib/docker/overlay2/X", "/var/lib/docker/overlay2/X/merged"
    docker.run("mkdir", "-p", f"{layer}/lower", f"{layer}/diff", f"{layer}/work", merged)
    stand = f"cd /host{merged} && exec sleep 1000"
    visitor = docker.docker("run", "-d", "--network=none", "-v", "/:/host:ro", "bb", "sh", "-c", stand).stdout.strip()
    with service(docker, SHORT):
        options = f"lowerdir={layer}/lower,upperdir={layer}/diff,workdir={layer}/work"
        docker.run("mount", "-t", "overlay", "overlay", "-o", options, merged)
        seen(docker)
        with unit(docker, "holder", *APART) as holder:
            pid = docker.main_pid(holder)
            docker.run("umount", merged)
            match = f"MOUNTWARDEN_MOUNTPOINT={merged}"
            declined = wait_until(lambda: docker.journal("MOUNTWARDEN_EVENT=failed", match), 30, "it is declined")
            assert [entry["MOUNTWARDEN_CODE"] for entry in declined] == ["in-use"]
            assert "(sleep, cwd)" in declined[0]["MESSAGE"]
            time.sleep(3)  # it is tried again meanwhile, and told once
            assert merged in mountpoints(docker, pid)
            docker.docker("rm", "-f", visitor)
            wait_until(lambda: docker.journal("MOUNTWARDEN_EVENT=acted", match), 20, "it is done")
            assert merged not in mountpoints(docker, pid)
            assert len(docker.journal("MOUNTWARDEN_EVENT=failed", match)) == 1
    docker.run("rm", "-rf", layer)
