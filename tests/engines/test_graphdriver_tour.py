"""A real dockerd on the graphdriver plugin: what people do with Docker, and what may happen to it meanwhile."""

import json
import os
import shlex
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import tree
from tests.support.machine import Machine
from tests.support.product import install_product
from tests.support.wait import wait_until

NAME = "mountwarden"
HOME = f"/var/lib/docker/{NAME}"
UNIT = "mountwarden-graphdriver.service"
FLAGS = ("--experimental", "-s", NAME)
RUN = ("run", "--network", "none")


CONFIG = f"""
[[root]]
path = "{HOME}"
kind = "graph"
"""


def start_plugin(machine: Machine) -> None:
    install_product(machine)
    machine.write("/etc/mountwarden/mountwarden.toml", CONFIG)
    for unit in ("docker.service", "docker.socket", "containerd.service"):
        machine.write(f"/etc/systemd/system/{unit}.d/often.conf", "[Unit]\nStartLimitIntervalSec=0\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "mountwarden-graphdriver.socket", UNIT)


@pytest.fixture(scope="module")
def docker() -> Iterator[Machine]:
    """A test host whose dockerd has its layers on the plugin, with the image `bb`."""
    if reason := tree.obstacle():
        pytest.skip(reason)
    with Machine() as machine:
        start_plugin(machine)
        machine.run("systemctl", "start", "mountwarden.service")
        machine.start_docker(*FLAGS)
        machine.import_image()
        yield machine


def layers(machine: Machine, home: str = HOME) -> list[str]:
    return [name for name in machine.run("ls", "-A", home).stdout.split() if name]


def mounts(machine: Machine, home: str = HOME) -> list[str]:
    """The mountpoints below the home, in the host's namespace."""
    return [w for w in machine.read("/proc/self/mountinfo").split() if w.startswith(home) and w.endswith("/merged")]


def driver_of(machine: Machine) -> str:
    return machine.docker("info", "--format", "{{.Driver}} {{json .DriverStatus}}").stdout.strip()


def told(machine: Machine, event: str) -> list[str]:
    """The mountpoints of which the agent told that event."""
    entries = machine.journal("-t", "mountwarden", f"MOUNTWARDEN_EVENT={event}")
    return [entry.get("MOUNTWARDEN_MOUNTPOINT", "") for entry in entries]


def logs(machine: Machine) -> list[str]:
    return [entry["MESSAGE"] for entry in machine.journal("-u", UNIT)]


def build(machine: Machine, tag: str, *lines: str, buildkit: bool) -> None:
    machine.write("/root/ctx/Dockerfile", "\n".join(lines) + "\n")
    machine.write("/root/ctx/data/file", "copied\n")
    machine.run(
        "docker", "build", "--network", "none", "--no-cache", "-t", tag, "/root/ctx",
        env={"DOCKER_BUILDKIT": "1" if buildkit else "0"}, timeout=120,
    )  # fmt: skip


DOCKERFILE = (
    "FROM bb",
    "ENV a=b",
    "RUN mkdir /made && echo one > /made/one && rm -r /etc/passwd",
    "COPY data /data",
    "RUN echo two >> /data/file && ln /data/file /data/link",
    'CMD ["cat", "/data/file"]',
)


def test_docker_names_the_driver_and_its_file_system(docker: Machine) -> None:
    assert driver_of(docker) == 'mountwarden [["Backing Filesystem","tmpfs"],["Supports d_type","true"]]'


def test_the_socket_is_roots_alone(docker: Machine) -> None:
    assert docker.run("stat", "-c", "%a %U", f"/run/docker/plugins/{NAME}.sock").stdout.split() == ["600", "root"]
    assert docker.run("stat", "-c", "%a", HOME).stdout.strip() == "700"


def test_run_leaves_nothing_behind(docker: Machine) -> None:
    before = layers(docker)
    assert docker.docker(*RUN, "--rm", "bb", "sh", "-c", "echo hi > /x; cat /x").stdout == "hi\n"
    assert layers(docker) == before
    assert mounts(docker) == []


@pytest.mark.parametrize("buildkit", [False, True], ids=["classic", "buildkit"])
def test_build(docker: Machine, buildkit: bool) -> None:
    tag = f"built{int(buildkit)}"
    build(docker, tag, *DOCKERFILE, buildkit=buildkit)
    assert docker.docker(*RUN, "--rm", tag).stdout == "copied\ntwo\n"
    scan = "cat /made/one; test -e /etc/passwd || echo gone; stat -c %h /data/link"
    assert docker.docker(*RUN, "--rm", tag, "sh", "-c", scan).stdout.split() == ["one", "gone", "2"]
    docker.docker("rmi", tag)
    docker.run("docker", "builder", "prune", "-af")


def test_exec_diff_commit_cp_export(docker: Machine) -> None:
    docker.docker(*RUN, "-d", "--name", "work", "bb", "sleep", "1000")
    docker.docker("exec", "work", "sh", "-c", "echo new > /new; rm /etc/group; mkdir -p /a/b; chmod 700 /tmp")
    assert sorted(docker.docker("diff", "work").stdout.splitlines()) == [
        "A /a", "A /a/b", "A /new", "C /etc", "C /tmp", "D /etc/group",
    ]  # fmt: skip
    docker.docker("commit", "work", "committed")
    docker.docker("rm", "-f", "work")
    assert docker.docker(*RUN, "--rm", "committed", "cat", "/new").stdout == "new\n"
    assert docker.docker(*RUN, "--rm", "committed", "ls", "/etc").stdout.find("group") < 0
    docker.docker("create", "--name", "still", "committed")
    docker.run("docker", "cp", "still:/new", "/root/copied")
    assert docker.read("/root/copied") == "new\n"
    docker.write("/root/in", "inside\n")
    docker.run("docker", "cp", "/root/in", "still:/a/in")
    names = docker.run("sh", "-c", "docker export still | tar -t").stdout.split()
    assert {"new", "a/in", "bin/busybox"} <= {name.removeprefix("./") for name in names}
    docker.docker("rm", "still")
    docker.docker("rmi", "committed")


def test_size_and_inspect(docker: Machine) -> None:
    docker.docker(*RUN, "-d", "--name", "sized", "bb", "sleep", "1000")
    docker.docker("exec", "sized", "dd", "if=/dev/urandom", "of=/blob", "bs=1000", "count=3")
    assert docker.docker("ps", "-s", "--filter", "name=sized", "--format", "{{.Size}}").stdout.startswith("3kB")
    data = json.loads(docker.docker("inspect", "sized").stdout)[0]["GraphDriver"]
    assert data["Name"] == NAME
    assert docker.run("ls", data["Data"]["UpperDir"]).stdout.split() == ["blob", "dev", "etc"]
    docker.docker("rm", "-f", "sized")


def test_save_and_load_give_the_same_image(docker: Machine) -> None:
    build(docker, "saved", *DOCKERFILE, buildkit=False)
    before = docker.docker("inspect", "--format", "{{.Id}} {{json .RootFS}}", "saved").stdout
    docker.run("docker", "save", "-o", "/root/saved.tar", "saved")
    docker.docker("rmi", "saved")
    docker.run("docker", "load", "-i", "/root/saved.tar")
    assert docker.docker("inspect", "--format", "{{.Id}} {{json .RootFS}}", "saved").stdout == before
    assert docker.docker(*RUN, "--rm", "saved").stdout == "copied\ntwo\n"
    docker.docker("rmi", "saved")


def test_restart_keeps_what_a_container_wrote(docker: Machine) -> None:
    docker.docker(*RUN, "-d", "--name", "again", "bb", "sleep", "1000")
    docker.docker("exec", "again", "touch", "/mark")
    docker.docker("restart", "-t", "0", "again")
    docker.docker("exec", "again", "test", "-e", "/mark")
    docker.docker("stop", "-t", "0", "again")
    assert mounts(docker) == []
    docker.docker("start", "again")
    docker.docker("exec", "again", "test", "-e", "/mark")
    docker.docker("rm", "-f", "again")


def test_an_option_for_one_container_is_refused_in_words(docker: Machine) -> None:
    done = docker.docker(*RUN, "--rm", "--storage-opt", "size=1G", "bb", "true", check=False)
    assert done.returncode != 0
    assert "--storage-opt is not supported for overlay" in done.stderr


def test_put_takes_a_copy_out_of_a_private_service(docker: Machine) -> None:
    """The seed of it all: a service with private mounts holds a copy, and loses it when the container stops."""
    docker.docker(*RUN, "-d", "--name", "leaks", "bb", "sleep", "1000")
    unit = docker.unit("private", "PrivateTmp=yes", "MountFlags=private")
    pid = docker.main_pid(unit)
    (mountpoint,) = mounts(docker)
    assert mountpoint in docker.read(f"/proc/{pid}/mountinfo")
    docker.docker("stop", "-t", "0", "leaks")
    assert mountpoint not in docker.read(f"/proc/{pid}/mountinfo")
    docker.docker("rm", "leaks")
    docker.run("systemctl", "stop", unit)


def test_the_plugin_restarts_under_a_running_container(docker: Machine) -> None:
    docker.docker(*RUN, "-d", "--name", "under", "bb", "sleep", "1000")
    pid = docker.main_pid(UNIT)
    docker.run("kill", "-9", str(pid))
    wait_until(lambda: docker.main_pid(UNIT) not in (0, pid), 30, "systemd restarts the plugin")
    docker.docker("exec", "under", "ls", "/bin/busybox")
    assert docker.docker(*RUN, "--rm", "bb", "echo", "hi").stdout == "hi\n"
    docker.run("systemctl", "restart", UNIT)
    docker.docker("stop", "-t", "0", "under")
    assert mounts(docker) == []
    docker.docker("rm", "under")


@pytest.mark.long
def test_dockerd_is_killed_and_comes_back(docker: Machine) -> None:
    docker.docker(*RUN, "-d", "--stop-timeout", "1", "--name", "orphan", "bb", "sleep", "1000")
    docker.run("systemctl", "kill", "-s", "KILL", "docker.service")
    docker.run("systemctl", "start", "docker.service")
    wait_until(lambda: mounts(docker) == [], 30, "dockerd puts the layer of the container that it finds ended")
    docker.docker("start", "orphan")
    assert len(mounts(docker)) == 1
    docker.docker("rm", "-f", "orphan")
    assert mounts(docker) == []


@pytest.mark.long
def test_12_containers_at_once(docker: Machine) -> None:
    before = layers(docker)

    def one(number: int) -> str:
        return docker.docker(*RUN, "--rm", "bb", "sh", "-c", f"echo {number} > /n; cat /n", timeout=120).stdout.strip()

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(one, range(12))) == [str(number) for number in range(12)]
    assert layers(docker) == before
    assert mounts(docker) == []


@pytest.mark.long
def test_live_restore(docker: Machine) -> None:
    docker.stop_docker()
    docker.start_docker(*FLAGS, "--live-restore")
    docker.docker(*RUN, "-d", "--name", "lives", "bb", "sleep", "1000")
    docker.docker("exec", "lives", "touch", "/mark")
    pid = docker.docker("inspect", "--format", "{{.State.Pid}}", "lives").stdout
    docker.run("systemctl", "restart", "docker.service")
    assert docker.docker("inspect", "--format", "{{.State.Pid}}", "lives").stdout == pid
    docker.docker("exec", "lives", "test", "-e", "/mark")
    docker.run("systemctl", "restart", UNIT)
    docker.docker("exec", "lives", "test", "-e", "/mark")
    docker.docker("stop", "-t", "0", "lives")
    assert mounts(docker) == []
    docker.docker("rm", "lives")
    docker.stop_docker()
    docker.start_docker(*FLAGS)


@pytest.mark.long
def test_the_plugin_starts_after_dockerd_wants_it(docker: Machine) -> None:
    docker.stop_docker()
    docker.run("systemctl", "stop", UNIT, "mountwarden-graphdriver.socket")
    docker.run("systemctl", "start", "--no-block", "docker.service")
    wait_until(lambda: docker.show("docker.service", "ActiveState") == "activating", 30, "dockerd starts")
    docker.run("systemctl", "start", "mountwarden-graphdriver.socket")
    wait_until(lambda: docker.show("docker.service", "ActiveState") == "active", 30, "dockerd is up")
    assert docker.docker(*RUN, "--rm", "bb", "echo", "hi").stdout == "hi\n"


@pytest.mark.parametrize("directive", ["PrivateTmp=yes", "ProtectSystem=full", "MountFlags=private"])
def test_a_namespace_of_its_own_is_refused_by_the_directives_name(docker: Machine, directive: str) -> None:
    command = ["/usr/local/bin/mountwarden", "graphdriver", "--name", "own", "--home", "/var/lib/docker/own"]
    words = ["systemd-run", "--quiet", "--wait", "--pipe", "--unit=own.service", "-p", directive, *command]
    done = docker.run(*words, check=False)
    assert done.returncode != 0
    assert f"the plugin's unit has {directive.partition('=')[0]}=" in done.stderr
    assert docker.run("test", "-e", "/run/docker/plugins/own.sock", check=False).returncode == 1
    docker.run("systemctl", "reset-failed", "own.service", check=False)


@pytest.mark.long
@pytest.mark.timeout(120)
def test_userns_remap(docker: Machine) -> None:
    docker.stop_docker()
    docker.run("sh", "-c", "echo user:100000:65536 > /etc/subuid; echo user:100000:65536 > /etc/subgid")
    docker.start_docker(*FLAGS, "--userns-remap=user")
    home = f"/var/lib/docker/100000.100000/{NAME}"
    scan = "cat /proc/self/uid_map; mkdir /x; stat -c %u /x"
    docker.import_image()
    assert docker.docker(*RUN, "--rm", "bb", "sh", "-c", scan).stdout.split() == [
        "0", "100000", "65536", "0",
    ]  # fmt: skip
    build(docker, "remapped", *DOCKERFILE, buildkit=False)
    assert docker.docker(*RUN, "--rm", "remapped").stdout == "copied\ntwo\n"
    docker.docker(*RUN, "-d", "--name", "in", "remapped", "sleep", "1000")
    docker.docker("exec", "in", "sh", "-c", "chmod 700 /usr && rm -r /made && mkdir /made && mv /data/file /made/")
    docker.docker("rm", "-f", "in")
    owners = set(docker.run("sh", "-c", f"stat -c %u {home} {home}/*/root {home}/*/root/bin").stdout.split())
    assert owners == {"100000"}
    docker.docker("rmi", "remapped", "bb")
    assert layers(docker, home) == []
    docker.stop_docker()
    docker.start_docker(*FLAGS)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_whole_debian_tree_as_an_image(docker: Machine) -> None:
    """The test host's own system: tens of thousands of files, links, set-id programs, capabilities."""
    pack = "tar -C / --one-file-system --exclude=./var/lib --exclude=./proc --exclude=./sys --exclude=./dev -c ."
    docker.run("sh", "-c", f"{pack} | docker import - debian", timeout=200)
    script = "stat -c %a /usr/bin/passwd; ls /usr/bin | wc -l; python3 -c 'print(6 * 7)'"
    mode, programs, answer = docker.docker(*RUN, "--rm", "debian", "sh", "-c", script, timeout=120).stdout.split()
    assert (mode, answer) == ("4755", "42")
    assert int(programs) == len(docker.run("ls", "/usr/bin").stdout.split())
    change = "rm -r /usr/share/doc /usr/share/perl5 2>&-; echo x > /x"
    docker.docker(*RUN, "--name", "changed", "debian", "sh", "-c", change)
    docker.docker("commit", "changed", "smaller", timeout=200)
    docker.docker(*RUN, "--rm", "smaller", "sh", "-c", "test -e /x && ! test -e /usr/share/perl5")
    again = "docker save smaller > /tmp/s && docker rmi smaller && docker load < /tmp/s; rm /tmp/s"
    docker.run("sh", "-c", again, timeout=300)
    docker.docker(*RUN, "--rm", "smaller", "test", "-e", "/x")
    docker.docker("rm", "changed")
    docker.docker("rmi", "smaller", "debian")


def test_the_agent_accused_nobody(docker: Machine) -> None:
    """It watched all that is above, with services that hold copies for a moment, and a killed dockerd."""
    assert docker.show("mountwarden.service", "ActiveState") == "active"
    assert [path for path in told(docker, "found") if path.startswith("/var/lib/docker")] == []


def test_the_agent_catches_what_a_driver_without_rmdir_leaks(docker: Machine) -> None:
    """The plugin's rmdir is made to do nothing; the copy that a private service keeps is found, and detached."""
    docker.docker(*RUN, "-d", "--name", "leaks", "bb", "sleep", "1000")
    unit = docker.unit("keeper", "PrivateTmp=yes", "MountFlags=private")
    pid = docker.main_pid(unit)
    (mountpoint,) = mounts(docker)
    plugin = str(docker.main_pid(UNIT))
    tracer = docker.popen("strace", "-f", "-p", plugin, "-e", "trace=rmdir", "-e", "inject=rmdir:retval=0")
    assert tracer.stderr
    assert b"attached" in tracer.stderr.readline()
    docker.docker("stop", "-t", "0", "leaks")
    assert docker.run("test", "-d", mountpoint, check=False).returncode == 0
    wait_until(lambda: mountpoint in told(docker, "found"), 30, "the agent finds the leak")
    wait_until(lambda: mountpoint not in docker.read(f"/proc/{pid}/mountinfo"), 30, "the agent detaches it")
    os.killpg(tracer.pid, signal.SIGTERM)
    tracer.communicate(timeout=10)
    docker.docker("start", "leaks")
    docker.docker("rm", "-f", "leaks")
    docker.run("systemctl", "stop", unit)
    assert set(told(docker, "found")) == {mountpoint}


def test_nothing_is_left_and_nothing_was_logged(docker: Machine) -> None:
    """The last one: all images and containers go, and so does every layer."""
    words = shlex.join(["docker", "ps", "-aq"])
    docker.run("sh", "-c", f'ids=$({words}); [ -z "$ids" ] || docker rm -f $ids')
    docker.docker("rmi", "-f", "bb")
    assert layers(docker) == []
    expected = ("--storage-opt is not supported",)
    lines = [line for line in logs(docker) if not any(text in line for text in expected)]
    assert [line for line in lines if "systemd" not in line and not line.startswith(("Start", "Stop", UNIT))] == []
