"""The commands on a real systemd beside the running service: what it alone can know, they tell too, while it holds."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from mountwarden.escape import seconds

from tests.support.leaks import CONFIG, ROOT, Leaks
from tests.support.machine import Machine
from tests.support.wait import wait_until

DISK = "/mnt/e"
UNIT = "holder.service"
MAKE = f"truncate -s 16M /tmp/disk && mkfs.ext4 -q /tmp/disk && mkdir -p {DISK} && mount -o loop /tmp/disk {DISK}"
CLEAN = f"umount {DISK}; rm -f /tmp/disk; rmdir {DISK}; rm -rf /etc/mountwarden"


@pytest.fixture
def leak(host: Machine) -> Iterator[dict[str, Any]]:
    """A disk that home has unmounted and a unit still holds, as the service's own report tells it."""
    host.write("/etc/mountwarden/mountwarden.toml", '[confirm]\nvolume = "1s"\n')
    host.run("sh", "-c", MAKE)
    host.run("systemctl", "start", "mountwarden")
    host.unit(UNIT, "MountFlags=private")
    started = time.time()
    wait_until(lambda: taken(host) > started, 30, "the service has looked at the unit's namespace")
    host.run("umount", DISK)
    yield wait_until(lambda: told(host, DISK), 30, "the service told it")[0]
    host.run("systemctl", "kill", "-s", "CONT", "mountwarden")
    host.run("systemctl", "stop", "mountwarden")
    host.run("systemctl", "stop", UNIT, check=False)
    host.run("sh", "-c", CLEAN, check=False)


def reported(host: Machine) -> dict[str, Any]:
    """The service's report; without findings while there is none."""
    text = host.run("cat", "/run/mountwarden/report.json", check=False).stdout
    return dict(json.loads(text)) if text else {"taken": "1970-01-01T00:00:00Z", "findings": []}


def taken(host: Machine) -> float:
    """When the service has looked last, as its report says."""
    return seconds(reported(host)["taken"])


def told(host: Machine, mountpoint: str) -> list[dict[str, Any]]:
    """What the service has confirmed at a mountpoint."""
    return [one for one in reported(host)["findings"] if one["mountpoint"] == mountpoint and one["confirmed"]]


def mountwarden(host: Machine, *words: str) -> tuple[int, str]:
    done = host.run("mountwarden", *words, check=False)
    return done.returncode, done.stdout + done.stderr


def test_every_command_tells_what_the_service_tells(host: Machine, leak: dict[str, Any]) -> None:
    finding, commands = leak["id"], [remedy["command"] for remedy in leak["remedies"] if remedy["command"]]
    assert (leak["severity"], leak["evidence"]) == ("critical", "history"), "no single look has that"
    status, text = mountwarden(host, "report")
    assert (status, finding in text, "1 critical" in text) == (1, True, True)
    status, text = mountwarden(host, "report", "--json", "--unit", UNIT)
    document = json.loads(text)
    (one,) = document["findings"]
    names = ("id", "kind", "severity", "cause", "since", "silenced", "confirmed", "remedies")
    assert status == 1
    assert {name: one[name] for name in names} == {name: leak[name] for name in names}
    assert document["summary"]["by_severity"]["critical"] == 1
    assert mountwarden(host, "report", "--unit", "other.service")[0] == 0
    assert mountwarden(host, "report", "--npd")[0] == 1
    status, text = mountwarden(host, "explain", finding)
    assert (status, text.startswith(f"{finding}  leaked, critical\n"), UNIT in text) == (1, True, True)
    assert mountwarden(host, "explain", f"{finding[:-1]}x")[1].endswith(f"did you mean {finding}?\n")
    status, text = mountwarden(host, "plan")
    assert text.startswith(f"{finding} leaked {DISK}\n")
    assert [line.strip() for line in text.splitlines() if "$ " in line] == [f"$ {command}" for command in commands]
    planned = json.loads(mountwarden(host, "plan", "--json", finding)[1])["plan"]
    assert planned == [{"id": finding, "remedies": [{**remedy, "steps": []} for remedy in leak["remedies"]]}]
    why = "the running service alone knows this finding, and a single scan cannot prove it"
    for words in (("detach",), ("unmount",), ("unmount", "--dry-run"), ("rejoin", "--yes")):
        status, text = mountwarden(host, *words, finding)
        assert (status, text.splitlines()[-1]) == (1, f"{finding}: declined: {why}")
    status, text = mountwarden(host, "unmount", "--json", finding)
    assert (status, json.loads(text)) == (1, {"outcomes": [], "absent": [finding]})
    host.run("systemctl", "kill", "-s", "STOP", "mountwarden")
    host.run("systemctl", "stop", UNIT)
    assert told(host, DISK), "the service's report is of before"
    status, text = mountwarden(host, "report")
    assert (status, finding in text) == (0, False), "what is over is not told"
    status, text = mountwarden(host, "explain", finding)
    assert (status, text.startswith(f"{finding}  is over: ")) == (0, True)
    assert mountwarden(host, "unmount", finding) == (1, f"{finding}: declined: there is no such finding now\n")
    host.run("systemctl", "kill", "-s", "CONT", "mountwarden")
    wait_until(lambda: not told(host, DISK), 30, "the service has seen it go")
    assert mountwarden(host, "report")[0] == 0


def test_a_layer_bound_on_another_directory_of_a_namespace_is_told_too(host: Machine) -> None:
    leaks = Leaks(host)
    leaks.prepare()
    merged = f"{leaks.mount()}/merged"
    host.write("/etc/mountwarden/mountwarden.toml", 'mode = "observe"\n' + CONFIG)
    host.run("systemctl", "start", "mountwarden")
    script = f"mount --bind {merged} /opt && umount {merged} && exec sleep infinity"
    unit = host.unit("binder", "MountFlags=private", command=("sh", "-c", script))
    wait_until(lambda: "sleep" in host.read(f"/proc/{host.main_pid(unit)}/comm"), 30, "it has bound the layer")
    started = time.time()
    wait_until(lambda: taken(host) > started, 30, "the service has looked at the unit's namespace")
    host.run("umount", merged)
    (leak,) = wait_until(lambda: told(host, merged), 30, "the service told it")
    status, text = mountwarden(host, "report", "--json")
    beside = [one for one in json.loads(text)["findings"] if one["id"] == leak["id"]]
    host.run("systemctl", "stop", "mountwarden", unit)
    host.run("sh", "-c", f"umount {ROOT}; rm -r /etc/mountwarden")
    assert (leak["seen_at"], leak["evidence"], leak["severity"]) == ("/opt", "history", "warning")
    assert (status, beside) == (1, [leak])
