"""kill -9 at random moments, while leaks come and go: each finding is told exactly once, and its end too."""

import random
import time
from collections import Counter
from typing import Any

import pytest

from tests.host.test_agent import UNIT, Service
from tests.support.leaks import CONFIG, OBSERVE
from tests.support.machine import Machine
from tests.support.wait import wait_until

pytestmark = pytest.mark.timeout(180)

KILLS = 20


@pytest.mark.parametrize("kills", [6, pytest.param(40, marks=pytest.mark.long)])
def test_exactly_one_found_and_one_cleared_for_each_finding(host: Machine, kills: int) -> None:
    seed = random.randrange(1 << 30)
    dice = random.Random(seed)
    service = Service(host)
    service.drop_in("RestartSec=10ms\nStartLimitIntervalSec=0\n[Unit]\nStartLimitIntervalSec=0")
    try:
        service.start("tick = 0.1\n" + OBSERVE + "[confirm]\nlayer = 0.3\n")
        planted: list[str] = []
        open_units: list[str] = []
        for number in range(kills):
            mountpoint, unit = service.leaks.make(f"leaky-kill-{number}")
            planted.append(mountpoint)
            open_units.append(unit)
            if len(open_units) > 2:
                service.leaks.end(open_units.pop(0))
            _pause(dice.uniform(0.0, 1.6))  # a scan confirms it after half a second, or later on a busy machine
            host.run("systemctl", "kill", "--signal=KILL", UNIT)
            wait_until(lambda: host.main_pid(UNIT) != 0, 30, "it was started again")
        host.run("systemctl", "restart", UNIT)
        for mountpoint in planted[-2:]:
            service.await_event("found", mountpoint)
        service.leaks.clean()
        for mountpoint in planted[-2:]:
            service.await_event("cleared", mountpoint)
        told = Counter(
            (one["MOUNTWARDEN_EVENT"], one["MOUNTWARDEN_FINDING"])
            for one in service.events()
            if one.get("MOUNTWARDEN_MOUNTPOINT") in planted
        )
        findings = {finding for _event, finding in told}
        print(f"seed {seed}: {kills} kills, {len(planted)} leaks, {len(findings)} findings told")
        wrong = {key: count for key, count in told.items() if count != 1}
        assert not wrong, f"told more than once (seed {seed})"
        lonely = [finding for finding in findings if {("found", finding), ("cleared", finding)} - told.keys()]
        assert not lonely, f"found without cleared, or the reverse (seed {seed})"
        assert len(findings) >= max(1, kills // 10), "the most are killed before their confirm time is over"
        assert int(host.show(UNIT, "NRestarts")) >= kills - 1 or len(planted) == kills
    finally:
        service.reset()


def test_twenty_kills_in_ten_seconds_do_not_end_the_service(host: Machine) -> None:
    """The unit as it ships: only the pause between two starts is shorter, else there were no time for twenty."""
    service = Service(host)
    service.drop_in("RestartSec=100ms")
    try:
        service.start(OBSERVE)
        began = time.monotonic()
        for _number in range(KILLS):
            pid = wait_until(lambda: host.main_pid(UNIT), 10, "it was started again")
            host.run("kill", "-KILL", str(pid))
            wait_until(lambda: host.main_pid(UNIT) != pid, 10, "it has ended")  # noqa: B023
        assert time.monotonic() - began < 10
        wait_until(lambda: host.main_pid(UNIT), 10, "it was started again")
        service.scanned()
        assert host.show(UNIT, "ActiveState") == "active"
        assert int(host.show(UNIT, "NRestarts")) == KILLS
    finally:
        service.reset()


def is_saved(service: Service, unit: str, mountpoint: str) -> bool:
    """Whether the service has saved that it saw the copy that the unit has now, when it is set up."""
    if not _is_set_up(service.host, unit):
        return False
    pid = service.host.main_pid(unit)
    lines = (line.split() for line in service.host.read(f"/proc/{pid}/mountinfo").splitlines())
    ids = {int(fields[0]) for fields in lines if fields[4] == mountpoint}
    spaces = service.document("history").get("namespaces", [])
    # The kernel gives a mount id of one namespace to the next: it is this one's if its process is named with it.
    own = [space for space in spaces if pid in {process for process, _start in space["processes"]}]
    return any(row[0] in ids for space in own for row in space["copies"])


def _is_set_up(host: Machine, unit: str) -> bool:
    return host.read(f"/proc/{host.main_pid(unit)}/comm") == "sleep\n"


def _attempts(service: Service, mountpoint: str) -> list[dict[str, Any]]:
    """What became of the attempts at it."""
    ends = ("acted", "declined", "failed")
    return [e for event in ends for e in service.events(f"MOUNTWARDEN_MOUNTPOINT={mountpoint}", event=event)]


@pytest.mark.parametrize("end", ["kill", pytest.param("stop", marks=pytest.mark.long)])
def test_a_leak_of_before_a_restart_is_told_once_and_detached_by_the_next_run(host: Machine, end: str) -> None:
    """Known before it, and unmounted while no service ran. What nobody saw is asked for."""
    service = Service(host)
    service.drop_in("Restart=no")
    try:
        service.start(OBSERVE)
        seen, _held = service.make_seen("leaky-before")
        service.await_event("found", seen)
        layer = service.leaks.mount()
        meanwhile = f"{layer}/merged"
        holder = host.unit("leaky-meanwhile", "PrivateTmp=yes", "MountFlags=private")
        service.leaks.units.add(holder)
        wait_until(lambda: is_saved(service, holder, meanwhile), 30, "the copy is saved")
        assert host.run("stat", "-c", "%a %U", "/run/mountwarden/history.json").stdout == "600 root\n"
        host.run("systemctl", *(["stop"] if end == "stop" else ["kill", "--signal=KILL"]), UNIT)
        wait_until(lambda: host.show(UNIT, "ActiveState") in ("inactive", "failed"), 30, "it ended")
        host.run("umount", meanwhile)
        unseen, unit = service.leaks.make("leaky-unseen")
        wait_until(lambda: _is_set_up(host, unit), 30, "a namespace that is being made may keep an action back")
        service.start(CONFIG)
        for mountpoint in (seen, meanwhile):
            ended = wait_until(lambda: _attempts(service, mountpoint), 30, f"an attempt at {mountpoint}")  # noqa: B023
            assert [(one["MOUNTWARDEN_EVENT"], one["MOUNTWARDEN_EVIDENCE"]) for one in ended] == [
                ("acted", "history")
            ], ended
            service.await_event("cleared", mountpoint)
        assert service.await_event("found", unseen)["MOUNTWARDEN_EVIDENCE"] == "spot"
        (asked,) = service.findings(unseen)
        assert not any(remedy["automatic"] for remedy in asked["remedies"])
        told = Counter(
            (one["MOUNTWARDEN_EVENT"], one["MOUNTWARDEN_MOUNTPOINT"])
            for one in service.events()
            if one.get("MOUNTWARDEN_MOUNTPOINT") in (seen, meanwhile, unseen) and one["MOUNTWARDEN_KIND"] == "leaked"
        )
        assert told == {
            **{(event, mountpoint): 1 for event in ("found", "acted", "cleared") for mountpoint in (seen, meanwhile)},
            ("found", unseen): 1,
        }
    finally:
        service.reset()


def _pause(seconds: float) -> None:
    """A random moment is what is wanted here, not an event."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, seconds + 1)
