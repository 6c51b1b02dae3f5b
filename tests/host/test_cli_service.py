"""The commands beside the running service: watch is told what happens, report is what the service says."""

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.machine import Machine
from tests.support.wait import wait_until

ROOT = "/srv/layers"
MERGED = f"{ROOT}/one/merged"
CONFIG = 'mode = "{}"\n[[root]]\npath = "/srv/layers"\nkind = "graph"\n'
MAKE = f"""
set -e; mkdir -p {ROOT}; mount -t tmpfs -o mode=755 layers {ROOT}; mount --make-shared {ROOT}
cd {ROOT}; mkdir -p one/lower one/upper one/work one/merged
mount -t overlay overlay -o lowerdir=one/lower,upperdir=one/upper,workdir=one/work one/merged
"""


@pytest.fixture
def mode() -> str:
    """What the service may do."""
    return "act"


@pytest.fixture
def service(host: Machine, mode: str) -> Iterator[Machine]:
    """The service, running and with its first report written, and a layer that leaky.service has a private copy of."""
    host.write("/etc/mountwarden/mountwarden.toml", CONFIG.format(mode))
    host.run("sh", "-c", MAKE)
    host.run("systemctl", "start", "mountwarden")
    unit = host.unit("leaky", "PrivateTmp=yes", "MountFlags=private")
    wait_until(lambda: stored(host)["summary"]["namespaces"] > 1, 30, "the first report")
    yield host
    host.run("systemctl", "stop", "mountwarden", unit)
    host.run(
        "sh", "-c", f"umount -l {MERGED} 2>/dev/null; umount -l {ROOT}; rm -r {ROOT} /etc/mountwarden /run/mountwarden"
    )


def stored(host: Machine) -> Any:
    text = host.run("cat", "/run/mountwarden/report.json", check=False).stdout
    return json.loads(text) if text else {"summary": {"namespaces": 0}, "findings": []}


def test_watch_follows_the_service(service: Machine) -> None:
    with service.popen("mountwarden", "watch", "--json", "-n", "1") as watch:
        assert watch.stdout
        try:
            assert json.loads(watch.stdout.readline())["event"], "the last one comes first: the service tells us now"
            service.run("umount", MERGED)
            # Where the umount is late, it ends a finding that the copy was severed.
            lines = (json.loads(line) for line in watch.stdout)
            told = list(itertools.islice((one for one in lines if "severed" not in one["text"]), 3))
        finally:
            os.killpg(watch.pid, signal.SIGINT)
    assert [one["event"] for one in told] == ["found", "acted", "cleared"]
    assert len({one["finding"] for one in told}) == 1
    assert "leaky.service" in told[0]["text"]
    wait_until(lambda: service.run("pgrep", "-x", "journalctl", check=False).returncode == 1, 30, "nothing is left")


def until(watch: "subprocess.Popen[bytes]", event: str) -> dict[str, Any]:
    """The next line of watch that tells of this event."""
    assert watch.stdout
    for line in watch.stdout:
        if (told := json.loads(line))["event"] == event:
            return dict(told)
    raise AssertionError(f"watch ended without {event}")


@pytest.mark.long
def test_watch_shows_pauses_acts_and_with_verbose_mounts(service: Machine) -> None:
    with service.popen("mountwarden", "watch", "--json", "--verbose", "-n", "0") as watch:
        assert watch.stdout
        try:
            wait_until(lambda: service.run("pgrep", "-x", "journalctl", check=False).returncode == 0, 30)
            service.run("mountwarden", "pause", "--reason", "a migration")
            assert "a migration" in until(watch, "paused")["text"]
            service.run("mountwarden", "resume")
            until(watch, "resumed")
            service.run("umount", MERGED)
            told = [until(watch, event) for event in ("unmounted", "found", "acted")]
            cleared = until(watch, "cleared")
            service.run("mount", "-t", "tmpfs", "none", "/mnt")
            came = until(watch, "mounted")
            service.run("umount", "/mnt")
            went = until(watch, "unmounted")
        finally:
            os.killpg(watch.pid, signal.SIGINT)
    assert told[0]["text"].startswith(f"{MERGED}: overlay ")
    assert told[1]["finding"] == told[2]["finding"] == cleared["finding"]
    assert came["text"].startswith("/mnt: tmpfs ")
    assert went["text"] == came["text"]
    wait_until(lambda: service.run("pgrep", "-x", "journalctl", check=False).returncode == 1, 30, "nothing is left")


@pytest.mark.long
def test_watch_shows_mounts_without_the_service_too(service: Machine) -> None:
    service.run("systemctl", "stop", "mountwarden")
    with service.popen("mountwarden", "watch", "--json", "--verbose") as watch:
        assert watch.stdout
        assert watch.stderr
        try:
            assert b"scanning each" in watch.stderr.readline()
            service.run("umount", MERGED)
            told = [json.loads(watch.stdout.readline()) for _event in range(2)]
        finally:
            os.killpg(watch.pid, signal.SIGINT)
    assert [one["event"] for one in told] == ["unmounted", "found"]


@pytest.mark.parametrize("mode", ["observe"])
def test_report_goes_by_what_the_service_has_seen(service: Machine, mode: str) -> None:
    service.run("umount", MERGED)
    wait_until(lambda: any(one["confirmed"] for one in stored(service)["findings"]), 30, "the service has confirmed it")
    (known,) = stored(service)["findings"]
    done = service.run("mountwarden", "report", "--json", "--no-wait", check=False)
    (found,) = json.loads(done.stdout)["findings"]
    assert done.returncode == 1, "no second look is needed"
    assert (found["id"], found["since"], found["confirmed"]) == (known["id"], known["since"], True)
    assert json.loads(done.stdout)["mode"] == "observe"


@pytest.mark.parametrize("mode", ["observe"])
def test_a_pause_and_a_silence_show_in_report(service: Machine, mode: str) -> None:
    service.run("umount", MERGED)
    service.run("mountwarden", "pause", "--reason", "a test")
    assert "actions are paused: mountwarden resume" in service.run("mountwarden", "report", check=False).stdout
    service.run("mountwarden", "resume")
    (found,) = json.loads(service.run("mountwarden", "report", "--json", check=False).stdout)["findings"]
    service.run("mountwarden", "silence", found["id"], "--for", "1h", "--reason", "known")
    assert service.run("mountwarden", "report", check=False).returncode == 0
