"""node-problem-detector's contract on a real leak: the command of the configuration that ships, run as it would."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.leaks import OBSERVE, Leaks
from tests.support.machine import Machine
from tests.support.wait import wait_until

CONFIG = Path(__file__).parents[2] / "packaging/monitoring/node-problem-detector.json"


@pytest.fixture
def leaks(host: Machine) -> Iterator[Leaks]:
    """Leaks below a root of one's own."""
    made = Leaks(host)
    made.prepare()
    host.write("/etc/mountwarden/mountwarden.toml", OBSERVE)
    yield made
    made.clean()
    host.run("systemctl", "stop", "mountwarden", check=False)


def plugin(host: Machine) -> tuple[int, str]:
    """Exit status and message, as the detector takes them: stdout, stripped, cut at the configured length."""
    config = json.loads(CONFIG.read_text())
    (rule,) = config["rules"]
    assert rule["path"] == "/usr/bin/mountwarden", "as the units have it: make install puts the launcher's path there"
    done = host.run("mountwarden", *rule["args"], check=False, timeout=10)
    assert done.stderr == ""
    message = done.stdout.strip()
    assert len(message.encode()) <= config["pluginConfig"]["max_output_length"]
    assert message.count("\n") == 0
    return done.returncode, message


def test_the_condition_comes_and_goes_with_the_leak(host: Machine, leaks: Leaks) -> None:
    status, message = plugin(host)
    assert (status, message.startswith("unknown: ")) == (2, True), "no service, no answer: not a healthy node"
    host.run("systemctl", "start", "mountwarden")
    wait_until(lambda: plugin(host)[0] == 0, 30, "the service has reported")
    assert plugin(host) == (0, "nothing is wrong")
    mountpoint, unit = leaks.make("detected")
    wait_until(lambda: plugin(host)[0] == 1, 30, "the leak is confirmed")
    _status, message = plugin(host)
    assert message.startswith("1 warning: mw-")
    assert message.endswith(f" leaked, {unit}: {mountpoint}")
    leaks.end(unit)
    wait_until(lambda: plugin(host)[0] == 0, 30, "the condition clears")
    host.run("systemctl", "kill", "--signal=KILL", "mountwarden")
    host.run("systemctl", "stop", "mountwarden")
    assert plugin(host)[0] == 2, "a report of a service that has ended says nothing of now"
