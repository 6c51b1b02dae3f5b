"""kill -9 at random moments, while leaks come and go: each finding is told exactly once, and its end too."""

import random
import time
from collections import Counter

import pytest

from tests.host.test_agent import UNIT, Service
from tests.support.leaks import OBSERVE
from tests.support.machine import Machine
from tests.support.wait import wait_until

pytestmark = pytest.mark.timeout(180)

KILLS = 20


def test_exactly_one_found_and_one_cleared_for_each_finding(host: Machine) -> None:
    seed = random.randrange(1 << 30)
    dice = random.Random(seed)
    service = Service(host)
    service.drop_in("RestartSec=10ms\nStartLimitIntervalSec=0\n[Unit]\nStartLimitIntervalSec=0")
    try:
        service.start("tick = 0.1\n" + OBSERVE + "[confirm]\nlayer = 0.3\n")
        planted: list[str] = []
        open_units: list[str] = []
        for number in range(KILLS):
            mountpoint, unit = service.leaks.make(f"leaky-kill-{number}")
            planted.append(mountpoint)
            open_units.append(unit)
            if len(open_units) > 2:
                service.leaks.end(open_units.pop(0))
            _pause(dice.uniform(0.0, 0.8))
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
        print(f"seed {seed}: {KILLS} kills, {len(planted)} leaks, {len(findings)} findings told")
        wrong = {key: count for key, count in told.items() if count != 1}
        assert not wrong, f"told more than once (seed {seed})"
        lonely = [finding for finding in findings if {("found", finding), ("cleared", finding)} - told.keys()]
        assert not lonely, f"found without cleared, or the reverse (seed {seed})"
        assert len(findings) >= KILLS // 2
        assert int(host.show(UNIT, "NRestarts")) >= KILLS - 1 or len(planted) == KILLS
    finally:
        service.reset()


def _pause(seconds: float) -> None:
    """A random moment is what is wanted here, not an event."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, seconds + 1)
