"""The running service finds a copy on a spot of each layout of each engine, seen before or not."""

import json
import os

import pytest

from tests.support.fixtures import booted
from tests.support.layouts import CUSTOM, Case, cases
from tests.support.machine import Machine
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

CASES = [case for case in cases() if case.fstype in ("tmpfs", "overlay")]
KINDS = {"volume": "volume", "layer": "graph", "shm": "graph", "netns": "netns"}


def configured(case: Case) -> str:
    kind, pattern = KINDS[case.layout.mount_class], case.layout.pattern.decode()
    fstype = case.layout.fstype or "any"
    path = os.fsdecode(case.root.path)
    return f'[[root]]\npath = "{path}"\nkind = "{kind}"\nlayout = ["{pattern}"]\nfstype = "{fstype}"\npolicy = "ask"\n'


def plant(host: Machine) -> None:
    """What the engines would mount, for each layout."""
    script = ["set -e", "mkdir -p /mnt/low /mnt/lower"]
    for case in CASES:
        options = "lowerdir=/mnt/low:/mnt/lower" if case.fstype == "overlay" else "size=64k"
        spot = os.fsdecode(case.spot)
        script += [f"mkdir -p '{spot}'", f"mount -t {case.fstype} -o {options} planted '{spot}'"]
    host.run("sh", "-c", "\n".join(script), timeout=60)


def unmount(host: Machine) -> None:
    host.run("sh", "-c", "\n".join(f"umount '{os.fsdecode(case.spot)}'" for case in CASES), timeout=60)


def leaked(host: Machine) -> dict[str, str]:
    """Evidence by mountpoint, as the service has it now."""
    told = json.loads(host.run("mountwarden", "report", "--json", "--all", check=False, timeout=60).stdout)
    return {one["mountpoint"]: one["evidence"] for one in told["findings"] if one["kind"] == "leaked"}


@pytest.mark.parametrize("is_seen", [False, True])
def test_the_service_finds_each(is_seen: bool) -> None:
    assert len(CASES) > 30
    assert {case.layout for case in CASES} >= {layout for layout in CUSTOM if layout.fstype != "nsfs"}
    spots = {os.fsdecode(case.spot) for case in CASES}
    with booted() as host:
        host.write("/etc/mountwarden/mountwarden.toml", "engines = []\n" + "".join(map(configured, CASES)))
        for case in CASES:
            host.run("mkdir", "-p", os.fsdecode(case.root.path))
        if is_seen:
            host.run("systemctl", "start", "mountwarden")
        plant(host)
        host.unit("keeper", "MountFlags=private")
        if is_seen:
            wait_until(lambda: leaked(host) == {} and _live(host) >= len(CASES), 60, "the service has seen all")
        unmount(host)
        host.run("systemctl", "start", "mountwarden")
        wait_until(lambda: leaked(host).keys() >= spots, 60, "all are told")
        assert leaked(host) == dict.fromkeys(spots, "history" if is_seen else "spot")


def _live(host: Machine) -> int:
    """How many copies the service knows of that no umount reaches."""
    told = json.loads(host.run("mountwarden", "report", "--json", "--all", check=False, timeout=60).stdout)
    return sum(one["count"] or 1 for one in told["findings"] if one["kind"] == "severed")
