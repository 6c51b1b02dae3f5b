"""Metrics: what is declared is emitted, values are those of the report, and rules speak of what there is."""

import re
from pathlib import Path

from mountwarden.model import Kind, Severity
from mountwarden.output import metrics
from mountwarden.report import build as reporting
from mountwarden.service.triggers import Wake

from tests.support import reports
from tests.support.findings import spread

RULES = Path(__file__).resolve().parents[2] / "packaging/monitoring/mountwarden.rules.yml"
REFERENCE = Path(__file__).resolve().parents[2] / "docs/reference.md"
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="[^"]*",?)+)\})? (\S+)')
COUNTS = metrics.Counts({("detach", "done"): 3}, {"mounts": 5, "overflow": 2, "reload": 1})


def samples(text: str) -> dict[str, dict[str, float]]:
    """Metric to labels as written to value."""
    found: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            found.setdefault(match[1], {})[match[2] or ""] = float(match[3])
    return found


def rendered(*findings: object) -> dict[str, dict[str, float]]:
    told = reporting.build(reports.facts(findings))  # type: ignore[arg-type]
    return samples(metrics.render(told, COUNTS))


def test_what_is_declared_is_emitted_and_nothing_else() -> None:
    text = metrics.render(reporting.build(reports.facts([reports.finding()])), COUNTS)
    names = [metric.name for metric in metrics.METRICS]
    assert re.findall(r"^# HELP (\S+)", text, re.MULTILINE) == names
    assert re.findall(r"^# TYPE (\S+) (\w+)", text, re.MULTILINE) == [(m.name, m.type) for m in metrics.METRICS]
    assert list(samples(text)) == names
    for metric in metrics.METRICS:
        for labels in samples(text)[metric.name]:
            assert tuple(re.findall(r"(\w+)=", labels)) == metric.labels
        assert metric.name.endswith("_total") is (metric.type is metrics.Type.COUNTER)
        assert not metric.unit or metric.name.endswith("_" + metric.unit)


def test_a_finding_counts_and_goes_to_0() -> None:
    key = 'kind="leaked",engine="docker",severity="warning"'
    found = rendered(reports.finding(since=reports.NOW - 60))
    assert found["mountwarden_findings"][key] == 1
    assert found["mountwarden_oldest_finding_timestamp_seconds"][""] == reports.NOW - 60
    assert found["mountwarden_acts_total"] == {'action="detach",result="done"': 3}
    none = rendered()
    assert none["mountwarden_findings"][key] == 0
    assert none["mountwarden_oldest_finding_timestamp_seconds"][""] == 0


def test_a_finding_counts_once_and_its_mounts_in_all_namespaces() -> None:
    key, pinned = 'kind="leaked",engine="docker",severity="warning"', 'kind="pinned",engine="docker",severity="warning"'
    found = rendered(
        spread(reports.finding(), 1, 2, 3, count=301, spaces=300),
        reports.finding(id="mw-0000000002", count=1),
        reports.finding(id="mw-0000000003", kind=Kind.PINNED, count=7),
    )
    assert (found["mountwarden_findings"][key], found["mountwarden_held_mounts"][key]) == (2, 302)
    assert (found["mountwarden_findings"][pinned], found["mountwarden_held_mounts"][pinned]) == (1, 0)


def test_events_are_counted_by_what_woke_the_service() -> None:
    found = rendered()
    counted = {f'source="{source}"': float(source == "mounts") * 5 for source in metrics.SOURCES}
    assert found["mountwarden_events_total"] == counted, "a source that has not spoken yet is 0, and a signal is none"
    assert found["mountwarden_overflows_total"] == {"": 2}
    signals = {Wake.TERMINATE, Wake.RELOAD}
    assert set(Wake) == {*metrics.SOURCES, metrics.OVERFLOW, *signals}


def test_unconfirmed_and_silenced_do_not_count_and_info_has_no_age() -> None:
    assert sum(rendered(reports.finding(confirmed=False))["mountwarden_findings"].values()) == 0
    assert sum(rendered(reports.finding(silenced=True))["mountwarden_findings"].values()) == 0
    info = rendered(reports.finding(severity=Severity.INFO, since=reports.NOW - 60))
    assert sum(info["mountwarden_findings"].values()) == 1
    assert info["mountwarden_oldest_finding_timestamp_seconds"][""] == 0


def test_rules_and_reference_speak_of_what_there_is() -> None:
    names = {metric.name for metric in metrics.METRICS}
    expressions = re.findall(r"expr: (.*)", RULES.read_text())
    assert len(expressions) == RULES.read_text().count("alert:")
    assert {name for text in expressions for name in re.findall(r"mountwarden_\w+", text)} <= names
    assert [name for name in names if f"| `{name}` |" not in REFERENCE.read_text()] == []
