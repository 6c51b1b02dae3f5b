"""Two thousand of each kind at once: what it costs to ask for their owners, and to end all of them."""

import os
import time
from collections.abc import Iterator

import pytest

from tests.support.fixtures import booted
from tests.support.machine import Machine
from tests.support.ownership import Owners
from tests.support.wait import wait_until

pytestmark = [pytest.mark.engines, pytest.mark.long, pytest.mark.timeout(400)]

COUNT = 2000
SECONDS, LOAD = 30.0, 8.0
"""In which a command ends all of a group; on a machine of a higher load average, in as much longer."""
CONFIG = 'resync = "5s"\n[confirm]\nabandoned = "2s"\n'
TMPMOUNTS = ("containerd", "/var/lib/containerd", "tmpmounts/*")
_PLANT = """
import os, sys
from mountwarden.kernel import syscalls

os.makedirs("/tmp/lower", exist_ok=True)
options = b"lowerdir=/tmp/lower:/usr/share/doc"
tasks = "/run/containerd/io.containerd.runtime.v2.task/default"
for number in range(int(sys.argv[1])):
    bundle = f"{tasks}/task{number}"
    points = {
        "layer": f"/var/lib/docker/overlay2/{number:064x}/merged",
        "tmpmount": f"/var/lib/containerd/tmpmounts/containerd-mount{number}",
        "task": f"{bundle}/rootfs",
    }
    for kind in sys.argv[2:]:
        os.makedirs(points[kind])
        syscalls.mount(b"overlay", os.fsencode(points[kind]), b"overlay", 0, options)
    if "task" not in sys.argv:
        continue
    for name, text in (("init.pid", "4194305"), ("address", f"unix:///run/containerd/s/{number:064x}")):
        with open(f"{bundle}/{name}", "w") as file:
            file.write(text)
"""


@pytest.fixture
def host() -> Iterator[Machine]:
    with booted() as machine:
        machine.start_docker()
        machine.import_image("docker")
        machine.docker("create", "bb", "true")
        yield machine


def test_two_thousand_of_each_take_less_than_two_seconds(host: Machine) -> None:
    host.python(_PLANT, str(COUNT), "layer", "tmpmount", "task", timeout=120)
    found = Owners(host, TMPMOUNTS)
    gone = [found[point].left for point in found.gone]
    assert {left: gone.count(left) for left in gone} == {"layer": COUNT, "task": COUNT}
    assert found.took < 2 * 3, "for three thousands twice"


def left(host: Machine, root: str) -> int:
    return sum(line.split(" ")[4].startswith(f"{root}/") for line in host.read("/proc/1/mountinfo").splitlines())


def told(host: Machine) -> int:
    """How many the summaries in the journal count: what was made a moment before a scan is told after the next one."""
    return sum(int(entry["MOUNTWARDEN_COUNT"]) for entry in host.journal("MOUNTWARDEN_EVENT=summary"))


@pytest.mark.parametrize(
    ("kind", "root", "words"),
    [
        ("layer", "/var/lib/docker", "layers that no container has"),
        ("task", "/run/containerd", "file systems of tasks"),
    ],
)
def test_two_thousand_are_one_group_and_ended_by_one_command(host: Machine, kind: str, root: str, words: str) -> None:
    host.python(_PLANT, str(COUNT), kind, timeout=120)
    host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
    host.run("systemctl", "start", "mountwarden")
    group, command = f"{COUNT:,} abandoned: {words}", ("unmount", "--all", "--kind", "abandoned")
    wait_until(lambda: told(host) == COUNT, 120, "they are told")
    text = wait_until(lambda: group in (now := host.run("mountwarden", check=False).stdout) and now, 60, group)
    assert f"→ mountwarden {' '.join(command)} --root {root}" in text
    began = time.monotonic()
    done = host.run("mountwarden", *command, "--yes", timeout=120, check=False)
    took = time.monotonic() - began
    print(f"{COUNT} of {root} unmounted in {took:.1f} s")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert left(host, root) == 0
    assert took < SECONDS * max(1.0, os.getloadavg()[0] / LOAD)
