"""The ten incidents of docs/incidents.md with real engines: what is found, why, and what ends it."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator

import pytest
from mountwarden.report import types

from tests.support import rootfs
from tests.support.incidents import cause, detach, docker, mountpoints, only, podman, report, running, unit
from tests.support.machine import Machine
from tests.support.strace import inject
from tests.support.wait import wait_until

__all__ = ["docker"]

ROOT = "/var/lib/docker"
UNCONFINED = ("--cap-add=SYS_ADMIN", *(f"--security-opt={name}=unconfined" for name in ("seccomp", "apparmor")))
long = pytest.mark.long


@pytest.fixture
def private(docker: Machine) -> Iterator[Machine]:
    """The engine's directory is private, as older releases of it made it."""
    docker.run("mount", "--make-private", ROOT)
    yield docker
    docker.run("mount", "--make-shared", ROOT)


def test_incident_1_a_service_with_a_private_tmp_was_started_while_containers_ran(private: Machine) -> None:
    with running(private) as container, unit(private, "ntpd", "PrivateTmp=yes") as holder:
        container.stop()
        finding = only(private, kind="leaked", evidence="record", mountpoint=container.merged, severity="warning")
        assert {h["unit"] for h in types.holders(finding)} == {holder}
        assert cause(finding) == (
            f"{ROOT} is private on the host, so no umount there reaches the mount namespace of ntpd.service "
            "(PrivateTmp=yes, set when it was started as a transient unit)."
        )
        detach(private, finding, private.main_pid(holder))
        private.docker("rm", container.id)
        private.run("test", "!", "-e", container.merged)


@long
def test_incident_1_is_none_where_the_directory_is_shared(docker: Machine) -> None:
    with running(docker) as container, unit(docker, "chronyd", "PrivateTmp=yes") as holder:
        assert container.merged in mountpoints(docker, docker.main_pid(holder))
        container.stop()
        assert container.merged not in mountpoints(docker, docker.main_pid(holder))
        assert report(docker) == []


@pytest.fixture
def service(docker: Machine) -> Iterator[None]:
    """mountwarden's runs, and is stopped whatever comes: what follows asks for scans of its own."""
    docker.run("systemctl", "start", "mountwarden")
    yield
    docker.run("systemctl", "stop", "mountwarden")


@long
@pytest.mark.usefixtures("service")
def test_incident_2_a_one_shot_service_that_dbus_starts(private: Machine) -> None:
    with running(private) as container:
        private.run("timedatectl", "status")
        holder = "systemd-timedated.service"
        assert container.merged in mountpoints(private, private.main_pid(holder))
        container.stop()
        wait_until(lambda: report(private), 30, "the service has confirmed it")
        finding = only(private, kind="leaked", mountpoint=container.merged)
        assert {h["unit"] for h in types.holders(finding)} == {holder}
        assert cause(finding).startswith(
            f"{ROOT} is private on the host, so no umount there reaches the mount namespace"
        )
        told = f"MOUNTWARDEN_FINDING={finding['id']}"
        wait_until(lambda: private.journal(told, "MOUNTWARDEN_EVENT=found"), 30, "the service has told it")
        private.run("systemctl", "stop", holder)  # as it does by itself when it is idle
        wait_until(lambda: private.journal(told, "MOUNTWARDEN_EVENT=cleared"), 30, "it is gone with its holder")
        assert report(private) == []
        history = private.run("mountwarden", "history").stdout
        assert holder in history, "its name is there after the fact"


@long
def test_incident_3_udevd_whose_root_alone_is_a_slave(private: Machine) -> None:
    # MountFlags=slave of old releases: not recursive, so that every mount below / keeps the state that it had.
    script = "mount --make-slave / && exec sleep 1000"
    command = ("unshare", "--mount", "--propagation=unchanged", "sh", "-c", script)
    with running(private) as container, unit(private, "udevd", command=command) as holder:
        pid = private.main_pid(holder)
        wait_until(lambda: private.read(f"/proc/{pid}/comm") == "sleep\n", 30, "it has set up its namespace")
        container.stop()
        finding = only(private, kind="leaked", mountpoint=container.merged)
        assert {h["unit"] for h in types.holders(finding)} == {holder}
        assert (
            cause(finding)
            == f"{ROOT} is private on the host, so no umount there reaches the mount namespace of {holder}."
        )
        detach(private, finding, pid)


@long
def test_incident_4_a_monitoring_container_with_the_host_at_rootfs(docker: Machine) -> None:
    with running(docker) as container, podman(docker, "-v", "/:/rootfs:ro,rprivate") as exporter:
        pid = int(docker.podman("inspect", "-f", "{{.State.Pid}}", exporter).stdout)
        container.stop()
        finding = only(docker, kind="leaked", mountpoint=container.merged, seen_at=f"/rootfs{container.merged}")
        assert {h["container"] for h in types.holders(finding)} == {exporter}
        assert cause(finding) == (
            f"Container {exporter[:12]} bind-mounts the host's / at /rootfs with private propagation, "
            "so umounts on the host do not reach it."
        )
        detach(docker, finding, pid)


@long
def test_incident_4_under_runc_itself(docker: Machine) -> None:
    """As a CRI without mountPropagation does: containerd's ctr and runc, and no engine that knows better."""
    image = docker.import_image("ctr")
    bind = "type=bind,src=/,dst=/rootfs,options=rbind:ro:rprivate"
    with running(docker) as container, contextlib.ExitStack() as stack:
        docker.ctr(
            "run", "-d", "--null-io", "--cpu-shares", "0", "--mount", bind, image, "cadvisor", "/bin/sleep", "1000"
        )
        stack.callback(docker.ctr, "container", "rm", "cadvisor")
        stack.callback(docker.ctr, "task", "rm", "-f", "cadvisor")
        listed = docker.ctr("task", "ls").stdout.splitlines()
        pid = int(next(line.split()[1] for line in listed if line.startswith("cadvisor ")))
        container.stop()
        finding = only(docker, kind="leaked", mountpoint=container.merged, seen_at=f"/rootfs{container.merged}")
        assert pid in {h["pid"] for h in types.holders(finding)}
        assert "bind-mounts the host's / at /rootfs with private propagation" in cause(finding)
        detach(docker, finding, pid)


@long
def test_incident_4_under_crun(docker: Machine) -> None:
    """Without a control group of its own nothing names the container; it is one by its namespaces."""
    run = ("--runtime", "crun", "run", "-d", "--cgroups=disabled", "--network=none", "-v", "/:/rootfs:ro,rprivate")
    with running(docker) as container, contextlib.ExitStack() as stack:
        exporter = docker.podman(*run, "bb", "sleep", "1000").stdout.strip()
        stack.callback(docker.podman, "rm", "-f", "-t", "0", exporter)
        pid = int(docker.podman("inspect", "-f", "{{.State.Pid}}", exporter).stdout)
        container.stop()
        finding = only(docker, kind="leaked", mountpoint=container.merged, seen_at=f"/rootfs{container.merged}")
        assert pid in {h["pid"] for h in types.holders(finding)}
        assert finding["copies"][0]["namespace"]["kind"] == "container"
        assert "bind-mounts the host's / at /rootfs with private propagation" in cause(finding)
        detach(docker, finding, pid)


@long
def test_incident_5_rslave_that_is_not_in_effect(docker: Machine) -> None:
    with running(docker) as container, running(docker, "-v", "/:/host:ro,rslave") as exporter:
        # What releases of runc with that fault leave behind: rslave in the configuration, no master in mountinfo.
        docker.run("nsenter", "-t", str(exporter.pid), "-m", "mount", "--make-rprivate", "/host")
        container.stop()
        finding = only(docker, kind="leaked", mountpoint=container.merged, seen_at=f"/host{container.merged}")
        assert {h["container"] for h in types.holders(finding)} == {exporter.id}
        assert cause(finding) == (
            f"Container {exporter.id[:12]} was to bind-mount the host's / at /host with rslave propagation, "
            "but that mount is private, so umounts on the host do not reach it."
        )
        detach(docker, finding, exporter.pid)


@long
def test_incident_6_a_log_shipper_keeps_the_shm_of_a_container(docker: Machine) -> None:
    say = ("sh", "-c", "echo a line; sleep 1000")
    with running(docker, "--ipc=shareable", command=say) as container:
        directory = f"{ROOT}/containers/{container.id}"
        with unit(docker, "filebeat", "PrivateTmp=yes", "MountFlags=private") as shipper:
            log = f"{directory}/{container.id}-json.log"
            wait_until(
                lambda: "a line" in docker.run("cat", log, check=False).stdout, 10, "the container wrote its log"
            )
            before = docker.read(log)
            docker.docker("stop", "-t", "0", container.id)
            found = [f for f in report(docker) if f["fstype"] == "tmpfs"]
            (finding,) = found
            assert finding["mountpoint"] == f"{directory}/mounts/shm"
            assert {h["unit"] for h in types.holders(finding)} == {shipper}
            assert cause(finding) == (
                "filebeat.service has MountFlags=private (set when it was started as a transient unit), so umounts on "
                "the host do not reach its mount namespace."
            )
            pid = docker.main_pid(shipper)
            docker.run("mountwarden", "detach", finding["id"])
            assert finding["copies"][0]["seen_at"] not in mountpoints(docker, pid)
            assert docker.read(log) == before, "a log is never touched"
            docker.docker("rm", container.id)


@long
def test_incident_7_a_network_namespace_in_a_pod(docker: Machine) -> None:
    run = ("-v", "/run:/host/run")
    with running(docker, *run) as early, running(docker) as container, running(docker, *run) as pod:
        key = docker.docker("inspect", "-f", "{{.NetworkSettings.SandboxKey}}", container.id).stdout.strip()
        file = key.removeprefix("/var")
        assert f"/host{file}" not in mountpoints(docker, early.pid), "it was there before the file"
        assert f"/host{file}" in mountpoints(docker, pod.pid)
        # dockerd 28 unlinks it at once, and else each minute, which takes the copies along.
        with inject(docker, docker.main_pid("docker.service"), "unlinkat", "error=EBUSY", key):
            docker.docker("stop", "-t", "0", container.id)
            finding = only(docker, kind="leaked", fstype="nsfs", mountpoint=file, seen_at=f"/host{file}")
            assert {h["container"] for h in types.holders(finding)} == {pod.id}
            assert cause(finding) == (
                f"Container {pod.id[:12]} bind-mounts the host's /run at /host/run with private propagation, "
                "so umounts on the host do not reach it."
            )
            detach(docker, finding, pod.pid)


@long
@pytest.mark.usefixtures("service")  # a single look can't tell that they multiply
def test_incident_8_a_container_that_doubles_its_mounts_at_each_restart(docker: Machine) -> None:
    volume = "/var/lib/kubelet/pods/1/volumes/csi/v"
    docker.run("sh", "-c", f"mkdir -p {volume} && mount -t tmpfs v {volume}")
    script = f"mount --bind {volume} {volume}; sleep 1000"
    options = (*UNCONFINED, "-v", "/var/lib/kubelet:/var/lib/kubelet:rshared")
    with running(docker, *options, command=("sh", "-c", script)) as plugin:
        for at in range(1, 4):
            wait_until(lambda count=1 << at: mountpoints(docker, 1).count(volume) == count, 30, "it has bound it again")
            docker.docker("restart", "-t", "0", plugin.id)
        wait_until(lambda: mountpoints(docker, 1).count(volume) == 16, 30, "they doubled each time")
        stacked = lambda: [f for f in report(docker) if f["kind"] == "stacked"]  # noqa: E731
        found = wait_until(stacked, 30, "it is told")
        assert {f["mountpoint"] for f in found} == {volume}
        assert max(f["count"] for f in found) >= 16
        assert all(r["action"] == "restart" for f in found for r in f["remedies"]), "never a detach"
        declined = docker.run("mountwarden", "detach", found[0]["id"], check=False)
        assert declined.returncode == 1
        assert mountpoints(docker, 1).count(volume) == 16
    docker.run("sh", "-c", f"while umount {volume} 2>/dev/null; do :; done; rm -r /var/lib/kubelet/pods")
    assert report(docker) == []


@long
def test_incident_9_a_volume_that_a_bystander_pins(docker: Machine) -> None:
    place = "/var/lib/kubelet/plugins/kubernetes.io/csi/pv/pv1/globalmount"
    docker.run("sh", "-c", f"mkdir -p {place} && truncate -s 16M /srv/pv && mkfs.ext4 -q /srv/pv")
    device = docker.run("losetup", "--find", "--show", "/srv/pv").stdout.strip()
    docker.run("mount", device, place)
    with running(docker, "-v", "/var/lib/kubelet:/kubelet:ro") as bystander:
        docker.run("umount", place)
        assert place not in mountpoints(docker, 1)
        seen_at = place.replace("/var/lib/kubelet", "/kubelet")
        finding = only(docker, kind="leaked", severity="critical", mountpoint=place, seen_at=seen_at, engine="kubelet")
        assert {h["container"] for h in types.holders(finding)} == {bystander.id}
        assert cause(finding) == (
            f"Container {bystander.id[:12]} bind-mounts the host's /var/lib/kubelet at /kubelet with private "
            "propagation, so umounts on the host do not reach it."
        )
        told = docker.run("mountwarden", "who", device, check=False).stdout
        assert bystander.id[:12] in told, told
        detach(docker, finding, bystander.pid)
        docker.run("losetup", "--detach", device)
        wait_until(lambda: not docker.run("losetup", "-j", "/srv/pv").stdout, 30, "the device is free")
    docker.run("rm", "-r", "/var/lib/kubelet/plugins", "/srv/pv")


@long
def test_incident_10_a_container_that_starts_holds_the_layer_of_another(private: Machine) -> None:
    """runc stands still before pivot_root(2), where it has the host's mounts: nothing is told of that moment."""
    bundle = "/srv/bundle"
    private.run("mkdir", "-p", f"{bundle}/rootfs")
    private.run("tar", "-C", f"{bundle}/rootfs", "-xf", rootfs.ARCHIVE)
    private.run("env", "-C", bundle, "runc", "spec")
    spec = json.loads(private.read(f"{bundle}/config.json"))
    spec["process"] |= {"terminal": False, "args": ["sleep", "1000"]}
    private.write(f"{bundle}/config.json", json.dumps(spec))
    late = ("-e", "trace=pivot_root", "-e", "inject=pivot_root:delay_enter=6s")
    with running(private) as container:
        starting = private.popen("strace", "-f", "-o", "/dev/null", *late, "runc", "run", "--bundle", bundle, "b")
        wait_until(lambda: _init(private, container.merged), 30, "runc init has a copy")
        pid = _init(private, container.merged)
        container.stop()
        assert container.merged in mountpoints(private, pid)
        assert report(private) == [], "it has not held for long enough, and never will"
        wait_until(lambda: "running" in private.run("runc", "list", check=False).stdout, 30, "it starts")
        wait_until(lambda: container.merged not in mountpoints(private, pid), 30, "its copies went with the old root")
        assert report(private) == []
        private.run("runc", "delete", "--force", "b")
        os.killpg(starting.pid, signal.SIGTERM)
        starting.communicate(timeout=10)


COPIES = """
home=$(readlink /proc/1/ns/mnt)
for d in /proc/[0-9]*; do
    grep -q "^runc" $d/comm && grep -qF "$1" $d/mountinfo && [ "$(readlink $d/ns/mnt)" != "$home" ] && echo ${d#/proc/}
done 2>/dev/null
"""


def _init(host: Machine, merged: str) -> int:
    """The pid of a `runc init` that has a copy of that layer; 0 if there is none."""
    pids = host.run("sh", "-c", COPIES, "sh", merged, check=False).stdout.split()
    return int(pids[0]) if pids else 0
