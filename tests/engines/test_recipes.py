"""Each engine runs containers offline on the test host, and mounts where FACTS and the layouts say."""

import json

import pytest

from tests.support import rootfs
from tests.support.machine import Machine
from tests.support.wait import wait_until


def mountpoints(host: Machine, pid: int = 1) -> list[str]:
    return [line.split()[4] for line in host.read(f"/proc/{pid}/mountinfo").splitlines()]


def test_docker_mounts_the_layer_and_the_network_namespace(docker_host: Machine) -> None:
    container = docker_host.docker("run", "-d", "--network", "none", "bb", "sleep", "1000").stdout.strip()
    state = json.loads(docker_host.docker("inspect", container).stdout)[0]
    merged = state["GraphDriver"]["Data"]["MergedDir"]
    netns = state["NetworkSettings"]["SandboxKey"]
    assert merged.startswith("/var/lib/docker/overlay2/")
    assert netns.startswith(("/run/docker/netns/", "/var/run/docker/netns/"))
    assert {merged, netns.removeprefix("/var")} <= set(mountpoints(docker_host))
    group = docker_host.read(f"/proc/{state['State']['Pid']}/cgroup").splitlines()[-1]
    assert group == f"0::/system.slice/docker-{container}.scope"
    docker_host.docker("rm", "-f", container)
    assert not {merged, netns.removeprefix("/var")} & set(mountpoints(docker_host))
    assert docker_host.run("test", "-e", merged, check=False).returncode == 1


def test_docker_run_prints(docker_host: Machine) -> None:
    assert docker_host.docker("run", "--rm", "bb", "cat", "/etc/group").stdout == "root:x:0:\n"


def test_docker_rm_leaves_the_network_namespace_in_a_private_unit(docker_host: Machine) -> None:
    container = docker_host.docker("run", "-d", "--network", "none", "bb", "sleep", "1000").stdout.strip()
    state = json.loads(docker_host.docker("inspect", container).stdout)[0]
    merged = state["GraphDriver"]["Data"]["MergedDir"]
    netns = state["NetworkSettings"]["SandboxKey"].removeprefix("/var")
    unit = docker_host.unit("keeper", "PrivateTmp=yes", "MountFlags=private")
    pid = docker_host.main_pid(unit)
    assert {merged, netns} <= set(mountpoints(docker_host, pid))
    docker_host.docker("rm", "-f", container)
    left = mountpoints(docker_host, pid)
    assert merged not in left, "dockerd removes the layer's directory, which detaches the copy"
    if int(docker_host.docker("version", "-f", "{{.Server.Version}}").stdout.split(".")[0]) < 28:
        assert netns in left, "dockerd only unmounts it; its collector unlinks the file a minute later"
    else:
        assert netns not in left, "dockerd unlinks the file at once"
    docker_host.run("systemctl", "stop", unit)


def test_dockerd_takes_flags_and_stops() -> None:
    with Machine(tmpfs={"/srv/graph": "mode=710"}) as machine:
        machine.start_docker("--data-root=/srv/graph")
        assert machine.docker("info", "-f", "{{.DockerRootDir}} {{.Driver}}").stdout == "/srv/graph overlay2\n"
        machine.stop_docker()
        assert machine.run("pgrep", "-x", "dockerd", check=False).returncode == 1
        assert machine.run("pgrep", "-x", "containerd", check=False).returncode == 1


def test_containerd_mounts_below_its_state(docker_host: Machine) -> None:
    image = docker_host.import_image("ctr")
    docker_host.ctr("run", "-d", "--null-io", "--cpu-shares", "0", image, "c1", "/bin/sleep", "1000")
    mountpoint = "/run/containerd/io.containerd.runtime.v2.task/default/c1/rootfs"
    assert mountpoint in mountpoints(docker_host)
    docker_host.ctr("task", "rm", "-f", "c1")
    docker_host.ctr("container", "rm", "c1")
    assert mountpoint not in mountpoints(docker_host)


@pytest.mark.parametrize("flags", [(), ("--runtime", "crun")], ids=["runc", "crun"])
def test_podman_mounts_in_a_private_home(podman_host: Machine, flags: tuple[str, ...]) -> None:
    extra = ("--cgroups=disabled",) if flags else ()
    container = podman_host.podman(*flags, "run", "-d", *extra, "bb", "sleep", "1000").stdout.strip()
    merged = podman_host.podman("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", container).stdout.strip()
    lines = {line.split()[4]: line for line in podman_host.read("/proc/1/mountinfo").splitlines()}
    assert merged.startswith("/var/lib/containers/storage/overlay/")
    assert " shared:" not in lines[merged]
    assert " shared:" not in lines["/var/lib/containers/storage/overlay"]
    record = json.loads(podman_host.read("/run/containers/storage/overlay-layers/mountpoints.json"))
    assert [entry["count"] for entry in record if entry["path"] == merged] == [1]
    podman_host.podman("rm", "-f", "-t", "0", container)
    assert merged not in mountpoints(podman_host)


def test_podman_containers_have_their_scope(podman_host: Machine) -> None:
    container = podman_host.podman("run", "-d", "bb", "sleep", "1000").stdout.strip()
    pid = podman_host.podman("inspect", "-f", "{{.State.Pid}}", container).stdout.strip()
    group = podman_host.read(f"/proc/{pid}/cgroup").splitlines()[-1]
    assert group.startswith(f"0::/machine.slice/libpod-{container}.scope")
    podman_host.podman("rm", "-f", "-t", "0", container)


def test_podman_in_a_private_unit_mounts_only_there(podman_host: Machine) -> None:
    command = ["podman", "run", "--rm", "--name", "inner", "bb", "sleep", "1000"]
    unit = podman_host.unit("pod", "PrivateTmp=yes", "KillMode=mixed", "TimeoutStopSec=1", command=command)
    running = ("inspect", "-f", "{{.State.Running}}", "inner")
    wait_until(lambda: podman_host.podman(*running, check=False).stdout == "true\n", what="the container runs")
    merged = podman_host.podman("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", "inner").stdout.strip()
    assert merged in mountpoints(podman_host, podman_host.main_pid(unit))
    assert merged not in mountpoints(podman_host)
    podman_host.podman("kill", "inner")


def test_buildah_mounts_a_working_container(podman_host: Machine) -> None:
    name = podman_host.run("buildah", "from", "--pull-never", "localhost/bb").stdout.strip()
    merged = podman_host.run("buildah", "mount", name).stdout.strip()
    assert merged in mountpoints(podman_host)
    podman_host.run("buildah", "rm", name)
    assert merged not in mountpoints(podman_host)


def test_rootless_podman_mounts_in_its_own_namespace(podman_host: Machine) -> None:
    podman_host.start_rootless()
    container = podman_host.rootless("run", "-d", "bb", "sleep", "1000").stdout.strip()
    pid = int(podman_host.rootless("inspect", "-f", "{{.State.ConmonPid}}", container).stdout)
    merged = podman_host.rootless("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", container).stdout.strip()
    assert merged.startswith("/home/user/.local/share/containers/storage/overlay/")
    assert merged in mountpoints(podman_host, pid)
    assert merged not in mountpoints(podman_host)
    podman_host.rootless("rm", "-f", "-t", "0", container)


def test_nspawn_runs_a_container(podman_host: Machine) -> None:
    tree = "/var/lib/containers/machine"
    podman_host.run("mkdir", "-p", tree)
    podman_host.run("tar", "-C", tree, "-xf", rootfs.ARCHIVE)
    nspawn = ("systemd-nspawn", "--quiet", "--register=no", "--pipe", "-D", tree)
    assert podman_host.run(*nspawn, "/bin/cat", "/etc/group").stdout == "root:x:0:\n"
