"""The agent stopped, frozen, or without a journal: nothing is found too early, acted on blindly, or told twice."""

import time
from collections.abc import Iterator

import pytest

from tests.host.test_agent import UNIT, Service
from tests.host.test_agent_kill import is_saved
from tests.support.leaks import CONFIG
from tests.support.machine import Machine
from tests.support.wait import wait_until

HELD = 5.0
"""Seconds of the confirm time."""
SLOW = f"[confirm]\nlayer = {HELD:g}\n"
FULL = """
import socket
one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
one.connect("/run/systemd/journal/socket")
try:
    while True:
        one.send(b"MESSAGE=filler\\nPRIORITY=7\\n")
except BlockingIOError:
    print("full")
"""


@pytest.fixture
def service(host: Machine) -> Iterator[Service]:
    one = Service(host)
    yield one
    one.reset()


def passed(seconds: float) -> None:
    """What is measured is how time passes."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, seconds + 1)


def stop(host: Machine, how: str) -> None:
    if how == "SIGSTOP":
        host.run("kill", "-STOP", str(host.main_pid(UNIT)))
    else:
        host.run("systemctl", "freeze", UNIT)


def go_on(host: Machine, how: str) -> None:
    if how == "SIGSTOP":
        host.run("kill", "-CONT", str(host.main_pid(UNIT)))
    else:
        host.run("systemctl", "thaw", UNIT)


@pytest.mark.long
@pytest.mark.parametrize("how", ["SIGSTOP", "freezer"])
def test_what_was_not_confirmed_before_a_stop_must_hold_anew(service: Service, how: str) -> None:
    """One leak lasts, one ends meanwhile: that one was never confirmed, and is not told."""
    host = service.host
    service.start(SLOW + CONFIG)
    lasting, ended = (f"{service.leaks.mount()}/merged" for _ in range(2))
    unit = host.unit("leaky-ended", "PrivateTmp=yes", "MountFlags=private")
    host.run("umount", ended)
    service.leaks.units |= {unit, host.unit("leaky-lasting", "PrivateTmp=yes", "MountFlags=private")}
    passed(1)
    host.run("umount", lasting)
    wait_until(lambda: service.findings(lasting) and service.findings(ended), 30, "both were seen")
    pid = host.main_pid(UNIT)
    stop(host, how)
    passed(HELD + 3)
    service.leaks.end(unit)
    go_on(host, how)
    went_on = time.time()
    found = service.await_event("found", lasting)
    assert int(found["__REALTIME_TIMESTAMP"]) / 1e6 - went_on >= HELD - 0.1
    service.await_event("acted", lasting)
    service.await_event("cleared", lasting)
    for event in ("found", "acted", "cleared"):
        assert len(service.events(f"MOUNTWARDEN_MOUNTPOINT={lasting}", event=event)) == 1
        assert service.events(f"MOUNTWARDEN_MOUNTPOINT={ended}", event=event) == []
    assert (host.main_pid(UNIT), host.show(UNIT, "NRestarts")) == (pid, "0")


@pytest.mark.long
def test_frozen_for_longer_than_the_watchdog_waits_it_comes_back_by_itself(service: Service) -> None:
    """By the control group's own file: systemd, which does not know of it, can't start another one in it."""
    host = service.host
    service.drop_in("WatchdogSec=2\nTimeoutStartSec=2\nTimeoutAbortSec=1\nRestartSec=100ms")
    service.start(CONFIG)
    mountpoint = f"{service.leaks.mount()}/merged"
    unit = host.unit("leaky-frozen", "PrivateTmp=yes", "MountFlags=private")
    service.leaks.units.add(unit)
    wait_until(lambda: is_saved(service, unit, mountpoint), 30, "the next run can know it")
    host.run("umount", mountpoint)
    freeze = f"/sys/fs/cgroup{host.show(UNIT, 'ControlGroup')}/cgroup.freeze"
    pid = host.main_pid(UNIT)
    host.write(freeze, "1")
    passed(12)
    host.run("sh", "-c", f"! test -e {freeze} || echo 0 >{freeze}")
    wait_until(lambda: host.main_pid(UNIT) not in (0, pid), 60, "another process serves")
    service.scanned()
    service.await_event("acted", mountpoint)
    service.await_event("cleared", mountpoint)
    for event in ("found", "acted", "cleared"):
        assert len(service.events(f"MOUNTWARDEN_MOUNTPOINT={mountpoint}", event=event)) == 1


def test_a_journald_that_reads_nothing_delays_no_action_and_gets_all_of_it_later(service: Service) -> None:
    host = service.host
    service.start(CONFIG)
    layer = service.leaks.mount()
    mountpoint = f"{layer}/merged"
    unit = host.unit("leaky-unlogged", "PrivateTmp=yes", "MountFlags=private")
    service.leaks.units.add(unit)
    passed(2)
    journald = host.main_pid("systemd-journald.service")
    host.run("kill", "-STOP", str(journald))
    try:
        assert host.run("python3", "-c", FULL).stdout == "full\n"
        host.run("umount", mountpoint)
        mounts = f"/proc/{host.main_pid(unit)}/mountinfo"
        wait_until(lambda: mountpoint not in host.read(mounts), 20, "it is detached all the same")
        passed(2)
        assert mountpoint not in host.read(mounts)
    finally:
        host.run("kill", "-CONT", str(journald))
    for event in ("found", "acted", "cleared"):
        service.await_event(event, mountpoint)
        assert len(service.events(f"MOUNTWARDEN_MOUNTPOINT={mountpoint}", event=event)) == 1
    assert host.show(UNIT, "NRestarts") == "0"
