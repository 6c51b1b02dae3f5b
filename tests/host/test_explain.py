"""explain on a real systemd beside the running service: every time that anything tells, the chain, the lasting fix."""

import datetime
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.leaks import CONFIG, ROOT, Leaks
from tests.support.machine import Machine
from tests.support.wait import wait_until

UNIT = "/etc/systemd/system/keeper.service"
TEXT = "[Service]\nExecStart=/bin/sleep infinity\nType=exec\nPrivateTmp=yes\nMountFlags=private\n"


@pytest.fixture(scope="module")
def leaks(host: Machine) -> Iterator[Leaks]:
    """A shared root of one's own, observed by the running service."""
    made = Leaks(host)
    made.prepare()
    host.run("mount", "--make-shared", ROOT)
    host.write("/etc/mountwarden/mountwarden.toml", 'mode = "observe"\n' + CONFIG)
    host.run("systemctl", "start", "mountwarden")
    yield made
    host.run("systemctl", "stop", "mountwarden")


@pytest.fixture
def found(host: Machine, leaks: Leaks) -> Iterator[tuple[str, str]]:
    """A leak into a service with a unit file, told by the service: (id, mountpoint)."""
    layer = leaks.mount()
    host.write(UNIT, TEXT)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", "keeper")
    wait_until(lambda: "severed" in told(host, f"{ROOT}:severed"), 30, "the service has seen the layer mounted")
    host.run("umount", f"{layer}/merged")
    wait_until(lambda: told(host, f"{layer}/merged:leaked"), 30, "the service told it")
    yield told(host, f"{layer}/merged:leaked").split()[1], f"{layer}/merged"
    host.run("systemctl", "stop", "keeper")


def told(host: Machine, what: str) -> str:
    """KIND and id of what the service's journal has found at a `MOUNTPOINT:KIND`."""
    mountpoint, _, kind = what.partition(":")
    matches = (f"MOUNTWARDEN_MOUNTPOINT={mountpoint}", f"MOUNTWARDEN_KIND={kind}", "MOUNTWARDEN_EVENT=found")
    entries = host.journal(*matches)
    return f"{kind} {entries[-1]['MOUNTWARDEN_FINDING']}" if entries else ""


def explain(host: Machine, finding: str) -> dict[str, Any]:
    return dict(json.loads(host.run("mountwarden", "explain", finding, "--json", check=False).stdout))


def seconds(moment: str) -> float:
    return datetime.datetime.fromisoformat(moment).timestamp()


def test_the_story_has_every_time_that_anything_tells(host: Machine, found: tuple[str, str]) -> None:
    finding, mountpoint = found
    background = explain(host, finding)["background"]
    moments = {moment["what"]: moment for moment in background["timeline"]}
    assert list(moments) == ["mounted", "started", "cut", "unmounted", "found", "told"]
    words = ("--timestamp=unix", "--value", "-p", "ExecMainStartTimestamp", "keeper")
    started = host.run("systemctl", "show", *words).stdout.strip()
    assert f"@{int(seconds(moments['started']['at']))}" == started
    mounted = moments["mounted"]
    assert mounted["at"] is None
    assert seconds(mounted["after"]) <= seconds(mounted["before"]) == seconds(moments["started"]["at"])
    assert seconds(moments["started"]["at"]) < seconds(moments["unmounted"]["at"]) <= seconds(moments["told"]["at"])
    assert f"({UNIT}:5)" in moments["cut"]["text"]
    assert mountpoint in mounted["text"]
    named = {(one["name"], one["value"]): (one["file"], one["line"]) for one in background["settings"]}
    assert named == {("MountFlags", "private"): (UNIT, 5), ("PrivateTmp", "yes"): (UNIT, 4)}
    (level,) = [level for level in background["chain"]["holder"]["levels"] if level["cut"]]
    assert (level["point"], level["propagation"]) == (ROOT, "private")
    group = background["chain"]["home"]["levels"][0]["peer_group"]
    bystander = host.unit("bystander", "PrivateTmp=yes")
    expected = {"id": group, "peers": 0, "slaves": 1}  # the service that is not cut off, once a scan has seen it
    wait_until(
        lambda: explain(host, finding)["background"]["chain"]["group"] == expected, 20, "who else is in the group"
    )
    host.run("systemctl", "stop", bystander)
    assert f"shared:{group} " in host.run("sh", "-c", f"grep ' {ROOT} ' /proc/1/mountinfo").stdout


def test_the_lasting_fix_lasts(host: Machine, leaks: Leaks, found: tuple[str, str]) -> None:
    finding, mountpoint = found
    fix = explain(host, finding)["background"]["fix"]
    host.write(fix["file"], fix["content"])
    for command in fix["commands"]:
        host.run("sh", "-c", command)
    assert mountpoint not in host.read(f"/proc/{host.main_pid('keeper')}/mountinfo")
    layer = leaks.mount()
    host.run("systemctl", "restart", "keeper")
    assert f"{layer}/merged" in host.read(f"/proc/{host.main_pid('keeper')}/mountinfo")
    host.run("umount", f"{layer}/merged")
    assert f"{layer}/merged" not in host.read(f"/proc/{host.main_pid('keeper')}/mountinfo"), "the umount arrived"
    host.run("rm", "-r", fix["file"].rpartition("/")[0])


def test_what_another_user_logged_as_if_it_were_ours_is_not_told(host: Machine, found: tuple[str, str]) -> None:
    finding, _mountpoint = found
    lines = ("MESSAGE=all is well", "SYSLOG_IDENTIFIER=mountwarden", "MOUNTWARDEN_EVENT=cleared")
    text = "\n".join([*lines, f"MOUNTWARDEN_FINDING={finding}", "_UID=0", ""])
    host.run("setpriv", "--reuid=1000", "--clear-groups", "logger", "--journald", input=text)
    wait_until(lambda: host.journal("MESSAGE=all is well"), 30, "the entry is in the journal")
    moments = {moment["what"]: moment for moment in explain(host, finding)["background"]["timeline"]}
    assert moments["told"]["at"]
    assert "cleared" not in moments


@pytest.mark.long
def test_what_the_service_alone_can_know_is_told_from_its_report(host: Machine, leaks: Leaks) -> None:
    host.write("/etc/mountwarden/mountwarden.toml.d/50-pinned.toml", '[confirm]\npinned = "1s"\n')
    host.run("systemctl", "reload", "mountwarden")
    layer = leaks.mount()
    unit = host.unit("pinner", command=("sh", "-c", f"exec 3>{layer}/merged/file; sleep infinity"))
    host.run("systemctl", "restart", "mountwarden")
    wait_until(lambda: host.run("mountwarden", "status", check=False).returncode == 0, 30, "the service has looked")
    host.run("umount", "-l", f"{layer}/merged")
    wait_until(lambda: told(host, f"{layer}/merged:pinned"), 30, "the service told it")
    finding = told(host, f"{layer}/merged:pinned").split()[1]
    done = host.run("mountwarden", "explain", finding, check=False)
    words = ("mountwarden", "report", "--kind", "pinned")
    reported = host.run(*words, check=False)
    host.run("systemctl", "stop", unit)

    def is_over() -> bool:
        """Where the budget of scans has none for a client now, it gets what the last one saw."""
        over = host.run(*words, check=False)
        return (over.returncode, finding in over.stdout) == (0, False)

    wait_until(is_over, 30, "its holder has ended")
    host.run("rm", "-r", "/etc/mountwarden/mountwarden.toml.d")
    assert done.returncode == 1
    assert done.stdout.startswith(f"{finding}  pinned, warning\n")
    assert unit in done.stdout
    assert "told: " in done.stdout
    assert (reported.returncode, finding in reported.stdout) == (1, True)


def test_what_is_over_has_a_story_too(host: Machine, found: tuple[str, str]) -> None:
    finding, mountpoint = found
    assert host.run("mountwarden", "detach", finding).returncode == 0
    wait_until(lambda: host.journal(f"MOUNTWARDEN_FINDING={finding}", "MOUNTWARDEN_EVENT=cleared"), 30, "it is over")
    done = host.run("mountwarden", "explain", finding)
    assert done.stdout.startswith(f"{finding}  is over: no scan shows it now\n")
    assert f"{mountpoint} leaked" in " ".join(done.stdout.split())
    document = explain(host, finding)
    assert (document["id"], document["over"]) == (finding, True)
    assert {moment["what"] for moment in document["background"]["timeline"]} == {"told", "acted", "cleared"}
