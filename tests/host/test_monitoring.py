"""Debian's own Prometheus and node_exporter beside the running service: a real leak's alert fires and clears."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import tree
from tests.support.leaks import CONFIG, Leaks
from tests.support.machine import Machine
from tests.support.product import install_product
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

EXTRAS = ("metrics", "shells")
HERE = Path(__file__).parent
RULES = HERE.parents[1] / "packaging/monitoring/mountwarden.rules.yml"
METRICS = "/var/lib/mountwarden/mountwarden.prom"
COLLECTED = "/var/lib/prometheus/node-exporter/"
"""It belongs to prometheus, and so root writes no file there."""
PROMETHEUS = """
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [/etc/prometheus/mountwarden.rules.yml]
scrape_configs:
  - {job_name: node, static_configs: [{targets: ["127.0.0.1:9100"]}]}
"""
ASK = """
import sys, urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9090/api/v1/" + sys.argv[1], timeout=5).read().decode())
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    """A test host from the tree that has Prometheus, with the product installed."""
    if reason := tree.obstacle(extras=EXTRAS):
        pytest.skip(reason)
    with Machine(extras=EXTRAS) as machine:
        install_product(machine)
        machine.run("ln", "-s", METRICS, COLLECTED)
        yield machine


@pytest.fixture
def leaks(host: Machine) -> Iterator[Leaks]:
    """Leaks below a root of one's own, which the running service observes and counts."""
    made = Leaks(host)
    made.prepare()
    host.run("ip", "link", "set", "lo", "up")
    host.write("/etc/mountwarden/mountwarden.toml", f'mode = "observe"\nmetrics = "{METRICS}"\n{CONFIG}')
    host.run("systemctl", "start", "mountwarden")
    yield made
    made.clean()
    host.run("systemctl", "stop", "mountwarden")


def ask(host: Machine, what: str) -> Any:
    done = host.python(ASK, what, check=False)
    return json.loads(done.stdout)["data"] if done.returncode == 0 else {}


def alerts(host: Machine) -> list[tuple[str, str]]:
    return [(one["labels"]["alertname"], one["state"]) for one in ask(host, "alerts").get("alerts", ())]


def value(host: Machine, metric: str) -> float | None:
    result = ask(host, f"query?query={metric}").get("result", ())
    return float(result[0]["value"][1]) if result else None


def test_the_rules_hold_what_they_promise(host: Machine) -> None:
    host.copy_in(RULES, "/tmp/rules/mountwarden.rules.yml")
    host.copy_in(HERE / "rules.test.yml", "/tmp/rules/rules.test.yml")
    host.run("promtool", "check", "rules", "/tmp/rules/mountwarden.rules.yml")
    host.run("promtool", "test", "rules", "/tmp/rules/rules.test.yml")


def test_the_file_is_what_prometheus_takes(host: Machine, leaks: Leaks) -> None:
    wait_until(lambda: host.run("test", "-s", METRICS, check=False).returncode == 0, 30, "the file is there")
    done = host.run("promtool", "check", "metrics", input=host.read(METRICS))
    assert done.stderr == "", "the linter has nothing to say"


def test_an_alert_fires_and_clears_with_a_real_leak(host: Machine, leaks: Leaks) -> None:
    host.write("/etc/prometheus/prometheus.yml", PROMETHEUS)
    # Nobody waits five minutes here; that the rule does is shown by promtool's clock.
    host.write("/etc/prometheus/mountwarden.rules.yml", RULES.read_text().replace("for: 5m", "for: 2s"))
    host.run("systemctl", "start", "prometheus-node-exporter", "prometheus")
    wait_until(lambda: value(host, "mountwarden_roots") is not None, 60, "Prometheus has scraped the service's file")
    assert value(host, "node_textfile_scrape_error") == 0
    assert alerts(host) == []
    before = value(host, 'mountwarden_events_total{source="mounts"}') or 0
    leaks.make("alerted")
    wait_until(lambda: ("MountLeaked", "firing") in alerts(host), 60, "the alert fires")
    assert (value(host, 'mountwarden_events_total{source="mounts"}') or 0) > before
    ident = json.loads(host.run("mountwarden", "report", "--json", check=False).stdout)["findings"][0]["id"]
    assert host.run("mountwarden", "detach", ident).returncode == 0
    wait_until(lambda: alerts(host) == [], 60, "the alert clears")
    host.run("systemctl", "stop", "mountwarden")
    wait_until(lambda: value(host, "mountwarden_look_timestamp_seconds") is not None, 30, "the last file stays")
    host.run("systemctl", "stop", "prometheus", "prometheus-node-exporter")
