"""The service's socket on a real systemd, by systemd's own varlinkctl: of today, and of the first that has it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import pytest

from tests.host.test_agent import UNIT, Service
from tests.support.fixtures import booted
from tests.support.leaks import OBSERVE
from tests.support.machine import Machine
from tests.support.packages import TODAY
from tests.support.wait import wait_until

FIRST = "trixie"
"""Of Debian's suites, whose systemd has varlinkctl."""
SOCKET = "/run/mountwarden/io.mountwarden"
LINK = "/run/varlink/registry/io.mountwarden"
SEPARATOR = "\x1e"
"""Begins each of many replies (RFC 7464)."""
INTERFACES = ["io.mountwarden", "io.systemd.Metrics", "org.varlink.service"]


@dataclass
class Varlinkctl:
    """One program, as some user."""

    host: Machine
    user: str | None = None

    def _command(self, *words: str) -> list[str]:
        become = ["runuser", "-u", self.user, "--"] if self.user else []
        return [*become, "varlinkctl", *words]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.host.run(*self._command(*words), check=check)

    def call(self, method: str, parameters: object = None, *, more: bool = False, at: str = SOCKET) -> list[Any]:
        """The parameters of each reply."""
        flags = ["--more"] if more else []
        done = self.run("call", "-j", *flags, at, self.name(method), json.dumps(parameters or {}))
        return [json.loads(line) for line in done.stdout.replace(SEPARATOR, "").splitlines() if line]

    def refused(self, method: str, parameters: object = None) -> str:
        """What it says of an error."""
        done = self.run("call", "-j", SOCKET, self.name(method), json.dumps(parameters or {}), check=False)
        assert done.returncode != 0
        return done.stdout + done.stderr

    def follow(self, method: str) -> "subprocess.Popen[bytes]":
        return self.host.popen(
            *self._command("call", "-j", "--more", "--timeout=infinity", SOCKET, self.name(method), "{}")
        )

    @staticmethod
    def name(method: str) -> str:
        return method if method.count(".") > 1 else f"io.mountwarden.{method}"


def version(host: Machine) -> int:
    """Of its systemd."""
    return int(host.run("systemctl", "--version").stdout.split()[1])


def reply(stream: IO[bytes]) -> Any:
    """The next one."""
    return json.loads(stream.readline().decode().replace(SEPARATOR, ""))


@pytest.fixture(scope="module", params=[TODAY, pytest.param(FIRST, marks=pytest.mark.long)])
def host(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with booted(request.param) as machine:
        machine.run("usermod", "-aG", "systemd-journal", "user")
        yield machine


@pytest.fixture(scope="module")
def service(host: Machine) -> Iterator[Service]:
    """The service, which observes."""
    one = Service(host)
    one.start(OBSERVE)
    yield one
    one.leaks.clean()
    host.run("systemctl", "stop", UNIT)


@pytest.fixture(scope="module")
def judge(service: Service) -> Varlinkctl:
    return Varlinkctl(service.host)


@pytest.fixture
def leak(service: Service) -> Iterator[dict[str, Any]]:
    """A leak that the service has confirmed, as its report has it."""
    mountpoint, unit = service.leaks.make("leaky-varlink")
    found = wait_until(lambda: [one for one in service.findings(mountpoint) if one["confirmed"]], 30, "it is confirmed")
    yield found[0]
    service.leaks.end(unit)
    wait_until(lambda: not service.findings(mountpoint), 30, "it is over")


def test_info_and_the_descriptions_are_what_systemd_takes_them_for(judge: Varlinkctl) -> None:
    info = json.loads(judge.run("info", "-j", SOCKET).stdout)
    assert (info["product"], info["interfaces"]) == ("mountwarden", INTERFACES)
    own = judge.run("introspect", SOCKET, "io.mountwarden")
    assert own.stderr == "", "varlinkctl parses a description, and complains of one that it can't parse"
    assert own.stdout.count("\nmethod ") == 7
    if version(judge.host) > 257:
        assert judge.run("introspect", SOCKET, "io.systemd.Metrics").stderr == "", "systemd 257 has no type any"
    assert judge.run("introspect", SOCKET, "org.varlink.service").stderr == ""


def test_report_status_explain_and_plan(judge: Varlinkctl, service: Service, leak: dict[str, Any]) -> None:
    before = time.time()
    (answer,) = judge.call("Report")
    report = answer["report"]
    assert [one["id"] for one in report["findings"] if one["mountpoint"] == leak["mountpoint"]] == [leak["id"]]
    assert report["agent"]["pid"] == service.host.main_pid(UNIT)
    taken = service.host.run("date", "+%s", "-d", report["taken"]).stdout
    assert int(taken) >= int(before), "it is of a scan that was made now"
    (status,) = judge.call("Status")
    stored = service.document("status")
    assert {**status["status"], **dict.fromkeys(("look", "acts"))} == {**stored, **dict.fromkeys(("look", "acts"))}
    (explained,) = judge.call("Explain", {"id": leak["id"][:8]})
    assert explained["explanation"]["cause"]["code"] == "mount-flags"
    assert explained["explanation"]["background"]["fix"]
    (planned,) = judge.call("Plan")
    by_id = {one["id"]: one["remedies"] for one in planned["plan"]}
    first = by_id[leak["id"]][0]
    assert (first["action"], bool(first["steps"])) == ("detach", True)
    assert "NoSuchFinding" in judge.refused("Explain", {"id": "mw-0000000000"})
    assert '{"parameter":"id"}' in judge.refused("Explain", {})
    assert '{"method":"Nothing"}' in judge.refused("Nothing")
    assert re.search("ExpectedMore|without 'more' flag", judge.refused("Watch"))


def test_a_snapshot_is_a_file_that_can_be_judged(judge: Varlinkctl, leak: dict[str, Any]) -> None:
    parts = judge.call("Snapshot", more=True)
    judge.host.write("/root/taken.json", "".join(one["part"] for one in parts))
    done = judge.host.run("mountwarden", "report", "--from", "/root/taken.json", "--json", check=False)
    assert leak["id"] in [one["id"] for one in json.loads(done.stdout)["findings"]]


def test_watch_tells_what_was_and_what_happens(judge: Varlinkctl) -> None:
    with judge.follow("Watch") as watch:
        assert watch.stdout
        try:
            first = reply(watch.stdout)
            judge.host.run("mountwarden", "pause", "--reason", "varlink")
            until = time.monotonic() + 20
            while (event := reply(watch.stdout))["event"]["event"] != "paused":
                assert time.monotonic() < until
        finally:
            os.killpg(watch.pid, signal.SIGKILL)
            judge.host.run("mountwarden", "resume")
    assert set(first["event"]) == {"at", "event", "finding", "text"}
    assert "varlink" in event["event"]["text"]


def test_metrics_are_those_of_systemds_own_interface(judge: Varlinkctl, leak: dict[str, Any]) -> None:
    values = judge.call("io.systemd.Metrics.List", more=True)
    families = {one["name"]: one["type"] for one in judge.call("io.systemd.Metrics.Describe", more=True)}
    assert {one["name"] for one in values} <= families.keys()
    (leaked,) = (
        one["value"]
        for one in values
        if one["name"] == "io.mountwarden.Findings"
        if one["fields"] == {"kind": "leaked", "engine": "custom", "severity": "warning"}
    )
    assert (leaked, families["io.mountwarden.Findings"]) == (1, "gauge")


def test_root_alone_acts_and_the_journal_says_for_whom(judge: Varlinkctl, service: Service) -> None:
    mountpoint, unit = service.leaks.make("leaky-act")
    found = wait_until(lambda: service.findings(mountpoint), 30, "it is found")[0]
    act = {"action": "detach", "ids": [found["id"]]}
    user = Varlinkctl(judge.host, "user")
    assert "io.mountwarden.NotAllowed" in user.refused("Act", act)
    assert user.call("Status")[0]["status"]["mode"] == "observe", "the journal's readers may read"
    assert "Permission denied" in Varlinkctl(judge.host, "nobody").refused("Status")
    ((dry,),) = (one["outcomes"] for one in judge.call("Act", act | {"dryRun": True}))
    assert (dry["code"], len(dry["steps"]) > 2) == ("dry-run", True)
    outcomes = [one["outcomes"] for one in judge.call("Act", act, more=True)]
    assert ([one["code"] for one in outcomes[0]], outcomes[1]) == (["done"], [])
    assert "merged" not in judge.host.read(f"/proc/{judge.host.main_pid(unit)}/mountinfo")
    (entry,) = service.events(f"MOUNTWARDEN_FINDING={found['id']}", event="acted")
    assert entry["MOUNTWARDEN_BY"].startswith("uid 0, pid ")
    assert entry["MOUNTWARDEN_BY"].endswith("(varlinkctl)")
    assert entry["_SYSTEMD_UNIT"] == UNIT
    service.leaks.end(unit)


def test_over_ssh_and_as_a_program_that_varlinkctl_starts(judge: Varlinkctl, service: Service) -> None:
    """ssh is a script here, that runs what it is given as the other host's shell would."""
    host = judge.host
    host.write(
        "/usr/local/bin/ssh", '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift 2; exec sh -c "$*"\n', 0o755
    )
    host.write("/usr/local/bin/mw-varlink", "#!/bin/sh\nexec /usr/local/bin/mountwarden varlink\n", 0o755)
    assert judge.call("Status", at="exec:/usr/local/bin/mw-varlink")[0]["status"]["pid"] == host.main_pid(UNIT)
    report = json.loads(host.run("mountwarden", "-H", "node7", "report", "--json", check=False).stdout)
    assert report["agent"]["pid"] == host.main_pid(UNIT)
    assert "running for" in host.run("mountwarden", "-H", "node7", "status").stdout
    done = host.run("runuser", "-u", "nobody", "--", "mountwarden", "-H", "node7", "status", check=False)
    assert (done.returncode, "only root and the group systemd-journal" in done.stderr) == (2, True)


FLOOD = """
import os, socket, time
os.setgroups([int(os.popen("getent group systemd-journal").read().split(":")[2])]); os.setgid(1000); os.setuid(1000)
calls = b'{"method":"org.varlink.service.GetInfo"}\\0' * 500
held, until = [], time.monotonic() + 6
while time.monotonic() < until:
    try:
        one = socket.socket(socket.AF_UNIX); one.setblocking(False); one.connect("/run/mountwarden/io.mountwarden")
        one.send(calls); one.send(b"[" * 200000); held.append(one)
    except OSError:
        pass
    held = held[-64:]
"""


def test_a_rude_user_neither_stops_root_nor_the_service(service: Service) -> None:
    """Connections without end, calls whose answers are not read, halves of calls, by one of the journal's readers."""
    host = service.host
    pid = host.main_pid(UNIT)

    def cost() -> float:
        fields = host.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / 100

    with host.popen("/usr/bin/python3", "-c", FLOOD) as rude:
        try:
            time.sleep(1)
            before, started, slowest = cost(), time.monotonic(), 0.0
            for _call in range(10):
                asked = time.monotonic()
                done = host.run("varlinkctl", "call", "-j", SOCKET, "io.mountwarden.Status", "{}", check=False)
                assert done.returncode == 0, done.stderr
                slowest = max(slowest, time.monotonic() - asked)
                time.sleep(0.2)
            share = (cost() - before) / (time.monotonic() - started)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(rude.pid, signal.SIGKILL)
    assert slowest < 2
    assert share < 0.5, "processor time"
    assert host.main_pid(UNIT) == pid
    peak = next(line for line in host.read(f"/proc/{pid}/status").splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < 120 << 10, peak


def test_clients_wake_no_scan_but_by_asking(service: Service) -> None:
    def scans() -> str:
        return str(
            service.host.run("varlinkctl", "call", "-j", SOCKET, "io.mountwarden.Report", '{"scan":false}').stdout
        )

    taken = {json.loads(scans())["report"]["taken"] for _call in range(20)}
    assert len(taken) <= 3, "20 calls within one second or two: a tick is a second or more"


def test_the_socket_is_replaced_after_a_kill_and_gone_after_a_stop(service: Service) -> None:
    host = service.host
    listed = host.run("stat", "-c", "%A %U %G", SOCKET).stdout.split()
    assert listed == ["srw-rw----", "root", "systemd-journal"]
    assert host.run("readlink", LINK).stdout.strip() == SOCKET
    pid = host.main_pid(UNIT)
    host.run("systemctl", "kill", "--signal=KILL", UNIT)
    wait_until(lambda: host.main_pid(UNIT) not in (0, pid), 30, "it was started again")
    service.scanned()
    assert json.loads(host.run("varlinkctl", "info", "-j", LINK).stdout)["product"] == "mountwarden"
    host.run("systemctl", "stop", UNIT)
    assert host.run("test", "-L", LINK, check=False).returncode == 1
    assert host.run("test", "-e", SOCKET, check=False).returncode == 1
    host.write("/usr/local/bin/mw-varlink", "#!/bin/sh\nexec /usr/local/bin/mountwarden varlink\n", 0o755)
    done = host.run("varlinkctl", "call", "exec:/usr/local/bin/mw-varlink", "io.mountwarden.Status", "{}", check=False)
    assert "io.mountwarden.NotRunning" in done.stderr
    host.run("systemctl", "start", UNIT)
