"""Engines inside containers and other namespaces look just like leaks, and are live: no finding, no act."""

import json
from collections.abc import Iterator

import pytest

from tests.support.machine import Machine
from tests.support.wait import wait_until

COUNT = 20
LOOP = (
    "set -e; for i in $(seq 1 {count}); do {run} -d --name n$i bb sleep 1000 >/dev/null; done; "
    "for i in $(seq 1 5); do {run} --rm bb true; done"
)


@pytest.fixture
def watched(docker_host: Machine) -> Iterator[Machine]:
    """A host with dockerd and the agent; afterwards nothing may have been found or done."""
    host = docker_host
    host.run("systemctl", "start", "mountwarden")
    yield host
    host.run("systemctl", "stop", "mountwarden")


def quiet(host: Machine) -> None:
    """No finding of any severity, confirmed or not by a later look, and nothing told or done since the boot."""
    done = host.run("mountwarden", "report", "--json", "--all", check=False, timeout=120)
    told = json.loads(done.stdout)
    assert told["findings"] == []
    assert done.returncode == 0
    events = [entry["MOUNTWARDEN_EVENT"] for entry in host.journal("SYSLOG_IDENTIFIER=mountwarden")]
    assert set(events) <= {"started", "stopped", "gap"}, events


def copies(host: Machine, pid: int, ending: str) -> int:
    """How many mounts of the process's namespace end in that path."""
    lines = host.run("cat", f"/proc/{pid}/mountinfo").stdout.splitlines()
    return sum(1 for line in lines if line.split(" ")[4].endswith(ending))


INNER = "docker -H unix:///run/inner.sock"
START_INNER = (
    "mkdir -p /run /tmp /var/lib/docker; "
    "exec dockerd -H unix:///run/inner.sock --data-root /var/lib/docker --exec-root /run/inner "
    "--pidfile /run/inner.pid --bridge=none --iptables=false --ip6tables=false"
)


def test_dockerd_in_a_container_of_dockerd(watched: Machine) -> None:
    host = watched
    links = "mkdir -p /t/usr /t/etc /t/proc /t/sys /t/dev /t/tmp /t/run /t/var/lib; " + "; ".join(
        f"ln -s usr/{name} /t/{name}" for name in ("bin", "sbin", "lib", "lib64")
    )
    host.run("sh", "-c", links + "; tar -C /t -c . | docker import - usr")
    binds = ["-v", "/usr:/usr:ro", "-v", "/etc:/etc:ro", "-v", "/var/lib/mountwarden-test:/images:ro"]
    host.docker(
        *("run", "-d", "--privileged", "--network=none", "--name=outer", *binds, "-v", "inner:/var/lib/docker"),
        *("usr", "sh", "-c", START_INNER),
    )

    def inner(command: str, timeout: float = 240) -> str:
        return host.docker("exec", "outer", "sh", "-c", command, timeout=timeout).stdout

    wait_until(
        lambda: host.docker("exec", "outer", "sh", "-c", f"{INNER} info", check=False).returncode == 0,
        60,
        "the inner dockerd answers",
    )
    host.run("sh", "-c", f"docker save bb | docker exec -i outer {INNER} load")
    inner(LOOP.format(count=COUNT, run=f"{INNER} run --network=none"))
    assert len(inner(f"{INNER} ps -q").split()) == COUNT
    pid = int(host.docker("inspect", "-f", "{{.State.Pid}}", "outer").stdout)
    assert copies(host, pid, "/merged") >= COUNT, "their layers are mounted in the container's namespace"
    assert not host.run("sh", "-c", "grep -c volumes/inner.*merged /proc/1/mountinfo", check=False).stdout.strip("0\n")
    quiet(host)
    inner(f"{INNER} rm -f $({INNER} ps -aq)")
    quiet(host)
    host.docker("rm", "-f", "outer")
    quiet(host)


def test_a_tmpfs_that_a_container_mounts_over_its_volume(watched: Machine) -> None:
    host = watched
    run = ["run", "-d", "--privileged", "--network=none", "-v", "v1:/data"]
    host.docker(*run, "--name=over", "bb", "sh", "-c", "mount -t tmpfs x /data && sleep 1000")
    host.docker(*run, "--name=beside", "bb", "sleep", "1000")
    pid = int(host.docker("inspect", "-f", "{{.State.Pid}}", "over").stdout)
    wait_until(lambda: copies(host, pid, "/data") == 2, 10, "the tmpfs is mounted over the volume")
    quiet(host)
    host.docker("rm", "-f", "over", "beside")


def test_dockerd_in_a_mount_namespace_of_its_own(watched: Machine) -> None:
    host = watched
    host.run("systemctl", "stop", "docker.socket", "docker.service", "containerd.service")
    host.run("mkdir", "-p", "/etc/systemd/system/docker.service.d")
    host.write("/etc/systemd/system/docker.service.d/own.conf", "[Service]\nPrivateMounts=yes\n")
    host.run("systemctl", "mask", "--runtime", "containerd.service")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", "docker.service")
    try:
        assert (
            host.run("sh", "-c", "readlink /proc/1/ns/mnt /proc/$(pidof dockerd)/ns/mnt | sort -u | wc -l").stdout
            == "2\n"
        )
        host.run("sh", "-c", LOOP.format(count=COUNT, run="docker run --network=none"), timeout=240)
        dockerd = int(host.run("pidof", "dockerd").stdout.split()[0])
        assert copies(host, dockerd, "/merged") >= COUNT
        assert copies(host, 1, "/merged") == 0, "PID 1 sees none of them: the very picture of a leak"
        quiet(host)
        host.run("sh", "-c", "docker rm -f $(docker ps -aq)", timeout=240)
        quiet(host)
    finally:
        host.run("rm", "/etc/systemd/system/docker.service.d/own.conf")
        host.run("systemctl", "unmask", "--runtime", "containerd.service")
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "restart", "docker.service")


def test_podman_in_a_unit_with_a_private_tmp(podman_host: Machine) -> None:
    host = podman_host
    host.run("systemctl", "start", "mountwarden")
    script = LOOP.format(count=COUNT, run="podman run --network=none --cgroups=disabled") + "; sleep 1000"
    host.unit("podder", "PrivateTmp=yes", command=["sh", "-c", script])
    wait_until(lambda: len(host.podman("ps", "-q", check=False).stdout.split()) == COUNT, 240, "all run")
    pid = host.main_pid("podder.service")
    assert copies(host, pid, "/merged") >= COUNT
    assert copies(host, 1, "/merged") == 0
    quiet(host)
    host.podman("rm", "-f", "-t", "0", "-a", check=False, timeout=240)
    host.run("systemctl", "stop", "podder.service")
    quiet(host)
    host.run("systemctl", "stop", "mountwarden")
