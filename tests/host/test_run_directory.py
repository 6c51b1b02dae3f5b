"""The directory of the running service: full from the start, full later, covered; and restarts in a row."""

import itertools
import json
import time
from collections.abc import Iterator

import pytest

from tests.host.test_agent import UNIT, Service
from tests.support.leaks import OBSERVE
from tests.support.machine import Machine
from tests.support.wait import wait_until

RUN = "/run/mountwarden"


@pytest.fixture
def service(host: Machine) -> Iterator[Service]:
    one = Service(host)
    yield one
    host.run(
        "sh", "-c", f"umount -l {RUN} 2>/dev/null; rm -rf /run/fill; mount -o remount,size=50%,nr_inodes=800k /run"
    )
    one.reset()


_FILL = """
import sys
for number in range(3000):
    open(f"/run/fill/{sys.argv[1]}-{number}", "w").close()
    print("one more")
"""


def fill(host: Machine) -> None:
    """/run with neither space nor inodes, also once systemd has removed what it had there for the commands."""
    host.run("sh", "-c", "mkdir -p /run/fill; mount -o remount,size=16m,nr_inodes=2000 /run")
    host.run("sh", "-c", "cat /dev/zero >/run/fill/all", check=False)
    again = itertools.count()

    def is_full() -> bool:
        done = host.run("python3", "-c", _FILL, str(next(again)), check=False)
        return not done.stdout and "No space left on device" in done.stderr

    wait_until(is_full, 30, "no inode is left")


def empty(host: Machine) -> None:
    host.run("sh", "-c", "rm -rf /run/fill")


def report(host: Machine) -> str:
    """As it is shown, in one line."""
    return " ".join(host.run("mountwarden", "report", check=False).stdout.split())


def lines(service: Service, text: str) -> list[str]:
    return [one["MESSAGE"] for one in service.host.journal("-u", UNIT) if text in str(one["MESSAGE"])]


def test_a_leak_is_detached_though_run_is_full_and_that_is_said_once(service: Service) -> None:
    host = service.host
    service.start()
    layer = service.leaks.mount()
    mountpoint = f"{layer}/merged"
    service.leaks.units.add(host.unit("leaky-seen", "PrivateTmp=yes", "MountFlags=private"))
    _sleep(2)
    fill(host)
    host.run("umount", mountpoint)
    begun = service.await_event("begun", mountpoint)
    acted = service.await_event("acted", mountpoint)
    service.await_event("cleared", mountpoint)
    assert int(begun["__REALTIME_TIMESTAMP"]) < int(acted["__REALTIME_TIMESTAMP"])
    assert "can't be written: No space left on device" in service.status_text()
    assert "unsaved" in host.run("mountwarden", "status").stdout
    paused = host.run("mountwarden", "pause", check=False)
    assert (paused.returncode, len(paused.stderr.splitlines())) == (2, 1), paused.stderr
    assert "No space left" in paused.stderr
    assert len(lines(service, "going on without: No space left on device")) == 1
    pid = host.main_pid(UNIT)
    empty(host)
    wait_until(lambda: lines(service, "can be written again"), 30, "it says that it can")
    wait_until(lambda: "can't be written" not in service.status_text(), 30, "STATUS is as ever")
    assert (host.main_pid(UNIT), host.show(UNIT, "NRestarts")) == (pid, "0")
    assert service.document("ledger")["ledger"]["entries"] == []


def test_it_starts_where_run_is_full_already(service: Service) -> None:
    host = service.host
    host.run("mkdir", "-p", RUN)
    service.leaks.prepare()
    service.configure(OBSERVE)
    mountpoint, _unit = service.leaks.make("leaky-first")
    fill(host)
    host.run("systemctl", "start", UNIT)
    service.await_event("found", mountpoint)
    second = host.run("/usr/local/bin/mountwarden", "agent", check=False)
    assert (second.returncode, "another agent runs already" in second.stderr) == (78, True), second.stderr
    assert host.show(UNIT, "NRestarts") == "0"
    assert "mountwarden.service runs, and has no socket in /run/mountwarden" in report(host)
    empty(host)
    wait_until(lambda: service.document("report")["findings"], 30, "the report is there")
    wait_until(lambda: "no socket" not in report(host), 30, "its socket came with the space")
    assert "is not running" not in report(host)


def test_what_is_mounted_over_the_directory_hides_no_pause_and_lets_no_second_agent_in(service: Service) -> None:
    host = service.host
    service.start()
    host.run("mountwarden", "pause", "--reason", "kept")
    wait_until(lambda: "paused" in service.status_text(), 30, "it is paused")
    host.run("mount", "-t", "tmpfs", "over", RUN)
    wait_until(lambda: "something is mounted over" in service.status_text(), 30, "STATUS says so")
    assert "paused" in service.status_text()
    mountpoint, _unit = service.leaks.make("leaky-covered")
    service.await_event("found", mountpoint)
    for words in (("pause",), ("resume",), ("status",), ("detach", "--all", "--yes"), ("agent",)):
        said = host.run("mountwarden", *words, check=False)
        assert (said.returncode, "something is mounted over /run/mountwarden" in said.stderr) == (2, True), said.stderr
    assert "something is mounted over /run/mountwarden" in report(host)
    assert host.run("sh", "-c", f"ls -A {RUN}").stdout == ""
    host.run("umount", RUN)
    wait_until(lambda: "mounted over" not in service.status_text(), 30, "it is back")
    assert json.loads(host.run("mountwarden", "status", "--json").stdout)["paused"]["reason"] == "kept"
    host.run("mountwarden", "resume")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_thirty_kills_under_load_cost_what_starts_cost_and_the_budget(service: Service) -> None:
    """A start's own cost is that of one that may not scan."""
    host = service.host
    service.drop_in("RestartSec=100ms\nCPUAccounting=yes")
    service.start(OBSERVE)
    host.run("systemctl", "stop", UNIT)
    boot = host.read("/proc/sys/kernel/random/boot_id").strip()
    owed = {"schema": "mountwarden.budget/1", "boot_id": boot, "debt": 99.0}
    host.write(f"{RUN}/budget.json", json.dumps({**owed, "at": time.clock_gettime(time.CLOCK_BOOTTIME) - 1}))
    host.run("systemctl", "start", UNIT)
    _sleep(3)
    start = int(host.show(UNIT, "CPUUsageNSec")) / 1e9
    host.run("systemctl", "stop", UNIT)
    host.run("rm", "-f", f"{RUN}/budget.json")
    load = host.unit("load", "Type=exec", command=("sh", "-c", "while :; do mount -t tmpfs x /mnt; umount /mnt; done"))
    host.run("systemctl", "start", UNIT)
    began, used = time.monotonic(), 0.0
    for _number in range(30):
        pid = wait_until(lambda: host.main_pid(UNIT), 10, "it was started again")
        _sleep(1)
        used += int(host.show(UNIT, "CPUUsageNSec")) / 1e9
        host.run("kill", "-KILL", str(pid))
        wait_until(lambda: host.main_pid(UNIT) != pid, 10, "it has ended")  # noqa: B023
    took = time.monotonic() - began
    host.run("systemctl", "stop", load)
    print(f"30 runs in {took:.0f} s: {used:.2f} s of processor time, a start alone {start:.2f} s")
    assert used <= 30 * (start + 0.05) + 0.6 + took / 70 * 2


def _sleep(seconds: float) -> None:
    """What is measured is how time passes."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, seconds + 1)
