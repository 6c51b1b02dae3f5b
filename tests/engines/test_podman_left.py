"""podman's containers that were killed with their monitors; beside live, paused, stopped and mounted ones."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support import tree
from tests.support.fixtures import booted
from tests.support.machine import Machine
from tests.support.ownership import Owners
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.engines, pytest.mark.timeout(300)]

STORE = "/var/lib/containers/storage"


@pytest.fixture(scope="module", params=tree.BOTH)
def host(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with booted(request.param) as machine:
        machine.import_image("podman")
        yield machine


def has_sqlite(host: Machine) -> bool:
    return not host.run("test", "-e", f"{STORE}/db.sql", check=False).returncode


def run(host: Machine, name: str) -> str:
    """The mountpoint of a new container."""
    limits = ("--pids-limit=0", "--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096", "--network=none")
    host.podman("run", "-d", "--name", name, *limits, "--log-driver=none", "bb", "sleep", "1000")
    return merged(host, name)


def merged(host: Machine, name: str) -> str:
    upper = host.podman("inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", name).stdout.strip()
    return upper.removesuffix("/diff") + "/merged"


def pids(host: Machine, name: str) -> list[str]:
    """Of the container and of its monitor."""
    return host.podman("inspect", "--format", "{{.State.Pid}} {{.State.ConmonPid}}", name).stdout.split()


def kill(host: Machine, name: str) -> None:
    """The monitor first: it would have the container cleaned up."""
    process, monitor = pids(host, name)
    host.run("kill", "-KILL", monitor)
    host.run("kill", "-KILL", process)


def test_a_container_that_was_killed_with_its_monitor(host: Machine) -> None:
    live, paused, left = (run(host, name) for name in ("live", "paused", "left"))
    run(host, "stopped")
    host.podman("pause", "paused")
    host.podman("kill", "stopped")
    wait_until(lambda: "exited" in host.podman("inspect", "--format", "{{.State.Status}}", "stopped").stdout, 30)
    mounted = host.podman("mount", "stopped").stdout.strip()
    assert Owners(host).gone == []
    kill(host, "left")
    found = Owners(host)
    assert {live, paused, left, mounted} <= set(found)
    if not has_sqlite(host):
        assert found.gone == []
        return
    found = wait_until(lambda: (now := Owners(host)).gone and now, 20, "it is proved to be gone")
    assert found.gone == [left]
    assert Owners(host, as_service=True).gone == [left]
    assert (found[left].left, found[left].frees) == ("container", f"the layer's directory {os.path.dirname(left)}")


def test_what_somebody_still_uses_is_not_gone(host: Machine) -> None:
    if not has_sqlite(host):
        assert Owners(host).gone == []
        return
    left = merged(host, "left")
    assert Owners(host).gone == [left]
    for command in (("chroot", left, "/bin/sleep", "1000"), ("python3", "-c", "input()", "left")):
        held = host.popen(*command)
        try:
            wait_until(lambda: Owners(host).gone == [], 20, "a process has its root there, or names it")
        finally:
            os.killpg(held.pid, signal.SIGKILL)
            held.communicate()
    wait_until(lambda: Owners(host).gone == [left], 20)
    for suffix in ("-journal", "-wal"):
        host.run("touch", f"{STORE}/db.sql{suffix}")
        assert Owners(host).gone == []
        host.run("rm", f"{STORE}/db.sql{suffix}")
    before = host.run("sha256sum", f"{STORE}/db.sql").stdout, host.run("ls", "-la", STORE).stdout
    assert Owners(host).gone == [left]
    assert before == (host.run("sha256sum", f"{STORE}/db.sql").stdout, host.run("ls", "-la", STORE).stdout)
    process = pids(host, "live")[1]
    host.run("kill", "-KILL", process)  # the monitor alone: the container lives
    for _ in range(5):
        assert merged(host, "live") not in Owners(host).gone
    host.podman("restart", "left", check=False)  # podman finds out that its monitor has ended
    host.podman("restart", "left")
    assert Owners(host).gone == []
