"""The service on a real systemd: its start, its reload, its ends, and what it says."""

import errno
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mountwarden.kernel import abi

from tests.support import tiers
from tests.support.leaks import CONFIG, OBSERVE, Leaks
from tests.support.looked import await_look
from tests.support.machine import Machine
from tests.support.wait import wait_until

UNIT = "mountwarden.service"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/test.conf"
SETTINGS = "/etc/mountwarden/mountwarden.toml"
START_LIMIT = 30
"""Seconds: the unit's TimeoutStartSec=. A starved machine needs more than 10 to be ready; nobody waits for longer."""
CATALOG = Path(__file__).parents[2] / "packaging/catalog/mountwarden.catalog"


class Service:
    """mountwarden.service on a test host."""

    def __init__(self, host: Machine) -> None:
        self.host = host
        self.leaks = Leaks(host)

    def configure(self, text: str) -> None:
        """Write the configuration."""
        self.host.write(SETTINGS, text)

    def drop_in(self, text: str) -> None:
        """Give the unit other settings."""
        self.host.write(DROP_IN, f"[Service]\n{text}\n")
        self.host.run("systemctl", "daemon-reload")

    def start(self, text: str = CONFIG) -> None:
        """Start with this configuration, and wait for the first look."""
        self.leaks.prepare()
        self.configure(text)
        self.host.run("systemctl", "start", UNIT)
        self.scanned()

    def scanned(self) -> None:
        """Wait until the running service has published a look."""
        pid = self.host.main_pid(UNIT)
        wait_until(lambda: (self.document("report")["agent"] or {}).get("pid") == pid, 30, "a report of this process")

    def document(self, name: str) -> Any:
        """A file of /run/mountwarden; empty while there is none."""
        text = self.host.run("cat", f"/run/mountwarden/{name}.json", check=False).stdout
        return json.loads(text) if text else {"agent": None, "findings": []}

    def findings(self, mountpoint: str) -> list[dict[str, Any]]:
        """What the report says of a mountpoint."""
        return [one for one in self.document("report")["findings"] if one["mountpoint"] == mountpoint]

    def events(self, *matches: str, event: str | None = None) -> list[dict[str, Any]]:
        """The service's journal entries of this module's boot."""
        more = [f"MOUNTWARDEN_EVENT={event}"] if event else []
        return self.host.journal("SYSLOG_IDENTIFIER=mountwarden", *more, *matches)

    def await_event(self, event: str, mountpoint: str, timeout: float = 30) -> dict[str, Any]:
        """The entry of this event for a mountpoint, once it is there."""
        match = f"MOUNTWARDEN_MOUNTPOINT={mountpoint}"
        return wait_until(lambda: self.events(match, event=event), timeout, f"{event} of {mountpoint}")[0]

    def make_seen(self, unit: str) -> tuple[str, str]:
        """A new leak whose mount the service saw at home before: only then it has the history to act on."""
        layer, mounted = self.leaks.mount(), time.time()
        await_look(self.host, mounted)
        return f"{layer}/merged", self.leaks.leak(layer, unit)

    def status_text(self) -> str:
        """What systemctl status shows of it."""
        return self.host.show(UNIT, "StatusText")

    def reset(self) -> None:
        """As before the first start."""
        self.host.run("systemctl", "stop", UNIT)
        self.host.run("systemctl", "reset-failed", check=False)
        self.leaks.clean()
        self.host.run("rm", "-rf", f"/etc/systemd/system/{UNIT}.d", "/etc/mountwarden", "/run/mountwarden")
        self.host.run("systemctl", "daemon-reload")


@pytest.fixture
def service(host: Machine) -> Iterator[Service]:
    """The installed service, stopped; put back afterwards."""
    one = Service(host)
    yield one
    one.reset()


def test_the_unit_is_clean_and_not_exposed(host: Machine) -> None:
    for unit, most in ((UNIT, 4.7), ("mountwarden-graphdriver.service", 4.5)):
        verified = host.run("systemd-analyze", "verify", "--man=no", unit)
        assert (verified.stdout, verified.stderr) == ("", "")
        text = host.run("systemd-analyze", "security", "--no-pager", unit).stdout
        (level,) = re.findall(r"Overall exposure level for .*: ([0-9.]+) ", text)
        assert float(level) <= most, unit
        settings = {"OOMPolicy": "continue", "LimitCORE": "0", "MemorySwapMax": "0", "UMask": "0077"}
        assert {name: host.show(unit, name) for name in settings} == settings
        assert host.show(unit, "MemoryMax") != "infinity"
        assert host.show(unit, "StartLimitIntervalUSec") == "0"


def test_the_one_directive_that_it_can_t_have_is_still_a_reason_not_to(host: Machine) -> None:
    """RestrictSUIDSGID= refuses openat2(2) as a whole, by which an action makes sure of the directory."""
    call = "import ctypes; print(ctypes.CDLL(None, use_errno=True).syscall(437, 0, 0, 0, 0), ctypes.get_errno())"
    words = ("--quiet", "--pipe", "--wait", "--property=RestrictSUIDSGID=yes", "python3", "-c", call)
    assert host.run("systemd-run", *words).stdout == f"-1 {errno.ENOSYS}\n"
    assert host.show(UNIT, "RestrictSUIDSGID") == "no"


def test_it_lives_in_pid_1s_mount_namespace(service: Service) -> None:
    service.start()
    pid = service.host.main_pid(UNIT)
    assert (
        service.host.run("readlink", f"/proc/{pid}/ns/mnt").stdout
        == service.host.run("readlink", "/proc/1/ns/mnt").stdout
    )


def test_ready_comes_first_then_a_look_and_then_the_bus(service: Service) -> None:
    service.drop_in(
        "ExecStart=\n"
        "ExecStart=/usr/bin/strace -D -s 64 -e trace=openat,readlink,connect,sendto,sendmsg -o /tmp/trace "
        "/usr/local/bin/mountwarden agent\n"
        "SystemCallFilter=\nWatchdogSec=0"
    )
    service.start()
    wait_until(lambda: "dbus/system_bus" in service.host.read("/tmp/trace"), 30, "it connects to the bus")
    lines = service.host.read("/tmp/trace").splitlines()
    ready = next(number for number, line in enumerate(lines) if "READY=1" in line)
    other = [number for number, line in enumerate(lines) if re.search(r'"/proc/[1-9][0-9]*/(ns|stat|comm)', line)]
    scans = [number for number in other if '"/proc/1/ns/mnt"' not in lines[number]]
    bus = [number for number, line in enumerate(lines) if "/systemd/private" in line or "dbus/system_bus" in line]
    assert scans, "the trace shows no look at all"
    assert ready < min(scans) < min(bus)
    published = next(number for number, line in enumerate(lines) if "STATUS=" in line and number > ready)
    assert published < min(bus), "the first look is all over"


@pytest.mark.long
def test_a_stopped_start_holds_nobody_up(service: Service) -> None:
    host = service.host
    service.drop_in("ExecStart=\nExecStart=/bin/sh -c 'kill -STOP $$$$; exec /usr/local/bin/mountwarden agent'")
    started = time.monotonic()
    host.write("/etc/default/docker", 'DOCKER_OPTS="--iptables=false --bridge=none"\n')
    host.run("systemctl", "start", "--no-block", UNIT, "docker.service")
    try:
        wait_until(lambda: host.show("docker.service", "ActiveState") == "active", 60, "docker is active")
        assert START_LIMIT - 1 < time.monotonic() - started < START_LIMIT + 10
    finally:
        host.stop_docker()


def test_a_failing_start_holds_nobody_up(service: Service) -> None:
    host = service.host
    service.configure("nonsense = 1\n")
    started = time.monotonic()
    try:
        host.run("systemctl", "start", UNIT, "docker.service", check=False)
        wait_until(lambda: host.show("docker.service", "ActiveState") == "active", 30, "docker is active")
        assert time.monotonic() - started < 10
        assert host.show(UNIT, "ExecMainStatus") == "78"
        assert host.show(UNIT, "NRestarts") == "0"
    finally:
        host.stop_docker()


@pytest.mark.parametrize("setting", ["PrivateTmp=yes", "ProtectSystem=full", "ReadOnlyPaths=/srv"])
def test_it_refuses_a_mount_namespace_of_its_own_and_names_the_directive(service: Service, setting: str) -> None:
    service.drop_in(setting)
    service.host.run("systemctl", "start", UNIT, check=False)
    assert service.host.show(UNIT, "ExecMainStatus") == "78"
    assert service.host.show(UNIT, "NRestarts") == "0"
    said = [line["MESSAGE"] for line in service.host.journal("-u", UNIT) if "not in PID 1" in line["MESSAGE"]]
    assert said[-1] == (
        f"mountwarden: the agent is not in PID 1's mount namespace: {setting} ({DROP_IN}, line 2) of its unit "
        "gave it one of its own"
    )


def test_a_reload_takes_a_good_configuration_and_keeps_the_old_one_for_a_bad(service: Service) -> None:
    service.start(CONFIG)
    assert service.document("report")["mode"] == "act"
    service.configure(OBSERVE)
    service.host.run("systemctl", "reload", UNIT)
    wait_until(lambda: service.document("report")["mode"] == "observe", 30, "the new mode")
    wait_until(lambda: "only observing" in service.status_text(), 30, "the new mode in STATUS")
    service.configure("mode = 'obsreve'\n")
    service.host.run("systemctl", "reload", UNIT)
    wait_until(lambda: "old configuration kept" in service.status_text(), 30, "STATUS says so")
    (told, *_) = service.events(event="config-kept")
    assert "obsreve" in told["MESSAGE"]
    assert service.document("report")["mode"] == "observe"
    assert service.host.show(UNIT, "ActiveState") == "active"
    service.configure(CONFIG)
    wait_until(lambda: service.document("report")["mode"] == "act", 30, "the corrected file, without a reload")
    wait_until(lambda: "kept" not in service.status_text(), 30, "STATUS is quiet again")


def test_a_leak_is_found_acted_on_and_cleared_and_its_owner_sees_it(service: Service) -> None:
    service.start()
    mountpoint, unit = service.make_seen("leaky-told")
    started = time.monotonic()
    found = service.await_event("found", mountpoint)
    acted = service.await_event("acted", mountpoint)
    cleared = service.await_event("cleared", mountpoint)
    assert time.monotonic() - started < 6
    assert {one["MOUNTWARDEN_FINDING"] for one in (found, acted, cleared)} == {found["MOUNTWARDEN_FINDING"]}
    assert found["MOUNTWARDEN_HOLDER"] == unit
    assert found["MOUNTWARDEN_CAUSE"] != "not known"
    assert acted["MOUNTWARDEN_ACTION"] == "detach"
    assert {"MOUNTWARDEN_SAW", "MOUNTWARDEN_DID", "MOUNTWARDEN_VERIFIED"} <= acted.keys()
    of_the_unit = [line.get("MESSAGE_ID") for line in service.host.journal("-u", unit)]
    assert {one["MESSAGE_ID"] for one in (found, acted, cleared)} <= set(of_the_unit)
    history = json.loads(service.host.run("mountwarden", "history", "--json", found["MOUNTWARDEN_FINDING"]).stdout)
    assert [entry["event"] for entry in history["history"]] == ["found", "acted", "cleared"]
    status = json.loads(service.host.run("mountwarden", "status", "--json").stdout)
    assert status["acts"][-1]["finding"] == found["MOUNTWARDEN_FINDING"]
    assert status["running"]


def test_the_catalog_explains_the_entry(service: Service) -> None:
    service.host.copy_in(CATALOG, "/usr/local/lib/systemd/catalog/mountwarden.catalog")
    service.host.run("journalctl", "--update-catalog")
    service.start(OBSERVE)
    mountpoint, unit = service.leaks.make("leaky-catalog")
    found = service.await_event("found", mountpoint)
    text = service.host.run(
        "journalctl", "-x", "--no-pager", f"MOUNTWARDEN_EVENT_ID={found['MOUNTWARDEN_EVENT_ID']}"
    ).stdout
    assert f"Found: leaked at {mountpoint}" in text
    assert f"mountwarden explain {found['MOUNTWARDEN_FINDING']}" in text
    assert unit in text
    assert "@" not in text.partition("A mount of")[2]


def test_stop_and_start_keep_the_ledger(service: Service) -> None:
    service.start(OBSERVE)
    mountpoint, unit = service.leaks.make("leaky-kept")
    found = service.await_event("found", mountpoint)
    (before,) = service.findings(mountpoint)
    service.host.run("systemctl", "stop", UNIT)
    service.host.run("systemctl", "start", UNIT)
    service.scanned()
    wait_until(lambda: [one for one in service.findings(mountpoint) if one["confirmed"]], 30, "still confirmed")
    assert service.findings(mountpoint)[0]["since"] == before["since"]
    service.leaks.end(unit)
    service.await_event("cleared", mountpoint)
    matches = f"MOUNTWARDEN_FINDING={found['MOUNTWARDEN_FINDING']}"
    assert [one["MOUNTWARDEN_EVENT"] for one in service.events(matches)] == ["found", "cleared"]


def test_what_ends_while_the_service_is_stopped_is_cleared_at_its_start(service: Service) -> None:
    service.start(OBSERVE)
    mountpoint, unit = service.leaks.make("leaky-away")
    service.await_event("found", mountpoint)
    service.host.run("systemctl", "stop", UNIT)
    service.leaks.end(unit)
    service.host.run("systemctl", "start", UNIT)
    service.await_event("cleared", mountpoint)


def test_a_pause_stops_acts_and_resume_lets_them_go_on(service: Service) -> None:
    service.start()
    service.host.run("mountwarden", "pause", "--for", "1h", "--reason", "storage migration")
    wait_until(lambda: "paused until" in service.status_text(), 30, "STATUS says so")
    (told,) = service.events(event="paused")
    assert "storage migration" in told["MESSAGE"]
    mountpoint, _unit = service.make_seen("leaky-paused")
    service.await_event("found", mountpoint)
    (one,) = wait_until(lambda: service.findings(mountpoint), 30, "it is in the report")
    assert (one["remedies"][0]["action"], one["remedies"][0]["automatic"]) == ("detach", False)
    assert service.events(f"MOUNTWARDEN_MOUNTPOINT={mountpoint}", event="acted") == []
    assert "storage migration" in service.host.run("mountwarden", "status").stdout
    service.host.run("mountwarden", "resume")
    service.await_event("acted", mountpoint)
    service.await_event("cleared", mountpoint)
    assert len(service.events(event="resumed")) == 1


def test_a_silenced_finding_is_not_told_and_not_acted_on(service: Service) -> None:
    service.start(OBSERVE + "[confirm]\nlayer = 3\n")
    mountpoint, unit = service.leaks.make("leaky-silenced")
    (one,) = wait_until(lambda: service.findings(mountpoint), 30, "it is in the report")
    service.host.run("mountwarden", "silence", one["id"], "--for", "1h", "--reason", "known")
    wait_until(lambda: [f for f in service.findings(mountpoint) if f["silenced"] and f["confirmed"]], 30, "silenced")
    service.configure(CONFIG)
    service.host.run("systemctl", "reload", UNIT)
    wait_until(lambda: service.document("report")["mode"] == "act", 30, "the mode is act")
    assert service.findings(mountpoint)
    service.leaks.end(unit)
    wait_until(lambda: not service.findings(mountpoint), 30, "it is over")
    assert service.events(f"MOUNTWARDEN_FINDING={one['id']}") == []


def test_the_watchdog_ends_a_hanging_service_and_it_comes_back(service: Service) -> None:
    service.drop_in("WatchdogSec=2\nWatchdogSignal=SIGKILL")
    service.start()
    pid = service.host.main_pid(UNIT)
    service.host.run("kill", "-STOP", str(pid))
    wait_until(lambda: service.host.main_pid(UNIT) not in (0, pid), 30, "another process serves")
    assert service.host.show(UNIT, "NRestarts") == "1"
    service.scanned()


def test_a_working_service_feeds_its_watchdog(service: Service) -> None:
    service.drop_in("WatchdogSec=2")
    service.start()
    pid, at = service.host.main_pid(UNIT), time.monotonic()
    wait_until(lambda: time.monotonic() - at > 4.5, 20, "two watchdog times went by")
    assert service.host.main_pid(UNIT) == pid


def test_the_report_is_for_the_journals_readers(service: Service) -> None:
    service.start()
    for name in ("report", "status"):
        path = f"/run/mountwarden/{name}.json"
        assert service.host.run("stat", "-c", "%a %U:%G", path).stdout == "640 root:systemd-journal\n"
    assert service.host.run("stat", "-c", "%a", "/run/mountwarden/ledger.json").stdout == "600\n"
    assert service.host.run("stat", "-c", "%a", "/run/mountwarden").stdout == "755\n"


@pytest.mark.long
def test_nothing_grows_with_looks_and_leaks(service: Service) -> None:
    service.start("tick = 0.1\n" + CONFIG)

    def descriptors() -> Counter[str]:
        pid = service.host.main_pid(UNIT)
        return Counter(service.host.run("sh", "-c", f"readlink /proc/{pid}/fd/* | sed 's/[0-9]*//g'").stdout.split())

    def leak(number: int) -> None:
        mountpoint, unit = service.make_seen(f"leaky-grow-{number}")
        service.await_event("cleared", mountpoint)
        service.leaks.end(unit)

    leak(0)
    before = descriptors()
    for number in (1, 2, 3):
        leak(number)
    assert wait_until(lambda: not descriptors() - before, 30), descriptors()  # `before` may hold what a look had open
    group = service.host.show(UNIT, "ControlGroup")
    procs = f"/sys/fs/cgroup{group}/cgroup.procs"
    what = "no child but the one that enters namespaces and the one that asks what lives"
    wait_until(lambda: len(service.host.read(procs).split()) <= 3, 30, what)


def test_sigterm_ends_it_with_success(service: Service) -> None:
    service.start()
    started = time.monotonic()
    service.host.run("systemctl", "stop", UNIT)
    assert time.monotonic() - started < 10, "systemd would kill it after 20 s"
    assert service.host.show(UNIT, "Result") == "success"
    shown = service.host.run("mountwarden", "status", check=False)
    assert (shown.returncode, "not running" in shown.stdout) == (1, True)


def test_it_has_the_command_line_s_tier_under_its_own_filter_and_capabilities(service: Service) -> None:
    service.start(OBSERVE)
    told = json.loads(service.host.run("mountwarden", "report", "--json", "--no-wait", check=False).stdout)
    status = service.document("status")
    assert status["tier"] == service.document("report")["tier"] == told["tier"] == tiers.available()[0]


def _filter(host: Machine) -> str:
    """The deny-list that systemd made of the unit's settings."""
    shown = host.run("systemctl", "show", UNIT, "--property=SystemCallFilter").stdout
    assert shown.startswith("SystemCallFilter=~"), "an allow-list can't name new system calls"
    return shown


def test_its_filter_lets_ustat_through_alone_of_the_obsolete_calls(service: Service) -> None:
    calls = set(_filter(service.host).removeprefix("SystemCallFilter=~").split())
    assert "ustat" not in calls
    assert {"sysfs", "uselib", "swapon", "reboot", "kexec_load"} <= calls
    service.start(OBSERVE)
    status = json.loads(service.host.run("mountwarden", "status", "--json").stdout)
    if os.uname().machine in abi.NR_ustat:
        assert (status["superblock_test"], status["superblock_test_reason"]) == ("ustat", "ustat(2) works")
        assert "umounts  checked by ustat" in service.host.run("mountwarden", "status").stdout
        doctor = json.loads(service.host.run("mountwarden", "doctor", "--json", "--no-canary", check=False).stdout)
        assert doctor["superblock_test"] == "ustat"
        assert any("the service asks ustat(2)" in check["text"] for check in doctor["checks"])


def test_where_ustat_is_forbidden_inotify_stands_in_and_leaks_are_found(service: Service) -> None:
    service.drop_in("SystemCallFilter=~ustat")
    assert " ustat" in _filter(service.host)
    service.start()
    status = json.loads(service.host.run("mountwarden", "status", "--json").stdout)
    assert status["superblock_test"] == "inotify"
    assert "ustat" in status["superblock_test_reason"]
    doctor = json.loads(service.host.run("mountwarden", "doctor", "--json", "--no-canary", check=False).stdout)
    (check,) = [one for one in doctor["checks"] if one["id"] == "kernel.superblock-test"]
    assert check["text"].startswith("the service asks inotify(7)")
    mountpoint, _unit = service.make_seen("forbidden")
    service.await_event("found", mountpoint)
    service.await_event("acted", mountpoint)


def test_a_tier_that_is_asked_for_is_used_from_the_next_reload_on(service: Service) -> None:
    service.start(f'tier = "mountinfo"\n{OBSERVE}')
    assert service.document("status")["tier_reason"] == "asked for"
    service.configure(f'tier = "statmount"\n{OBSERVE}')
    service.host.run("systemctl", "reload", UNIT)
    wait_until(lambda: service.document("report")["tier"] == "statmount", 30, "the report names it")
