"""The document that the agent leaves for whoever may not look."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from mountwarden.cli.service_report import last
from mountwarden.errors import MountwardenError
from mountwarden.output import report_file
from mountwarden.report import build as report

from tests.support.reports import NOW, facts, finding


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the document is."""
    return str(tmp_path / "report.json")


def told(**changes: Any) -> Any:
    return report.build(facts([finding()], agent=(os.getpid(), 60.0), **changes))


def test_what_is_written_is_read(path: str) -> None:
    report_file.write(told(), path)
    assert report_file.read(path) == told()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640


def test_it_is_replaced_as_a_whole(path: str) -> None:
    report_file.write(told(), path)
    before = os.stat(path).st_ino
    with open(path, encoding="utf-8") as old:
        report_file.write(told(hostname="other"), path)
        assert json.load(old)["host"]["hostname"] == "vm1", "a reader keeps the one that it opened"
    assert os.stat(path).st_ino != before
    assert os.listdir(os.path.dirname(path)) == ["report.json"]


def test_a_failed_write_leaves_nothing(path: str) -> None:
    with pytest.raises(TypeError):
        report_file.write({"schema": object()}, path)  # type: ignore[typeddict-item]
    assert os.listdir(os.path.dirname(path)) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": "mountwarden.report/1"}', ""])
def test_what_is_no_report_is_told(path: str, content: str) -> None:
    Path(path).write_text(content)
    with pytest.raises(MountwardenError, match=path):
        report_file.read(path)


def test_a_fresh_report_is_used(path: str) -> None:
    report_file.write(told(), path)
    assert last(path, NOW + 179)["findings"][0]["id"] == "mw-0123456789"


def test_a_stale_report_is_refused(path: str) -> None:
    report_file.write(told(), path)
    with pytest.raises(MountwardenError, match="stale: it is 3 min 1 s old") as raised:
        last(path, NOW + 181)
    assert (raised.value.status, "systemctl restart mountwarden" in (raised.value.hint or "")) == (2, True)


def test_a_report_of_an_ended_agent_is_refused(path: str) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    report_file.write(report.build(facts([], agent=(child, 60.0))), path)
    with pytest.raises(MountwardenError, match="has ended"):
        last(path, NOW)


def test_no_report_says_how_to_get_one(path: str) -> None:
    with pytest.raises(MountwardenError, match="no report of the service") as raised:
        last(path)
    assert "systemctl start mountwarden" in (raised.value.hint or "")


def test_a_report_that_would_be_too_large_keeps_what_matters_and_says_so(path: str) -> None:
    ones = [finding(id=f"mw-{number:010x}", confirmed=number % 4 == 0) for number in range(200)]
    whole = report.build(facts(ones, agent=(os.getpid(), 60.0)))
    limit = len(report_file.compact(whole)) // 5
    left_out = report_file.write(whole, path, limit)
    assert os.stat(path).st_size <= limit
    read = report_file.read(path)
    assert len(read["findings"]) + left_out == 200
    assert (read["complete"], read["gaps"][-1]["count"]) == (False, left_out)
    assert all(one["confirmed"] for one in read["findings"])
    assert read["findings"] == [one for one in whole["findings"] if one in read["findings"]], "in the same order"
    assert read["summary"] == whole["summary"]
    assert report_file.write(whole, path) == 0
