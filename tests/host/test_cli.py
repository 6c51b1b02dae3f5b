"""The operator's commands on a real systemd: a leak is told, explained and detached; a root is shared; the demo."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mountwarden.output import report_file
from mountwarden.report import types

from tests.support.machine import Machine
from tests.support.wait import wait_until

ROOT = "/srv/layers"
LAYER = f"{ROOT}/one"
MERGED = f"{LAYER}/merged"
CONFIG = 'confirm.layer = 0.2\n[[root]]\npath = "/srv/layers"\nkind = "graph"\n'
MAKE = f"""
set -e; mkdir -p {ROOT}; mount -t tmpfs -o mode=755 layers {ROOT}; mount --make-shared {ROOT}
cd {ROOT}; mkdir -p one/lower one/upper one/work one/merged
mount -t overlay overlay -o lowerdir=one/lower,upperdir=one/upper,workdir=one/work one/merged
"""


@pytest.fixture
def root(host: Machine) -> Iterator[str]:
    """A guarded root with one layer mounted; both are gone afterwards."""
    host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
    host.run("sh", "-c", MAKE)
    yield ROOT
    host.run("sh", "-c", f"umount -l {MERGED} 2>/dev/null; umount -l {ROOT}; rmdir {ROOT}; rm -r /etc/mountwarden")


@pytest.fixture
def leak(host: Machine, root: str) -> Iterator[str]:
    """The layer leaked into leaky.service; the id of the finding."""
    unit = host.unit("leaky", "PrivateTmp=yes", "MountFlags=private")
    host.run("umount", MERGED)
    yield report(host, "--no-wait")["findings"][0]["id"]
    host.run("systemctl", "stop", unit)


def mountwarden(host: Machine, *words: str) -> tuple[int, str, str]:
    done = host.run("mountwarden", *words, check=False)
    return done.returncode, done.stdout, done.stderr


def report(host: Machine, *words: str) -> dict[str, Any]:
    """The JSON report, which is valid against its schema."""
    told = json.loads(host.run("mountwarden", "report", "--json", *words, check=False).stdout)
    jsonschema.Draft202012Validator(report_file.schema()).validate(told)
    return dict(told)


def identity(host: Machine, path: str) -> str:
    """Everything of a directory that a declined act must leave as it is."""
    return host.run("sh", "-c", f"stat -c '%i %f %u:%g %Y' {path}; ls -A {path}").stdout


def test_a_leak_is_told_with_its_unit_and_its_cause(host: Machine, leak: str) -> None:
    told = report(host)
    (found,) = told["findings"]
    assert (found["kind"], found["severity"], found["confirmed"]) == ("leaked", "warning", True)
    assert (found["mountpoint"], found["layer"], found["root"]) == (MERGED, "one", ROOT)
    assert [(one["unit"], one["comm"]) for one in types.holders(found)] == [("leaky.service", "sleep")]
    assert found["copies"][0]["namespace"]["kind"] == "service"
    assert "MountFlags=private" in found["cause"]["text"]
    assert found["evidence"] == "spot"
    assert told["complete"] is True
    assert report(host)["findings"][0]["id"] == leak, "the same in each run"


def test_the_table_shows_it_and_exits_1(host: Machine, leak: str) -> None:
    status, out, err = mountwarden(host)
    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert lines[0].startswith("● 1 warning on ")
    assert "leaky.service" in lines
    assert f"  → mountwarden detach {leak}" in lines


def test_the_filters_and_levels_of_report(host: Machine, leak: str) -> None:
    assert mountwarden(host, "report", "--unit", "leaky.service")[0] == 1
    status, out, _err = mountwarden(host, "report", "--unit", "systemd-journald")
    assert (status, "nothing is wrong with systemd-journald.service on" in out) == (0, True)
    assert "1 finding about something else" in out
    assert mountwarden(host, "report", "--kind", "pinned")[0] == 0
    assert mountwarden(host, "report", "--fail-on", "critical")[0] == 0
    status, out, _err = mountwarden(host, "report", "--no-wait")
    assert (status, "not confirmed" in out) == (0, True)


ALL = (pytest.param(one, marks=pytest.mark.long) for one in ("unmount --all", "rejoin --all", "report"))


@pytest.mark.parametrize("words", ["detach --all --yes", *ALL])
def test_a_filter_that_means_nothing_is_refused(host: Machine, leak: str, words: str) -> None:
    status, out, err = mountwarden(host, *words.split(), "--unit", "leeky")
    assert (status, out) == (2, "")
    assert err == ("mountwarden: there is no unit leeky.service on this host\nhint: did you mean leaky.service?\n")
    assert mountwarden(host, *words.split(), "--root", "/srv/layer")[0] == 2


def test_a_silence_hides_it_but_not_from_json(host: Machine, leak: str) -> None:
    silence = f'[[silence]]\nid = "{leak}"\nreason = "known"\n'
    host.write("/etc/mountwarden/mountwarden.toml.d/50-known.toml", silence)
    assert mountwarden(host, "report")[0] == 0
    assert [one["silenced"] for one in report(host)["findings"]] == [True]


def test_explain_tells_the_story(host: Machine, leak: str) -> None:
    status, out, err = mountwarden(host, "explain", leak)
    text = " ".join(out.split())
    assert (status, err) == (1, "")
    assert "MountFlags=private" in text
    assert "leaky.service" in text
    assert f"→ mountwarden detach {leak}" in text
    assert "rename an empty directory" in text
    assert mountwarden(host, "explain", "mw-0000000000")[0] == 2


def test_detach_ends_it_and_puts_the_directory_back(host: Machine, leak: str) -> None:
    host.run("chmod", "2750", MERGED)
    host.run("chown", "65534:7", MERGED)
    before = host.run("stat", "-c", "%f %u:%g", MERGED).stdout
    unit = host.main_pid("leaky.service")
    assert mountwarden(host, "detach", leak, "--dry-run")[0] == 0
    assert MERGED in host.read(f"/proc/{unit}/mountinfo"), "a dry run changes nothing"
    status, out, err = mountwarden(host, "detach", leak)
    assert (status, err) == (0, "")
    assert out.startswith(f"✓ {leak} {MERGED}: detached")
    assert MERGED not in host.read(f"/proc/{unit}/mountinfo")
    assert host.run("stat", "-c", "%f %u:%g", MERGED).stdout == before
    assert host.main_pid("leaky.service") == unit, "it never noticed"
    assert mountwarden(host)[0] == 0
    status, out, _err = mountwarden(host, "detach", leak)
    assert (status, out) == (1, f"{leak}: declined: there is no such finding now\n")
    (done,) = (e for e in host.journal(f"MOUNTWARDEN_FINDING={leak}") if e["MOUNTWARDEN_EVENT"] == "acted")
    assert {"MOUNTWARDEN_SAW", "MOUNTWARDEN_DID", "MOUNTWARDEN_VERIFIED"} <= done.keys()


def test_detach_declines_what_is_not_empty(host: Machine, leak: str) -> None:
    host.run("touch", f"{MERGED}/data")
    before = identity(host, MERGED)
    status, out, _err = mountwarden(host, "detach", leak)
    assert (status, "not empty" in out) == (1, True)
    assert identity(host, MERGED) == before
    (entry,) = host.journal(f"MOUNTWARDEN_FINDING={leak}", "MOUNTWARDEN_CODE=not-empty")
    assert (entry["MOUNTWARDEN_ACTION"], entry["MOUNTWARDEN_BY"]) == ("detach", "uid 0")
    assert "declined" in entry["MESSAGE"]
    assert "by root (uid 0) with mountwarden detach mw-" in mountwarden(host, "history", leak)[1]


def test_detach_all_asks_or_wants_yes(host: Machine, leak: str) -> None:
    host.unit("leaky2", "PrivateTmp=yes", "MountFlags=private")
    try:
        status, out, err = mountwarden(host, "detach", "--all")
        assert (status, out) == (2, "")
        assert "needs --yes" in err
        status, out, _err = mountwarden(host, "detach", "--all", "--yes", "--json")
        assert (status, [one["done"] for one in json.loads(out)["outcomes"]]) == (0, [True])
    finally:
        host.run("systemctl", "stop", "leaky2.service")


def test_one_detach_ends_the_copies_of_all_units(host: Machine, root: str) -> None:
    units = [host.unit(name, "PrivateTmp=yes", "MountFlags=private") for name in ("leaky", "leaky2")]
    host.run("umount", MERGED)
    try:
        told = json.loads(mountwarden(host, "report", "--json")[1])["findings"]
        (finding,) = (one for one in told if one["kind"] == "leaked")
        assert {holder["unit"] for holder in types.holders(finding)} == {"leaky.service", "leaky2.service"}
        assert (finding["count"], finding["namespaces"]) == (2, 2)
        assert re.search(r"^leaky2?\.service and 1 other$", mountwarden(host, "report")[1], re.MULTILINE)
        status, out, _err = mountwarden(host, "detach", "--all", "--yes")
        (line,) = out.splitlines()
        assert (status, "detached" in line) == (0, True)
        assert MERGED not in "".join(host.read(f"/proc/{host.main_pid(unit)}/mountinfo") for unit in units)
    finally:
        host.run("systemctl", "stop", *units)


def test_plan_says_what_would_be_done(host: Machine, leak: str) -> None:
    status, out, _err = mountwarden(host, "plan", "--json")
    (planned,) = json.loads(out)["plan"]
    actions = {remedy["action"]: remedy for remedy in planned["remedies"]}
    assert (status, planned["id"]) == (0, leak)
    assert len(actions["detach"]["steps"]) > 2
    assert actions["restart"]["command"] == "systemctl restart leaky.service"


def test_share_makes_a_private_root_shared(host: Machine, root: str) -> None:
    host.run("mount", "--make-private", ROOT)
    assert [one["kind"] for one in report(host)["findings"]] == ["private-root"]
    status, out, _err = mountwarden(host, "share", ROOT, "--dry-run")
    assert (status, f"would share {ROOT}" in out) == (0, True)
    status, out, _err = mountwarden(host, "share", ROOT)
    assert (status, "is shared" in out) == (0, True)
    assert report(host)["roots"][0]["propagation"] == "shared"
    assert mountwarden(host, "share", ROOT)[:2] == (0, "nothing to share\n")
    assert mountwarden(host, "share", "/usr")[0] == 2


def test_watch_without_the_service_shows_found_and_cleared(host: Machine, root: str) -> None:
    with host.popen("mountwarden", "watch", "--json") as watch:
        assert watch.stdout
        assert watch.stderr
        try:
            assert b"scanning each 1s\n" in watch.stderr.readline()
            unit = host.unit("leaky", "PrivateTmp=yes", "MountFlags=private")
            host.run("umount", MERGED)
            found = json.loads(watch.stdout.readline())
            host.run("systemctl", "stop", unit)
            cleared = json.loads(watch.stdout.readline())
        finally:
            os.killpg(watch.pid, signal.SIGINT)
        assert watch.stderr.read() == b"", "it ends without a word"
    assert [found["event"], cleared["event"]] == ["found", "cleared"]
    assert found["finding"] == cleared["finding"]
    assert "leaky.service" in found["text"]


def test_without_root_there_is_the_services_report(host: Machine, leak: str) -> None:
    status, _out, err = mountwarden_as_nobody(host, "65534")
    assert (status, "there is no report of the service" in err) == (2, True)
    write = """
import json, os, sys
from mountwarden.output import report_file
told = json.load(sys.stdin); told["agent"] = {"pid": 1, "resync": 60.0}
os.makedirs("/run/mountwarden", exist_ok=True); report_file.write(told)
"""
    path = {"PYTHONPATH": "/usr/local/lib/mountwarden"}
    host.run("/usr/bin/python3", "-c", write, input=json.dumps(report(host)), env=path)
    try:
        assert host.run("stat", "-c", "%a %U:%G", report_file.PATH).stdout == "640 root:systemd-journal\n"
        status, _out, err = mountwarden_as_nobody(host, "65534")
        assert (status, "may not be read" in err, "systemd-journal" in err) == (2, True, True)
        status, out, _err = mountwarden_as_nobody(host, "systemd-journal")
        assert (status, "the service's report of " in out, leak in out) == (1, True, True)
    finally:
        host.run("rm", "-r", "/run/mountwarden")


def mountwarden_as_nobody(host: Machine, group: str) -> tuple[int, str, str]:
    who = ("setpriv", "--reuid=65534", f"--regid={group}", "--clear-groups")
    done = host.run(*who, "mountwarden", check=False)
    return done.returncode, done.stdout, done.stderr


def test_config_check_and_show(host: Machine, root: str) -> None:
    assert mountwarden(host, "config", "check")[0] == 0
    shown = mountwarden(host, "config", "show", "--origin")[1]
    assert ROOT in shown
    host.write("/etc/mountwarden/mountwarden.toml.d/1.toml", "mod = 1\n")
    status, out, _err = mountwarden(host, "config", "check")
    assert (status, "mod" in out) == (2, True)
    status, _out, err = mountwarden(host)
    assert (status, "going on with the defaults" in err) == (0, True)


def demo_leftovers(host: Machine) -> str:
    units = host.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "mountwarden-demo-*").stdout
    return units + host.run("sh", "-c", "ls -d /run/mountwarden-demo-* 2>/dev/null; cat /proc/self/mountinfo").stdout


def test_the_demo_uses_a_real_unit_and_cleans_up(host: Machine) -> None:
    before = demo_leftovers(host)
    status, out, err = mountwarden(host, "demo")
    text = " ".join(out.split())
    assert (status, err) == (0, "")
    assert re.search(r"mountwarden-demo-\w+\.service, PID \d+, with PrivateTmp=yes and MountFlags=private", text)
    assert "MountFlags=private" in text.split("4. mountwarden report")[1], "the cause names the directive"
    assert "detached: no namespace has a copy any more; nothing holds it open" in text
    assert "never noticed" in text
    assert demo_leftovers(host) == before


def child(pid: int) -> int:
    """The one child of a process, by its pid here."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.mark.parametrize(
    ("whom", "number"),
    [
        ("all", signal.SIGINT),  # as a terminal's Ctrl-C does
        ("all", signal.SIGTERM),
        ("guard", signal.SIGINT),
        ("guard", signal.SIGTERM),
        ("guard", signal.SIGKILL),
        ("worker", signal.SIGKILL),
    ],
)
def test_an_ended_demo_cleans_up(host: Machine, whom: str, number: signal.Signals) -> None:
    before = demo_leftovers(host)
    with host.popen("mountwarden", "demo") as demo:
        assert demo.stdout
        while not demo.stdout.readline().startswith(b"3. "):
            pass
        assert demo_leftovers(host) != before
        guard = child(demo.pid)  # of nsenter
        if whom == "all":
            os.killpg(demo.pid, number)
        else:
            os.kill(guard if whom == "guard" else child(guard), number)
        demo.communicate(timeout=20)
    assert demo.returncode != 0
    wait_until(lambda: demo_leftovers(host) == before, 30)
