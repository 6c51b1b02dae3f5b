"""A wrong configuration on a real systemd: the service keeps the old one, and the commands look by it."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.support.machine import Machine
from tests.support.wait import wait_until

UNIT = "mountwarden.service"
FILE = "/etc/mountwarden/mountwarden.toml"
RIGHT = 'mode = "observe"\n[[root]]\npath = "/srv/layers"\nkind = "graph"\n'
WRONG = 'mode = "obsreve"\ntikc = 1\n'
LOOKS = (("report",), ("plan",), ("map",), ("doctor", "--no-canary"), ("snapshot", "/tmp/s.json"))
ACTS = (("detach", "--all", "--yes"), ("unmount", "--all", "--yes"), ("rejoin", "--all", "--yes"), ("share",))


@pytest.fixture
def clean(host: Machine) -> Iterator[Machine]:
    """A directory to guard; no service and no files of one afterwards."""
    host.run("mkdir", "-p", "/srv/layers")
    yield host
    host.run("systemctl", "stop", UNIT)
    host.run("systemctl", "reset-failed", UNIT, check=False)
    host.run("rm", "-rf", "/run/mountwarden", "/etc/mountwarden", "/srv/layers", "/tmp/s.json")


def test_the_service_says_all_that_is_wrong_and_the_commands_look_by_the_defaults(clean: Machine) -> None:
    clean.write(FILE, WRONG)
    clean.run("systemctl", "start", UNIT, check=False)
    assert clean.show(UNIT, "ExecMainStatus") == "78"
    said = [line["MESSAGE"] for line in clean.journal("-u", UNIT)]
    assert sum("obsreve" in text for text in said) == 1
    assert sum("tikc: no such key (did you mean tick?)" in text for text in said) == 1
    for words in LOOKS:
        done = clean.run("mountwarden", *words, check=False)
        first, hint = done.stderr.splitlines()
        assert re.fullmatch(rf"mountwarden: {FILE}:1: mode: .*; going on with the defaults", first)
        assert hint == "hint: mountwarden config check"
        assert (words[0], done.returncode) in {(words[0], 0), ("doctor", 1)}
        clean.run("rm", "-f", "/tmp/s.json")
    for words in ACTS:
        done = clean.run("mountwarden", *words, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "; nothing was done, since policies and silences may be missing" in done.stderr
    checked = clean.run("mountwarden", "config", "check", check=False)
    assert checked.returncode == 2
    assert checked.stdout.count("mountwarden: /etc") == 2
    assert clean.run("mountwarden", "report", "--config", "/etc/mountwarden", check=False).returncode == 2


def test_with_the_service_they_look_and_act_by_what_it_goes_on_with(clean: Machine) -> None:
    clean.write(FILE, RIGHT)
    clean.run("systemctl", "start", UNIT)
    wait_until(lambda: clean.run("test", "-e", "/run/mountwarden/status.json", check=False).returncode == 0, 30)
    assert clean.run("stat", "-c", "%a %U", "/run/mountwarden/config.toml").stdout == "600 root\n"
    clean.write(FILE, WRONG)
    clean.run("systemctl", "reload", UNIT)
    wait_until(lambda: "obsreve" in clean.show(UNIT, "StatusText"), 30, "it keeps the old configuration")
    done = clean.run("mountwarden", "report", "--json")
    told = json.loads(done.stdout)
    assert (told["mode"], told["roots"][-1]["path"]) == ("observe", "/srv/layers")
    assert (told["agent"]["pid"], done.stderr) == (clean.main_pid(UNIT), ""), "the service answers, and reads no file"
    done = clean.run("mountwarden", "map", "--json")
    assert "; going on with the configuration of the service" in done.stderr
    assert "/srv/layers" in [root["path"] for base in json.loads(done.stdout)["bases"] for root in base["roots"]]
    for words in ACTS:
        assert clean.run("mountwarden", *words).stdout == f"nothing to {words[0]}\n"
