"""containerd's tasks whose shims died; beside live, paused, stopped and frozen ones."""

import os
import re
import signal
from collections.abc import Iterator

import pytest

from tests.support.fixtures import booted
from tests.support.inside import inside
from tests.support.machine import Machine
from tests.support.ownership import Owners
from tests.support.product import LIBRARY, h2
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.engines, pytest.mark.timeout(300)]

TASKS = "/run/containerd/io.containerd.runtime.v2.task/default"


def rootfs(name: str) -> str:
    return f"{TASKS}/{name}/rootfs"


@pytest.fixture(scope="module", params=["h2", "without h2"])
def host(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A host with containerd and its image; with the library by which tasks are asked for, and without."""
    with booted() as machine:
        machine.start_docker()
        machine.import_image("docker")
        machine.import_image("ctr")
        if request.param == "h2":
            for place in h2():
                machine.copy_in(place, f"{LIBRARY}/{place.name}")
        yield machine


def run(host: Machine, name: str, *options: str) -> str:
    image = "docker.io/library/bb:latest"
    host.ctr("run", "-d", "--null-io", "--cpu-shares", "0", *options, image, name, "sleep", "1000")
    return rootfs(name)


def shim(host: Machine, name: str) -> str:
    return host.run("pgrep", "-f", f"shim-runc-v2 .*-id {name} ").stdout.strip()


def end(host: Machine, name: str) -> None:
    """End a task, which containerd keeps until somebody deletes it."""
    host.ctr("tasks", "kill", "-s", "KILL", name)
    wait_until(lambda: re.search(rf"^{name} .*STOPPED", host.ctr("tasks", "ls").stdout, re.MULTILINE), 20, "it ends")


def leave(host: Machine, name: str) -> str:
    """A task as containerd leaves it that could not unmount it: something was in it while its shim died."""
    point = run(host, name)
    init = host.read(f"{TASKS}/{name}/init.pid")
    with inside(host, point):
        host.run("kill", "-KILL", host.run("pidof", "containerd").stdout.strip(), shim(host, name), init)
        wait_until(lambda: answers(host), 30, "containerd was started again")
    return point


def answers(host: Machine) -> bool:
    return not host.ctr("tasks", "ls", check=False).returncode


def is_mounted(host: Machine, point: str) -> bool:
    return f" {point} " in host.read("/proc/self/mountinfo")


def test_a_task_that_is_left_is_gone_and_others_are_not(host: Machine) -> None:
    live, paused = (run(host, name) for name in ("live", "paused"))
    host.ctr("tasks", "pause", "paused")
    point = leave(host, "left")
    stopped = run(host, "stopped")
    end(host, "stopped")
    assert is_mounted(host, point)
    found = Owners(host)
    assert {live, paused, stopped, point} <= set(found)
    assert found.gone == [point]
    assert (found[point].left, found[point].frees) == ("task", f"the task's directory {TASKS}/left")
    assert "no shim serves the bundle" in found[point].proof
    assert Owners(host, older_than=3600).gone == []
    assert Owners(host, as_service=True).gone == [point]


def test_the_shim_of_a_pod_serves_its_containers(host: Machine) -> None:
    """It is of the sandbox by its command line; of a container in it that has ended only the socket tells."""
    pod = ("--annotation", "io.kubernetes.cri.sandbox-id=pod1")
    run(host, "pod1", *pod)
    point = run(host, "member", *pod)
    assert not host.run("pgrep", "-f", "shim-runc-v2 .*-id member ", check=False).stdout
    end(host, "member")
    found = Owners(host)
    assert point in found
    assert point not in found.gone
    host.ctr("tasks", "delete", "member")
    host.ctr("tasks", "delete", "-f", "pod1")


def test_what_lives_of_it_keeps_it(host: Machine) -> None:
    """A process in it, a shim that is stopped, an init.pid that is torn."""
    point = rootfs("left")
    assert Owners(host).gone == [point]
    with inside(host, f"{TASKS}/left"):
        assert Owners(host).gone == []
    held = host.popen("chroot", point, "/bin/sleep", "1000")
    try:
        wait_until(lambda: Owners(host).gone == [], 20, "a process has its root there")
    finally:
        os.killpg(held.pid, signal.SIGKILL)
        held.communicate()
    host.run("cp", f"{TASKS}/left/init.pid", "/tmp/init.pid")
    for text in ("", "x", "0", str(host.main_pid("containerd.service"))):
        host.write(f"{TASKS}/left/init.pid", text)
        assert Owners(host).gone == []
    host.run("cp", "/tmp/init.pid", f"{TASKS}/left/init.pid")
    assert Owners(host).gone == [point]


def test_a_live_task_whose_shim_or_daemon_is_killed_stopped_or_frozen(host: Machine) -> None:
    live = rootfs("live")
    for process in (shim(host, "live"), str(host.main_pid("containerd.service"))):
        host.run("kill", "-STOP", process)
        assert live not in Owners(host).gone
        host.run("kill", "-CONT", process)
    host.run("kill", "-KILL", str(host.main_pid("containerd.service")))
    for _ in range(10):
        assert live not in Owners(host).gone
    wait_until(lambda: answers(host), 30, "containerd was started again")
    with inside(host, live):
        host.run("kill", "-KILL", shim(host, "live"))
        for _ in range(10):
            assert live not in Owners(host).gone
    host.run("systemctl", "stop", "docker.socket", "docker.service", "containerd.service")
    assert Owners(host).gone == []
