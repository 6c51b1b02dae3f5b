"""Debian 12 and 13 booted whole, as their users have them, with the .deb: two boots each, at which the tests then look.

The guest's processor does a thousand million instructions in a second of its time, a fraction of what a real one does
(`tests.support.vm.debian`). The bounds are those of a real host.
"""

from typing import Any

import pytest

from tests.support.builds import NEWER, Builds
from tests.support.vm import debian
from tests.support.vm.apt import Unavailable
from tests.support.vm.debian import Boot, Debian
from tests.support.vm.in_debian import BUSY, DOCKER, PYTHON, SHORT, UNIT

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]

ENDED = 20.0
"""Seconds after the umount within which the leak of a layer of one second is ended."""
STOPPED = 2.0
"""Seconds within which the service stops at a shutdown; it could have 20 (TimeoutStopSec=)."""


@pytest.fixture(scope="module", params=debian.RELEASES)
def host(request: pytest.FixtureRequest) -> Debian:
    """What the two boots of a release answered."""
    try:
        debian.prepare(request.param)
        builds: Builds = request.getfixturevalue("builds")
        return debian.asked(request.param, builds.deb(), builds.newer())
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(params=["first", "second"])
def boot(request: pytest.FixtureRequest, host: Debian) -> dict[str, Any]:
    """How each of the two boots went."""
    booted: Boot = getattr(host, request.param)
    told: dict[str, Any] = booted.told["boot"]
    return told


def entered(boot: dict[str, Any], unit: str, what: str = "ActiveEnter") -> float:
    """Seconds since the kernel's start at which a unit was active, or `InactiveExit`, began to start."""
    return int(boot["units"][unit][f"{what}TimestampMonotonic"]) / 1e6


def test_it_is_enabled_and_active_at_each_boot(boot: dict[str, Any]) -> None:
    assert boot["enabled"] == "enabled"
    assert {name: boot["units"][name]["ActiveState"] for name in (UNIT, DOCKER)} == {UNIT: "active", DOCKER: "active"}
    assert boot["units"][UNIT]["NRestarts"] == "0"


def test_docker_starts_when_it_is_ready(boot: dict[str, Any]) -> None:
    assert UNIT in boot["after"]
    assert 0 < entered(boot, UNIT) <= entered(boot, DOCKER, "InactiveExit"), boot["analyze"]


def test_docker_is_delayed_by_no_more_than_five_starts_of_python_take(boot: dict[str, Any]) -> None:
    """Both beside all else that a boot starts, at which either takes several times as long as by itself."""
    five_pythons = entered(boot, PYTHON, "InactiveEnter") - entered(boot, PYTHON, "InactiveExit")
    waited = entered(boot, UNIT) - entered(boot, UNIT, "InactiveExit")
    assert 0 < waited <= five_pythons, (boot["python"], boot["analyze"])


def test_no_unit_has_failed(boot: dict[str, Any]) -> None:
    assert (boot["state"], boot["failed"]) == ("running", "")


def test_docker_s_containers_run_and_are_no_finding(host: Debian) -> None:
    told = host.first.told["container"]
    assert (told["said"], told["findings"]) == ("runs", [])


def test_the_leak_of_a_layer_of_one_second_is_ended(host: Debian) -> None:
    told = host.first.told["short"]
    assert told["leaked"], "the service kept it"
    assert 1 <= told["lived"] < 4
    assert told["ended after"] <= ENDED
    assert (told["copy"], told["state"]) == (False, "active"), "the unit lives on, without the copy"
    acted = [event for event in told["events"] if event["MOUNTWARDEN_EVENT"] == "acted"]
    assert [(event["MOUNTWARDEN_MOUNTPOINT"], event["MOUNTWARDEN_ACTION"]) for event in acted] == [(SHORT, "detach")]


def test_a_finding_that_lasts_is_the_same_after_an_upgrade(host: Debian) -> None:
    busy, upgrade = host.first.told["busy"], host.first.told["upgrade"]
    assert busy["copy"]
    assert busy["finding"]["mountpoint"] == BUSY
    assert (upgrade["version"], upgrade["finding"]["version"]) == (f"mountwarden {NEWER}", NEWER)
    assert (upgrade["restarted"], upgrade["state"], upgrade["failed"]) == (True, "active", "")
    for key in ("id", "since", "kind"):
        assert upgrade["finding"][key] == busy["finding"][key], key
    found = [event for event in upgrade["events"] if event["MOUNTWARDEN_EVENT"] == "found"]
    assert len(found) == 1, "and is not told again"


def test_it_holds_no_shutdown_up(host: Debian) -> None:
    told = host.second.told["shutdown"]
    assert told["stopping"] is not None, told
    assert told["stopped"] is not None, told
    assert 0 <= told["stopped"] - told["stopping"] <= STOPPED
    assert told["late"] == []


def test_after_a_reboot_the_finding_is_over_and_history_has_it(host: Debian) -> None:
    told = host.second.told
    assert told["version"] == f"mountwarden {NEWER}"
    assert [one for one in told["report"]["findings"] if one["mountpoint"] in (BUSY, SHORT)] == []
    history = [entry for entry in told["history"]["history"] if entry.get("mountpoint") in (BUSY, None)]
    assert {entry.get("finding") for entry in history} == {host.first.told["upgrade"]["finding"]["id"], None}
    events = [entry["event"] for entry in history if entry["event"] in ("started", "found")]
    assert events == ["started", "found", "started", "started"], "the first boot, the upgrade, the second boot"
