"""The doctor and the map on a booted systemd: a unit that will leak is named before it leaks, and then it leaks."""

import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support.leaks import OBSERVE, ROOT, Leaks
from tests.support.machine import Machine
from tests.support.product import PROJECT
from tests.support.wait import wait_until

FIX = "/etc/systemd/system/foretold.service.d/90-propagation.conf"


@pytest.fixture
def leaks(host: Machine) -> Iterator[Leaks]:
    """A root of the configuration, in which nothing acts by itself."""
    host.write("/etc/mountwarden/mountwarden.toml", OBSERVE)
    made = Leaks(host)
    made.prepare()
    yield made
    made.clean()
    host.run("sh", "-c", f"umount -l {ROOT}/*/merged", check=False)


def doctor(host: Machine, *options: str, status: int = 0, warning: str = "") -> dict[str, Any]:
    done = host.run("mountwarden", "doctor", "--json", *options, check=False)
    assert (done.returncode, warning in done.stderr, bool(done.stderr)) == (status, True, bool(warning)), done.stdout
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def foretold(host: Machine, unit: str) -> list[dict[str, Any]]:
    return [one for one in doctor(host, "--no-canary")["foreseen"] if one["who"] == unit and not one["on_purpose"]]


def lines(document: dict[str, Any], identity: str) -> list[dict[str, Any]]:
    return [check for check in document["checks"] if check["id"] == identity]


def leaked(host: Machine, unit: str) -> list[str]:
    """Leaks at one look, confirmed or not: no engine is at work here."""
    report = json.loads(host.run("mountwarden", "report", "--no-wait", "--json", "--unit", unit, check=False).stdout)
    return [finding["mountpoint"] for finding in report["findings"] if finding["kind"] == "leaked"]


def test_a_unit_that_will_leak_is_named_and_then_leaks_and_then_is_mended(host: Machine, leaks: Leaks) -> None:
    unit, layer = "foretold.service", leaks.mount()
    host.write(
        f"/etc/systemd/system/{unit}", "[Service]\nExecStart=sleep infinity\nPrivateTmp=yes\nMountFlags=private\n"
    )
    host.run("systemctl", "daemon-reload")

    (named,) = (c for c in lines(doctor(host, "--no-canary"), "units.private") if unit in c["text"])
    assert named["status"] == "warn"
    assert named["text"].endswith(f"MountFlags=private (/etc/systemd/system/{unit}:4)")

    host.run("systemctl", "start", unit)
    (one,) = foretold(host, unit)
    assert (one["leaks"], one["cause"]["code"], one["kind"]) == (1, "mount-flags", "service")
    assert f"(/etc/systemd/system/{unit}:4)" in one["cause"]["text"]
    assert [sight["at"] for sight in one["sights"] if sight["copies"]] == [ROOT]
    assert leaked(host, unit) == [], "nothing has leaked yet"

    host.run("umount", f"{layer}/merged")
    assert leaked(host, unit) == [f"{layer}/merged"]
    assert "1 not confirmed on" in host.run("mountwarden", "map", "--no-wait").stdout

    drop_in = "\n".join(line for line in one["fix"].splitlines() if line.startswith(("[", "MountFlags")))
    assert FIX in one["fix"]
    host.write(FIX, drop_in + "\n")
    host.run("systemctl", "daemon-reload")
    other = leaks.mount()
    host.run("systemctl", "restart", unit)
    assert foretold(host, unit) == []
    assert lines(doctor(host, "--no-canary"), "units.private") == []
    host.run("umount", f"{other}/merged")
    assert leaked(host, unit) == []
    host.run("systemctl", "stop", unit)
    host.run("rm", "-r", f"/etc/systemd/system/{unit}", f"/etc/systemd/system/{unit}.d")
    host.run("systemctl", "daemon-reload")


@pytest.mark.long
def test_a_private_unit_without_a_copy_is_named_for_its_next_start(host: Machine, leaks: Leaks) -> None:
    unit = host.unit("early", "PrivateTmp=yes", "MountFlags=private")
    leaks.units.add(unit)
    layer = leaks.mount()
    (check,) = (c for c in lines(doctor(host, "--no-canary"), "namespaces.cut-off") if c["text"].startswith(unit))
    assert "is cut off from" in check["text"]
    assert "when it starts again" in check["text"]
    (one,) = foretold(host, unit)
    assert (one["leaks"], ROOT in [sight["at"] for sight in one["sights"]]) == (0, True)
    host.run("umount", f"{layer}/merged")
    assert leaked(host, unit) == []


@pytest.mark.long
def test_a_unit_that_systemd_makes_a_slave_is_not_named(host: Machine, leaks: Leaks) -> None:
    unit = host.unit("fine", "PrivateTmp=yes", "ProtectSystem=strict")
    leaks.units.add(unit)
    layer = leaks.mount()
    assert foretold(host, unit) == []
    host.run("umount", f"{layer}/merged")
    assert leaked(host, unit) == []


def test_the_canary_is_held_by_a_unit_and_leaves_nothing(host: Machine) -> None:
    before = host.run("cat", "/proc/self/mountinfo").stdout
    song = doctor(host)["canary"]
    assert song["done"] is True, song
    assert song["held_by"].startswith("mountwarden-demo-")
    assert song["held_by"].endswith(".service")
    assert host.run("cat", "/proc/self/mountinfo").stdout == before
    assert host.run("systemctl", "is-active", song["held_by"], check=False).stdout.strip() != "active"


@pytest.mark.long
def test_what_is_not_there_and_what_is_broken(host: Machine) -> None:
    host.write("/etc/mountwarden/mountwarden.toml", "tick = 'never'\n")
    document = doctor(host, "--no-canary", status=1, warning="going on with the defaults")
    assert document["status"] == "fail"
    (config,) = lines(document, "service.config")
    assert (config["status"], config["hint"]) == ("fail", "mountwarden config check")
    host.write("/etc/mountwarden/mountwarden.toml", OBSERVE)
    document = doctor(host, "--no-canary")
    assert lines(document, "service.running")[0]["status"] == "warn"
    assert lines(document, "service.catalog")[0]["status"] == "warn"
    assert lines(document, "systemd.bus")[0]["status"] == "ok"
    assert lines(document, "systemd.version")[0]["text"].startswith("systemd 2")


@pytest.mark.long
def test_what_runs_and_is_installed(host: Machine) -> None:
    host.write("/etc/mountwarden/mountwarden.toml", OBSERVE)
    for file in sorted((PROJECT / "packaging/catalog").iterdir()):
        host.write(f"/usr/lib/systemd/catalog/{file.name}", file.read_text())
    host.run("journalctl", "--update-catalog")
    host.run("systemctl", "start", "mountwarden.service")
    wait_until(
        lambda: host.run("mountwarden", "status", check=False).returncode == 0, 20, "the service tells its status"
    )
    document = doctor(host, "--no-canary")
    host.run("systemctl", "stop", "mountwarden.service")
    (service,) = lines(document, "service.running")
    assert (service["status"], "mode observe" in service["text"]) == ("ok", True)
    assert lines(document, "service.catalog")[0]["status"] == "ok"


def test_the_map_in_all_its_forms(host: Machine, leaks: Leaks) -> None:
    unit = host.unit("drawn", "PrivateTmp=yes", "MountFlags=private")
    leaks.units.add(unit)
    leaks.mount()
    told = host.run("mountwarden", "map", "--no-wait").stdout
    assert f"{ROOT} (custom, graph): " in told
    assert f"{unit}" in told
    document = json.loads(host.run("mountwarden", "map", "--no-wait", "--json").stdout)
    assert any(row["who"] == unit for base in document["bases"] for row in base["namespaces"])
    picture = ElementTree.fromstring(host.run("mountwarden", "map", "--no-wait", "--svg").stdout)
    assert unit in [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert host.run("mountwarden", "map", "--no-wait", "--dot").stdout.startswith("digraph mountwarden {\n")
