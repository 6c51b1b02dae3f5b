"""One line for node-problem-detector, and the configuration that asks for it."""

import json
from pathlib import Path
from typing import Any

import pytest
from mountwarden.cli import main, npd, service_report
from mountwarden.errors import MountwardenError
from mountwarden.model import Gap, Severity
from mountwarden.report import build
from mountwarden.systemd import known_units

from tests.support.reports import LEAKY, facts, finding

CONFIG = Path(__file__).parents[2] / "packaging/monitoring/node-problem-detector.json"


def told(monkeypatch: pytest.MonkeyPatch, *options: str, **changes: Any) -> tuple[int, str]:
    """Exit status and line for a stored report."""
    monkeypatch.setattr(service_report, "last", lambda: build.build(facts(**{"findings": [], **changes})))
    lines: list[str] = []
    monkeypatch.setattr("builtins.print", lines.append)
    arguments = main.parser(("report",)).parse_args(["report", "--npd", *options])
    status = npd.run(arguments)
    (line,) = lines
    return status, line


def test_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch) == (0, "nothing is wrong")
    assert told(monkeypatch, findings=[finding(severity=Severity.INFO)]) == (0, "nothing is wrong")


def test_the_worst_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    worst = finding(id="mw-0000000001", severity=Severity.CRITICAL, mountpoint=b"/x/merged")
    assert told(monkeypatch, findings=[finding(), worst]) == (
        1,
        "1 critical finding and 1 warning: mw-0000000001 leaked, leaky.service: /x/merged",
    )


def test_the_options_of_report_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, "--fail-on", "critical", findings=[finding()])[0] == 0
    monkeypatch.setattr(known_units, "names_of", lambda name: {name} & {"other.service"})
    assert told(monkeypatch, "--unit", "other", findings=[finding()]) == (0, "nothing is wrong with other.service")
    assert told(monkeypatch, "--unit", "leeky", findings=[finding()]) == (
        2,
        "unknown: there is no unit leeky.service on this host",
    )
    assert told(monkeypatch, "--unit", LEAKY.unit or "", findings=[finding()])[0] == 1


def test_what_is_not_known_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    gap = (Gap("x", "EACCES"),)
    assert told(monkeypatch, "--strict", gaps=gap) == (2, "unknown: something could not be read")
    assert told(monkeypatch, gaps=gap) == (0, "nothing wrong was found")

    def stale() -> None:
        raise MountwardenError("the report is stale", hint="restart it")

    lines: list[str] = []
    monkeypatch.setattr(service_report, "last", stale)
    monkeypatch.setattr("builtins.print", lines.append)
    assert npd.run(main.parser(("report",)).parse_args(["report", "--npd"])) == 2
    assert lines == ["unknown: the report is stale"]


def test_a_long_name_is_cut_in_bytes_and_whole_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    _status, line = told(monkeypatch, findings=[finding(mountpoint=("/" + "層" * 100).encode())])
    assert npd.LONGEST - 3 < len(line.encode()) <= npd.LONGEST
    assert line.endswith("層")


def test_the_configuration_is_what_the_detector_takes() -> None:
    config = json.loads(CONFIG.read_text())
    whole = config["pluginConfig"]
    assert config["plugin"] == "custom"
    assert whole["max_output_length"] == npd.LONGEST
    conditions = {one["type"] for one in config["conditions"]}
    for rule in config["rules"]:
        assert (rule["type"], rule["condition"] in conditions) == ("permanent", True)
        assert float(rule["timeout"].removesuffix("s")) <= float(whole["timeout"].removesuffix("s"))
        assert main.parser().parse_args(rule["args"]).npd is True
