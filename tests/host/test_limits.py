"""The agent at its limits in fact: no descriptor left, no process, and none to start with."""

import time
from collections.abc import Iterator

import pytest

from tests.host.test_agent import UNIT, Service
from tests.host.test_stopped import passed
from tests.support.leaks import CONFIG, OBSERVE
from tests.support.machine import Machine
from tests.support.wait import wait_until


@pytest.fixture
def service(host: Machine) -> Iterator[Service]:
    one = Service(host)
    yield one
    one.reset()


def limit(host: Machine, soft: int) -> None:
    host.run("prlimit", f"--pid={host.main_pid(UNIT)}", f"--nofile={soft}:")


def is_said(service: Service, text: str, since: float) -> bool:
    lines = [str(line["MESSAGE"]) for line in service.host.journal("-u", UNIT, f"--since=@{since:.3f}")]
    return text in service.status_text() or any(text in line for line in lines)


@pytest.mark.parametrize("spare", [0, pytest.param(1, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)])
def test_without_a_descriptor_nothing_is_taken_for_over_and_it_says_so(service: Service, spare: int) -> None:
    host = service.host
    service.start(OBSERVE + "[confirm]\nlayer = 0.3\n")
    old, unit = service.leaks.make("leaky-old")
    service.await_event("found", old)
    used = int(host.run("sh", "-c", f"ls /proc/{host.main_pid(UNIT)}/fd | sort -n | tail -n 1").stdout) + 1
    since = time.time()
    limit(host, used + spare)
    new, _unit = service.leaks.make("leaky-new")
    found = f"MOUNTWARDEN_MOUNTPOINT={new}"
    said = "Too many open files"
    wait_until(
        lambda: is_said(service, said, since) or service.events(found, event="found"), 40, "it says so, or works"
    )
    passed(3)
    if host.show(UNIT, "NRestarts") == "0":
        limit(host, 1024)
    service.await_event("found", new)
    assert service.events(f"MOUNTWARDEN_MOUNTPOINT={old}", event="cleared") == []
    assert len(service.events(f"MOUNTWARDEN_MOUNTPOINT={old}", event="found")) == 1
    service.leaks.end(unit)
    service.await_event("cleared", old)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [8, 12, 16, 24, 32, 48])
def test_a_unit_with_few_descriptors_works_or_says_what_it_lacks(service: Service, number: int) -> None:
    host = service.host
    service.drop_in(f"LimitNOFILE={number}")
    service.leaks.prepare()
    service.configure(OBSERVE)
    since = time.time()
    host.run("systemctl", "start", UNIT, check=False)
    mountpoint, _unit = service.leaks.make("leaky-few")
    said = "Too many open files"
    wait_until(
        lambda: is_said(service, said, since) or service.events(f"MOUNTWARDEN_MOUNTPOINT={mountpoint}", event="found"),
        40,
    )
    print(number, "found" if service.events(f"MOUNTWARDEN_MOUNTPOINT={mountpoint}", event="found") else "said")
    service.drop_in("")
    host.run("systemctl", "restart", UNIT)
    service.await_event("found", mountpoint)


def test_without_a_process_to_start_leaks_are_found_and_detached_or_it_says_why(service: Service) -> None:
    host = service.host
    service.start(CONFIG)
    host.run("systemctl", "set-property", "--runtime", UNIT, "TasksMax=1")
    mountpoint, _unit = service.make_seen("leaky-alone")
    service.await_event("found", mountpoint)
    said = service.await_event("failed", mountpoint, 20) if not _acted(service, mountpoint) else None
    print(said)
    host.run("systemctl", "set-property", "--runtime", UNIT, "TasksMax=16")
    service.await_event("acted", mountpoint)
    assert host.show(UNIT, "NRestarts") == "0"


def _acted(service: Service, mountpoint: str) -> bool:
    passed(3)
    return bool(service.events(f"MOUNTWARDEN_MOUNTPOINT={mountpoint}", event="acted"))
