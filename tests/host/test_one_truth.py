"""One truth on a real systemd: what the service tells the journal, every command tells, and what it prints works."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from mountwarden.escape import seconds

from tests.support.machine import Machine
from tests.support.wait import wait_until
from tests.support.wrongs import SETTINGS, Wrongs

pytestmark = pytest.mark.timeout(240)

KINDS = ("leaked", "volume", "severed", "private_root", "pinned", "orphaned", "stacked")
READER = "reader"
STOPPED = "mountwarden.service is not running"


@pytest.fixture
def wrongs(host: Machine) -> Iterator[Wrongs]:
    """A host with a guarded root, its service, and a user who may read the journal."""
    host.write("/etc/mountwarden/mountwarden.toml", SETTINGS)
    host.run("useradd", "--groups", "systemd-journal", READER, check=False)
    made = Wrongs(host, lambda: seen(host))
    host.run("systemctl", "start", "mountwarden")
    seen(host)
    yield made
    host.run("systemctl", "kill", "-s", "CONT", "mountwarden", check=False)
    host.run("systemctl", "stop", "mountwarden")
    made.clean()
    host.run("rm", "-rf", "/etc/mountwarden")


def seen(host: Machine) -> None:
    """Wait for a scan of the service that begins after now."""
    started = time.time()
    wait_until(lambda: seconds(report(host)["taken"]) > started, 30, "the service has scanned")


def mountwarden(host: Machine, *words: str, user: str = "root") -> tuple[int, str]:
    """Its exit status, and what it printed."""
    done = host.run("runuser", "-u", user, "--", "mountwarden", *words, check=False)
    return done.returncode, done.stdout + done.stderr


def report(host: Machine, *, user: str = "root") -> dict[str, Any]:
    """The report, with info."""
    status, text = mountwarden(host, "report", "--json", user=user)
    assert status in (0, 1), text
    return dict(json.loads(text))


def told(wrongs: Wrongs, event: str, mountpoint: str) -> list[str]:
    """Ids of the findings at a mountpoint that the service has told the journal of in this test."""
    words = (
        f"--since=@{wrongs.began:.6f}",
        "_SYSTEMD_UNIT=mountwarden.service",
        f"MOUNTWARDEN_EVENT={event}",
        f"MOUNTWARDEN_MOUNTPOINT={mountpoint}",
    )
    text = wrongs.host.run("journalctl", "-o", "json", *words).stdout
    return [json.loads(line)["MOUNTWARDEN_FINDING"] for line in text.splitlines()]


def made(wrongs: Wrongs, kind: str) -> tuple[str, str]:
    """The mountpoint and id of a new fault, which the service has told, or lists where it is no more than info."""
    mountpoint = getattr(wrongs, kind)()

    def known() -> str | None:
        named = kind.replace("_", "-").replace("volume", "leaked")
        found = [f for f in report(wrongs.host)["findings"] if f["confirmed"] and f["kind"] == named]
        return next((f["id"] for f in found if f["mountpoint"] == mountpoint), None)

    finding = wait_until(known, 30, f"{kind} is found at {mountpoint}")
    if kind != "severed":
        wait_until(lambda: finding in told(wrongs, "found", mountpoint), 10, "the journal has it")
    return mountpoint, finding


def same_everywhere(host: Machine, finding: str) -> dict[str, Any]:
    """What every command says of it, to root and to a reader of the journal; returns the report's."""
    (mine,) = (one for one in report(host)["findings"] if one["id"] == finding)
    (theirs,) = (one for one in report(host, user=READER)["findings"] if one["id"] == finding)
    assert theirs == mine
    for user in ("root", READER):
        explained = json.loads(mountwarden(host, "explain", "--json", finding, user=user)[1])
        assert {name: explained[name] for name in mine} == mine
        (planned,) = json.loads(mountwarden(host, "plan", "--json", finding, user=user)[1])["plan"]
        assert [{**one, "steps": None} for one in planned["remedies"]] == [
            {**r, "steps": None} for r in mine["remedies"]
        ]
    assert finding in mountwarden(host, "report", "--all")[1]
    assert mountwarden(host, "explain", finding)[1].startswith(f"{finding}  {mine['kind']}, {mine['severity']}\n")
    return dict(mine)


def pasted(host: Machine, command: str) -> None:
    """Run a printed command as an operator would, on a terminal, with yes to what it asks."""
    done = host.run("script", "-qec", command, "/dev/null", input="y\n", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def ended(wrongs: Wrongs, kind: str, mountpoint: str, finding: dict[str, Any]) -> None:
    """Do what is printed first, and see it gone."""
    command = finding["remedies"][0]["command"] if finding["remedies"] else None
    assert (command is None) == (kind == "stacked"), finding["remedies"]
    pasted(wrongs.host, command) if command else wrongs.unstack(mountpoint)
    gone = lambda: finding["id"] not in [one["id"] for one in report(wrongs.host)["findings"]]  # noqa: E731
    wait_until(gone, 30, "it is gone")


@pytest.mark.parametrize("kind", KINDS)
def test_found_reported_explained_ended(wrongs: Wrongs, kind: str) -> None:
    mountpoint, finding = made(wrongs, kind)
    ended(wrongs, kind, mountpoint, same_everywhere(wrongs.host, finding))
    if kind != "severed":
        wait_until(lambda: told(wrongs, "cleared", mountpoint) == [finding], 30, "the journal has its end, once")
        assert told(wrongs, "found", mountpoint) == [finding]
        assert "is over" in mountwarden(wrongs.host, "explain", finding)[1].splitlines()[0]


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_after_a_restart(wrongs: Wrongs, kind: str) -> None:
    mountpoint, finding = made(wrongs, kind)
    before = same_everywhere(wrongs.host, finding)
    wrongs.host.run("systemctl", "kill", "-s", "KILL", "mountwarden")
    wrongs.host.run("systemctl", "reset-failed", "mountwarden", check=False)
    wrongs.host.run("systemctl", "restart", "mountwarden")
    seen(wrongs.host)
    after = same_everywhere(wrongs.host, finding)
    assert {**after, "copies": None} == {**before, "copies": None}
    ended(wrongs, kind, mountpoint, after)
    if kind != "severed":
        wait_until(lambda: told(wrongs, "cleared", mountpoint) == [finding], 30, "the journal has its end, once")
        assert told(wrongs, "found", mountpoint) == [finding]


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_without_the_service(wrongs: Wrongs, kind: str) -> None:
    mountpoint, finding = made(wrongs, kind)
    before = same_everywhere(wrongs.host, finding)
    wrongs.host.run("systemctl", "stop", "mountwarden")
    text = mountwarden(wrongs.host, "report")[1]
    assert STOPPED in text.splitlines()[1], text
    (after,) = (one for one in report(wrongs.host)["findings"] if one["id"] == finding)
    names = ("kind", "severity", "evidence", "mountpoint", "confirmed", "since")
    assert {name: after[name] for name in names} == {name: before[name] for name in names}
    assert mountwarden(wrongs.host, "explain", finding)[1].startswith(f"{finding}  {after['kind']}")
    ended(wrongs, kind, mountpoint, after)


def test_a_service_that_does_not_answer(wrongs: Wrongs) -> None:
    """Its last report is joined with a scan; nobody acts beside it."""
    _mountpoint, finding = made(wrongs, "volume")
    wrongs.host.run("systemctl", "kill", "-s", "STOP", "mountwarden")
    started = time.monotonic()
    status, text = mountwarden(wrongs.host, "report")
    assert (status, finding in text, "gave no answer within 2 s" in text) == (1, True, True), text
    assert time.monotonic() - started < 20
    status, text = mountwarden(wrongs.host, "unmount", finding)
    assert (status, "two must not act at once" in text) == (1, True), text
    wrongs.host.run("systemctl", "kill", "-s", "CONT", "mountwarden")
    assert mountwarden(wrongs.host, "unmount", finding)[0] == 0


def test_only_root_acts(wrongs: Wrongs) -> None:
    _mountpoint, finding = made(wrongs, "leaked")
    status, text = mountwarden(wrongs.host, "detach", finding, user=READER)
    assert (status, "needs root" in text) == (2, True)
    assert mountwarden(wrongs.host, "report", user="nobody")[0] == 2
