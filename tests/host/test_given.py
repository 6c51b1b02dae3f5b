"""A disk that a unit was given by BindPaths=: unmounted on the host it is in use, and nothing pulls it out."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.looked import await_look
from tests.support.machine import Machine
from tests.support.wait import wait_until

UNIT = "given.service"
DISK = "/mnt/e"
MAKE = f"truncate -s 16M /tmp/disk && mkfs.ext4 -q /tmp/disk && mkdir -p {DISK} && mount -o loop /tmp/disk {DISK}"
CLEAN = f"umount {DISK}; rm -f /tmp/disk; rmdir {DISK}; rm -rf /etc/mountwarden"


@pytest.fixture
def used(host: Machine) -> Iterator[dict[str, Any]]:
    """What the service says of it."""
    host.write("/etc/mountwarden/mountwarden.toml", '[confirm]\nvolume = "1s"\n')
    host.run("sh", "-c", MAKE)
    host.run("systemctl", "start", "mountwarden")
    host.unit(UNIT, f"BindPaths={DISK}:/srv")
    await_look(host, time.time())
    host.run("umount", DISK)
    yield wait_until(lambda: of_disk(host), 30, "the service told it")[0]
    host.run("systemctl", "stop", "mountwarden")
    host.run("systemctl", "stop", UNIT, check=False)
    host.run("sh", "-c", CLEAN, check=False)


def reported(host: Machine) -> dict[str, Any]:
    """The service's last report; without findings while there is none."""
    text = host.run("cat", "/run/mountwarden/report.json", check=False).stdout
    return dict(json.loads(text)) if text else {"taken": "", "findings": []}


def of_disk(host: Machine) -> list[dict[str, Any]]:
    return [one for one in reported(host)["findings"] if one["mountpoint"] == DISK and one["confirmed"]]


def test_what_bind_paths_gave_is_in_use(host: Machine, used: dict[str, Any]) -> None:
    assert (used["kind"], used["severity"], used["detail"]) == ("leaked", "info", f"in use by {UNIT} as /srv")
    assert [(one["action"], one["command"]) for one in used["remedies"]] == [("restart", f"systemctl stop {UNIT}")]
    assert host.run("mountwarden", "report", check=False).returncode == 0
    assert "in use: volume unmounted on the host" in host.run("mountwarden", "report", "--all", check=False).stdout
    host.run("systemctl", "stop", UNIT)
    wait_until(lambda: not of_disk(host), 30, "it is free")
