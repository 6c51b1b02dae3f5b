"""One agent on a host, and one act at a time: the lock in /run/mountwarden, kept by real services and commands."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.machine import Machine
from tests.support.wait import wait_until

UNIT = "mountwarden.service"
LOCK = "/run/mountwarden/lock"
HOLD = """
import sys, time
from mountwarden.state import lock
from mountwarden.state.run_directory import RunDirectory
held = lock.take(RunDirectory())
print(type(held).__name__, flush=True)
time.sleep(60)
"""


@pytest.fixture
def clean(host: Machine) -> Iterator[Machine]:
    """No service and no files of one, before and after."""
    yield host
    host.run("systemctl", "stop", UNIT)
    host.run("systemctl", "reset-failed", UNIT, check=False)
    host.run("rm", "-rf", "/run/mountwarden", "/etc/mountwarden")


def test_a_second_agent_does_not_start_and_names_the_first(clean: Machine) -> None:
    clean.run("systemctl", "start", UNIT)
    first = clean.main_pid(UNIT)
    done = clean.run("mountwarden", "agent", check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        78,
        f"mountwarden: another agent runs already: process {first}",
    )
    assert clean.run("stat", "-c", "%a %U", LOCK).stdout == "600 root\n"
    assert clean.main_pid(UNIT) == first


def test_a_killed_agent_is_started_anew(clean: Machine) -> None:
    clean.run("systemctl", "start", UNIT)
    first = clean.main_pid(UNIT)
    clean.run("systemctl", "kill", "--signal=KILL", UNIT)
    wait_until(lambda: clean.main_pid(UNIT) not in (0, first), 30, "systemd starts it anew")
    wait_until(lambda: clean.show(UNIT, "ActiveState") == "active", 30, "it has the lock, and runs")


def test_a_command_waits_for_another_one_and_the_service_starts_meanwhile(clean: Machine) -> None:
    env = {"PYTHONPATH": "/usr/local/lib/mountwarden"}
    with clean.popen("/usr/bin/python3", "-c", HOLD, env=env) as acting:
        assert acting.stdout
        assert acting.stdout.readline() == b"Lock\n"
        clean.run("systemctl", "start", UNIT)
        clean.run("systemctl", "is-active", UNIT)
        os.killpg(acting.pid, signal.SIGKILL)
