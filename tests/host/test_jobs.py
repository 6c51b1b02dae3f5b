"""A unit that starts is looked at at once, and no state of the message bus keeps the service from its work."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.test_agent import UNIT, Service
from tests.support import odd_bus, tiers
from tests.support.leaks import OBSERVE
from tests.support.machine import Machine
from tests.support.wait import wait_until

METRICS = "/run/mountwarden-test.prom"
AGAIN = 40.0
"""Seconds in which a new bus is heard, and that shows in the metrics: three ticks, of 5 s at most, and their cost."""
SLOW = f'tick = "30s"\nresync = "60s"\nmetrics = "{METRICS}"\n{OBSERVE}'
FAST = f'tick = "0.5s"\nresync = "1s"\nmetrics = "{METRICS}"\n{OBSERVE}'
STARTS = """
import json, subprocess, sys, time
def findings():
    with open("/run/mountwarden/report.json") as file:
        return {one["id"] for one in json.load(file)["findings"]}
took = []
for number in range(3):
    before = findings()
    command = ["systemd-run", "--quiet", f"--unit={sys.argv[1]}-{number}", "-p", "PrivateTmp=yes"]
    subprocess.run([*command, "-p", "MountFlags=private", "sleep", "infinity"], check=True)
    started = time.monotonic()
    while not findings() - before and time.monotonic() < started + 20:
        pass
    took.append(time.monotonic() - started)
print(json.dumps(took))
"""
"""A layer is mounted: each of these units' copies of it is severed, which is found with no mount changing at home."""

FLOOD = """
import sys, time
bus = socket.socket(socket.AF_UNIX)
bus.connect("/run/dbus/system_bus_socket")
bus.sendall(b"\\0AUTH EXTERNAL\\r\\nDATA\\r\\n")
while b"OK" not in bus.recv(999):
    pass
hello = [(1, "o", _PATH), (2, "s", _BUS), (3, "s", "Hello"), (6, "s", _BUS)]
bus.sendall(b"BEGIN\\r\\n" + message(1, 1, hello, b""))
peer, unit = sys.argv[1:]
place, manager = "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
told = [(1, "o", place), (2, "s", manager), (3, "s", "JobRemoved"), (6, "s", peer), (8, "g", "uoss")]
body = padded(struct.pack("<I", 7) + string(place + "/job/7"), 4)
body = padded(body + string(unit), 4) + string("done")
until = time.monotonic() + 3
sent = 0
while time.monotonic() < until:
    bus.sendall(message(4, 2, told, body))
    sent += 1
print(sent)
"""
"""After the text of tests.support.odd_bus: tells one client on the bus that a unit's job ended, as often as can be."""


@pytest.fixture
def service(host: Machine) -> Iterator[Service]:
    one = Service(host)
    yield one
    host.run("systemctl", "start", "dbus.socket", "dbus.service")
    one.reset()


def told(service: Service) -> int:
    """How often units have woken it; it looks once when the bus has let it in."""
    text = service.host.run("cat", METRICS, check=False).stdout
    return int(re.findall(r'source="units"} (\d+)', text)[0]) if text else 0


def woken(host: Machine, how: str) -> bool:
    """Whether `status` says so by now."""

    def says() -> bool:
        lines = host.run("mountwarden", "status").stdout.splitlines()
        return any(line.startswith("woken ") and line.endswith(how) for line in lines)

    return wait_until(says, 15, how)


def buses(host: Machine) -> int:
    """How many connections to the system bus the service has, by the inodes that the other ends name."""
    pid = host.main_pid(UNIT)
    text = host.run("ss", "-xnpH").stdout
    own = {line.split()[5] for line in text.splitlines() if f"pid={pid}," in line and line.startswith("u_str")}
    ends = [line.split() for line in text.splitlines() if "/run/dbus/system_bus_socket" in line]
    return sum(end[7] in own for end in ends)


def let_in(service: Service) -> None:
    wait_until(lambda: buses(service.host) == 1, 10, "one connection to the system bus")


def cpu_seconds(service: Service) -> float:
    """What the service has used."""
    group = service.host.show(UNIT, "ControlGroup")
    return int(service.host.read(f"/sys/fs/cgroup{group}/cpu.stat").split()[1]) / 1e6


@pytest.mark.parametrize("tier", tiers.available())
def test_a_unit_that_starts_is_looked_at_at_once(service: Service, tier: str) -> None:
    service.start(f'tier = "{tier}"\n{SLOW}')
    let_in(service)
    service.leaks.mount()
    name = f"at-once-{tier}"
    service.leaks.units |= {f"{name}-{number}.service" for number in range(3)}
    took = json.loads(service.host.python(STARTS, name).stdout)
    assert max(took) < 15.0, "a tick is 30 s; what a busy machine makes a scan cost puts this one off"


def test_many_jobs_cost_one_look(service: Service) -> None:
    service.start(SLOW)
    let_in(service)
    service.leaks.mount()
    for _ in range(6):
        service.host.run("systemd-run", "--quiet", "--scope", "sleep", "0.2")  # so that each would be told by itself
    pid = str(service.host.main_pid(UNIT))
    service.host.run("kill", "-STOP", pid)
    try:
        for number in range(20):
            service.host.run("systemd-run", "--quiet", f"--unit=many-{number}", "true")
        service.leaks.units.add(service.host.unit("many-last", "PrivateTmp=yes", "MountFlags=private"))
    finally:
        service.host.run("kill", "-CONT", pid)
    wait_until(lambda: service.document("report")["findings"], 20, "the last one is found")
    wait_until(lambda: told(service) > 1, 20, "the metrics tell of it too, which are written behind the report")
    # Two are usual. A signal that comes behind the others may add one, and so may a timer's service.
    assert told(service) < 5, "one when it was let in, one for all these services, none for each of six scopes"


def test_a_stopped_broker_holds_nothing_up(service: Service) -> None:
    broker = service.host.main_pid("dbus.service")
    service.drop_in("WatchdogSec=4")
    service.host.run("kill", "-STOP", str(broker))
    try:
        service.start(FAST)
        pid = service.host.main_pid(UNIT)
        mountpoint, _unit = service.leaks.make("leaky-stopped-broker")
        service.await_event("found", mountpoint, 10)
    finally:
        service.host.run("kill", "-CONT", str(broker))
    wait_until(lambda: told(service), AGAIN, "the service is let in once the broker works again")
    assert (service.host.main_pid(UNIT), service.host.show(UNIT, "NRestarts")) == (pid, "0")


@pytest.mark.long
@pytest.mark.parametrize("unit", ["any.service", "any.scope"])
def test_a_flood_by_another_user_costs_a_bounded_share(service: Service, unit: str) -> None:
    host = service.host
    service.start(FAST)
    let_in(service)
    pid = str(host.main_pid(UNIT))
    names = [line.split() for line in host.run("busctl", "--no-pager", "--no-legend", "list").stdout.splitlines()]
    (own,) = [name for name, owner, *_ in names if owner == pid and name.startswith(":")]
    host.write("/tmp/flood.py", Path(odd_bus.__file__).read_text() + FLOOD)
    used = cpu_seconds(service)
    with host.popen("runuser", "-u", "nobody", "--", "/usr/bin/python3", "/tmp/flood.py", own, unit) as flood:
        mountpoint, _unit = service.leaks.make(f"leaky-flood-{unit.rpartition('.')[2]}")
        out, err = flood.communicate(timeout=20)
    service.await_event("found", mountpoint)
    assert err == b""
    assert int(out) > 1000
    assert cpu_seconds(service) - used < 1.0
    assert told(service) < 100
    assert host.main_pid(UNIT) == int(pid)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_lost_bus_is_done_without_and_connected_to_again(service: Service) -> None:
    host = service.host
    service.start(FAST)
    let_in(service)
    pid = host.main_pid(UNIT)

    def descriptors() -> Counter[str]:
        return Counter(host.run("sh", "-c", f"readlink /proc/{pid}/fd/* | sed 's/[0-9]*//g'").stdout.split())

    wait_until(lambda: told(service), AGAIN, "let in")
    assert woken(host, "directories (inotify), services (system bus)")
    before = descriptors()
    for number in (1, 2):
        host.run("systemctl", "stop", "dbus.socket", "dbus.service")
        mountpoint, _unit = service.leaks.make(f"leaky-no-bus-{number}")
        service.await_event("found", mountpoint)
        assert buses(host) == 0
        assert woken(host, "directories (inotify); services only with the tick")
        seen = told(service)
        host.run("systemctl", "start", "dbus.socket", "dbus.service")
        wait_until(lambda seen=seen: told(service) > seen, AGAIN, "let in again")  # type: ignore[misc]
    assert woken(host, "services (system bus)")
    seen = told(service)
    host.run("systemctl", "restart", "dbus.service")
    wait_until(lambda: told(service) > seen, AGAIN, "and after a restart")
    assert wait_until(lambda: not descriptors() - before, 10), descriptors()
    assert host.main_pid(UNIT) == pid
    said = [line["MESSAGE"] for line in host.journal(f"_PID={pid}") if "MOUNTWARDEN_EVENT" not in line]
    assert said == [], "nothing but what was found"
    host.run("systemctl", "daemon-reexec")
    seen = told(service)
    service.leaks.make("leaky-reexec")
    wait_until(lambda: told(service) > seen, AGAIN, "PID 1's new program tells as well")
