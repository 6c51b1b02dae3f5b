"""Engines inside containers and other namespaces look just like leaks, and are live: nothing is told, nothing done.

`severed` at severity info is left out: it says that an umount at home would not reach a live mount, which is true of
copies that transient namespaces take for a moment, and is no accusation.
"""

import json
from collections.abc import Iterator

import pytest

from tests.support.fixtures import booted
from tests.support.machine import Machine
from tests.support.wait import wait_until

pytestmark = pytest.mark.timeout(240)

COUNT = 8
LOOP = (
    "set -e; for i in $(seq 1 {count}); do {run} -d bb sleep 1000 >/dev/null; done; "
    "for i in $(seq 1 5); do {run} --rm bb true; done"
)


@pytest.fixture
def watched(docker_host: Machine) -> Iterator[Machine]:
    """A host with dockerd and the agent running."""
    docker_host.run("systemctl", "start", "mountwarden")
    yield docker_host
    docker_host.run("systemctl", "stop", "mountwarden")


def assert_quiet(host: Machine) -> None:
    """No finding at all above info, none that is leaked, and nothing told or done since the boot."""
    done = host.run("mountwarden", "report", "--json", "--all", check=False, timeout=120)
    told = json.loads(done.stdout)
    assert [f for f in told["findings"] if f["severity"] != "info" or f["kind"] == "leaked"] == []
    assert done.returncode == 0
    entries = host.journal("SYSLOG_IDENTIFIER=mountwarden")
    assert [e["MESSAGE"] for e in entries if e["MOUNTWARDEN_EVENT"] in ("found", "acted", "failed", "cleared")] == []


def copies(host: Machine, pid: int, ending: str) -> int:
    """How many mounts of the process's namespace end in that path."""
    lines = host.read(f"/proc/{pid}/mountinfo").splitlines()
    return sum(1 for line in lines if line.split(" ")[4].endswith(ending))


INNER = "docker -H unix:///run/inner.sock"
START_INNER = (
    "mount -o remount,rw /sys/fs/cgroup && mount -t tmpfs run /run && mkdir -p /var/lib/docker && exec dockerd "
    "-H unix:///run/inner.sock --data-root /var/lib/docker --exec-root /run/inner --pidfile /run/inner.pid "
    "--bridge=none --iptables=false --ip6tables=false"
)
# What --privileged gives, less the capabilities that the machine itself may lack.
RIGHTS = (
    *(f"--cap-add={name}" for name in ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH")),
    *(f"--security-opt={name}=unconfined" for name in ("seccomp", "apparmor", "systempaths")),
    "--cgroupns=private",
)
USR = (
    "cd $(mktemp -d) && mkdir usr etc proc sys dev tmp run var && ln -s usr/bin usr/sbin usr/lib usr/lib64 . && tar c ."
)


def test_dockerd_in_a_container_of_dockerd(watched: Machine) -> None:
    host = watched
    host.run("sh", "-c", f"({USR}) | docker import - usr")
    binds = ("-v", "/usr:/usr:ro", "-v", "/etc:/etc:ro", "-v", "inner:/var/lib/docker")
    host.docker("run", "-d", *RIGHTS, "--network=none", "--name=outer", *binds, "usr", "sh", "-c", START_INNER)

    def inner(command: str) -> str:
        return host.docker("exec", "outer", "sh", "-c", command, timeout=200).stdout

    answers = f"{INNER} info"
    wait_until(lambda: host.run("docker", "exec", "outer", "sh", "-c", answers, check=False).returncode == 0, 60)
    host.run("sh", "-c", f"docker save bb | docker exec -i outer {INNER} load")
    inner(LOOP.format(count=COUNT, run=f"{INNER} run --network=none"))
    pid = int(host.docker("inspect", "-f", "{{.State.Pid}}", "outer").stdout)
    assert copies(host, pid, "/merged") >= COUNT, "their layers are mounted in the container's namespace"
    assert "volumes/inner/_data/overlay2" not in host.read("/proc/1/mountinfo"), "and not in PID 1's"
    assert_quiet(host)
    inner(f"{INNER} rm -f $({INNER} ps -aq)")
    assert_quiet(host)
    host.docker("rm", "-f", "outer")
    assert_quiet(host)


def test_a_tmpfs_that_a_container_mounts_over_its_volume(watched: Machine) -> None:
    host = watched
    run = ("run", "-d", *RIGHTS, "--network=none", "-v", "v1:/data")
    host.docker(*run, "--name=over", "bb", "sh", "-c", "mount -t tmpfs x /data && sleep 1000")
    host.docker(*run, "--name=beside", "bb", "sleep", "1000")
    pid = int(host.docker("inspect", "-f", "{{.State.Pid}}", "over").stdout)
    wait_until(lambda: copies(host, pid, "/data") == 2, 30, "the tmpfs is mounted over the volume")
    assert_quiet(host)
    host.docker("rm", "-f", "over", "beside")
    assert_quiet(host)


OWN = """
[Service]
PrivateMounts=yes
ExecStart=
ExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS
"""
"""And a containerd of its own: the shims of the system's would not see the layers that dockerd mounts."""


def test_dockerd_in_a_mount_namespace_of_its_own() -> None:
    with booted() as host:
        host.write("/etc/systemd/system/docker.service.d/own.conf", OWN)
        host.run("systemctl", "mask", "containerd.service")
        host.run("systemctl", "start", "mountwarden")
        host.start_docker()
        host.import_image("docker")
        host.run("sh", "-c", LOOP.format(count=COUNT, run="docker run --network=none"), timeout=200)
        assert copies(host, host.main_pid("docker.service"), "/merged") >= COUNT
        assert copies(host, 1, "/merged") == 0, "PID 1 sees none of them: the very picture of a leak"
        assert_quiet(host)
        host.run("sh", "-c", "docker rm -f $(docker ps -aq)", timeout=200)
        assert_quiet(host)


def test_podman_in_a_unit_with_a_private_tmp(podman_host: Machine) -> None:
    host = podman_host
    host.run("systemctl", "start", "mountwarden")
    script = LOOP.format(count=COUNT, run="podman run --network=none") + "; exec sleep 1000"
    unit = host.unit("podder", "PrivateTmp=yes", command=("sh", "-c", script))
    wait_until(lambda: copies(host, host.main_pid(unit), "/merged") >= COUNT, 200, "all are mounted in the unit")
    assert copies(host, 1, "/merged") == 0
    assert_quiet(host)
    # One that `podman ps` lists may have ended by itself before `podman kill` asks for it.
    host.run("sh", "-c", "for id in $(podman ps -q); do podman kill $id; done; true", timeout=200)
    wait_until(lambda: host.podman("ps", "-q").stdout == "", 60, "all containers have ended")
    assert_quiet(host)
    host.run("systemctl", "stop", unit)
    assert_quiet(host)
