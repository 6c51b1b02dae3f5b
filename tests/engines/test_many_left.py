"""Two thousand of each kind at once: what it costs to ask for their owners."""

from collections.abc import Iterator

import pytest

from tests.support.fixtures import booted
from tests.support.machine import Machine
from tests.support.ownership import Owners

pytestmark = [pytest.mark.engines, pytest.mark.long, pytest.mark.timeout(300)]

COUNT = 2000
TMPMOUNTS = ("containerd", "/var/lib/containerd", "tmpmounts/*")
_PLANT = """
import os, sys
from mountwarden.kernel import syscalls

os.makedirs("/tmp/lower")
options = b"lowerdir=/tmp/lower:/usr/share/doc"
tasks = "/run/containerd/io.containerd.runtime.v2.task/default"
for number in range(int(sys.argv[1])):
    layer = f"/var/lib/docker/overlay2/{number:064x}/merged"
    temporary = f"/var/lib/containerd/tmpmounts/containerd-mount{number}"
    bundle = f"{tasks}/task{number}"
    for point in (layer, temporary, f"{bundle}/rootfs"):
        os.makedirs(point)
        syscalls.mount(b"overlay", os.fsencode(point), b"overlay", 0, options)
    for name, text in (("init.pid", "4194305"), ("address", f"unix:///run/containerd/s/{number:064x}")):
        with open(f"{bundle}/{name}", "w") as file:
            file.write(text)
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with booted() as machine:
        machine.start_docker()
        machine.import_image("docker")
        machine.docker("create", "bb", "true")
        machine.python(_PLANT, str(COUNT), timeout=120)
        yield machine


def test_two_thousand_of_each_take_less_than_two_seconds(host: Machine) -> None:
    found = Owners(host, TMPMOUNTS)
    gone = [found[point].left for point in found.gone]
    assert {left: gone.count(left) for left in gone} == {"layer": COUNT, "task": COUNT}
    assert found.took < 2 * 3, "for three thousands twice"
