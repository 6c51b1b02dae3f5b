"""A host with real engines on which leaks are made, and what is asked of it.

dockerd removes the mountpoint itself when it has unmounted a layer, which detaches every copy. Where a leak of a layer
is wanted, the removal is refused to it with EBUSY, as by kernels that remove no mountpoint of any namespace.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.fixtures import booted
from tests.support.machine import Machine
from tests.support.strace import inject

CONFIG = """
mode = "observe"
[confirm]
layer = "100ms"
shm = "100ms"
volume = "100ms"
netns = "100ms"
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[Machine]:
    """A host with dockerd, the image in both engines, and short confirm times."""
    with booted() as host:
        host.start_docker()
        host.import_image("docker")
        host.import_image("podman")
        host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
        yield host


@dataclass
class Container:
    """A running container of dockerd's."""

    host: Machine
    id: str
    merged: str

    def stop(self) -> None:
        """Stop it: its layer is unmounted, and the removal of the mountpoint refused."""
        with inject(self.host, self.host.main_pid("docker.service"), "unlinkat", "error=EBUSY", self.merged):
            self.host.docker("stop", "-t", "0", self.id)

    @property
    def pid(self) -> int:
        return int(self.host.docker("inspect", "-f", "{{.State.Pid}}", self.id).stdout)


@contextlib.contextmanager
def running(host: Machine, *options: str, command: tuple[str, ...] = ("sleep", "1000")) -> Iterator[Container]:
    """A container, which is removed at the end: nothing may keep it from that."""
    run = ("run", "-d", "--network=none", *options, "bb", *command)
    identity = host.docker(*run).stdout.strip()
    merged = host.docker("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", identity).stdout.strip()
    try:
        yield Container(host, identity, merged)
    finally:
        host.docker("rm", "-f", identity)


@contextlib.contextmanager
def podman(host: Machine, *options: str) -> Iterator[str]:
    """A container of podman's; its id."""
    identity = host.podman("run", "-d", "--network=none", *options, "bb", "sleep", "1000").stdout.strip()
    try:
        yield identity
    finally:
        host.podman("rm", "-f", "-t", "0", identity)


@contextlib.contextmanager
def unit(host: Machine, name: str, *properties: str, command: tuple[str, ...] = ("sleep", "1000")) -> Iterator[str]:
    full = host.unit(name, *properties, command=command)
    try:
        yield full
    finally:
        host.run("systemctl", "stop", full)


def report(host: Machine, *options: str) -> list[dict[str, Any]]:
    """The findings that count, by the report's own exit status."""
    done = host.run("mountwarden", "report", "--json", *options, check=False)
    told = json.loads(done.stdout)
    found = [f for f in told["findings"] if f["severity"] != "info" and f["confirmed"] and f["kind"] != "private-root"]
    alarms = [f for f in told["findings"] if f["severity"] != "info" and f["confirmed"]]
    assert done.returncode == bool(alarms), done.stderr
    return found


def only(host: Machine, *, seen_at: str | None = None, **wanted: object) -> dict[str, Any]:
    """The one finding with these fields; beside it there is at most the same container's network namespace.

    `seen_at` is where its first copy is.
    """
    found = report(host)
    (one,) = (f for f in found if all(f[name] == value for name, value in wanted.items()))
    assert seen_at in (None, one["copies"][0]["seen_at"])
    others = [f for f in found if f is not one]
    assert all(other["fstype"] == "nsfs" and spaces(other) <= spaces(one) for other in others), others
    return one


def spaces(finding: dict[str, Any]) -> set[int]:
    """Inodes of the namespaces that have it."""
    return {copy["namespace"]["inode"] for copy in finding["copies"]}


def cause(finding: dict[str, Any]) -> str:
    return str(finding["cause"]["text"])


def mountpoints(host: Machine, pid: int) -> list[str]:
    return [line.split(" ")[4] for line in host.read(f"/proc/{pid}/mountinfo").splitlines()]


def detach(host: Machine, finding: dict[str, Any], pid: int) -> None:
    """The remedy, as the report shows its command: then no copy is left, and nothing is found."""
    assert finding["copies"][0]["seen_at"] in mountpoints(host, pid)
    for each in (finding, *(f for f in report(host) if f["id"] != finding["id"])):
        remedy = next(r for r in each["remedies"] if r["action"] == "detach")
        assert remedy["command"] == f"mountwarden detach {each['id']}"
        host.run(*remedy["command"].split())
        assert all(copy["seen_at"] not in mountpoints(host, pid) for copy in each["copies"])
    assert report(host) == []
