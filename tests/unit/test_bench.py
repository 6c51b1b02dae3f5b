"""What the page of the benchmark rests on: medians, ratios of pairs, aims, charts that show what was measured."""

import json
import math
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.bench.agent import page, scan_costs
from tests.bench.agent.figures import Aim, Line, lead_table, lines_table, number, paired, percentile, resampled
from tests.bench.agent.page import Part, Section
from tests.bench.agent.planted import lost
from tests.bench.agent.plots import HEIGHT, WIDTH, chart

PROJECT = Path(__file__).parents[2]


def test_a_ratio_is_of_the_two_halves_of_one_round() -> None:
    """A round in which the whole machine was slow counts as any other."""
    assert paired([1.0, 10.0, 4.0], [2.0, 20.0, 4.0]) == 0.5


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_a_percentile_is_a_value_that_was_seen(share: float, expected: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == expected


def test_what_was_never_reported_counts_in_the_percentiles() -> None:
    """Else a service that reports one of ten in a second would look like a fast one."""
    seconds = [1.0, 1.2, math.inf]
    assert (percentile(seconds, 0.5), percentile(seconds, 0.99), lost(seconds)) == (1.2, math.inf, 1)


@pytest.mark.parametrize(
    ("line", "met"),
    [
        (Line("a", "1 ms", "b: 2 ms", 0.5, Aim(0.5)), True),
        (Line("a", "1 ms", "b: 2 ms", 0.501, Aim(0.5)), False),
        (Line("a", "3 %", ratio=0.1, aim=Aim(2, "%"), measured=3), False),
        (Line("a", "0 of 3", aim=Aim(0), measured=0), True),
        (Line("a", "1 of 3", aim=Aim(0), measured=1), False),
        (Line("a", "never", aim=Aim(6, "s"), measured=math.inf), False),
        (Line("a", "1 ms"), None),
        (Line("a", "1 ms", "b: 2 ms", 0.5), None),
    ],
)
def test_an_aim_is_the_most_that_a_figure_may_be(line: Line, met: bool | None) -> None:
    assert line.met is met


def test_a_row_leaves_empty_what_it_has_not() -> None:
    text = lines_table([Line("a", "1 ms"), Line("b", "2 ms", "c: 4 ms", 0.5, Aim(0.4))])
    assert text.splitlines()[2:] == ["|  | a | 1 ms |  |  |  |", "| 0.5 | b | 2 ms | c: 4 ms | at most 0.4 | **no** |"]


def test_the_first_table_says_the_ratio_or_the_figure_and_whether_it_will_do() -> None:
    lines = [Line("a", "2 ms", "c: 4 ms", 0.5, Aim(1)), Line("b", "0 of 9", aim=Aim(0), measured=0)]
    assert lead_table(lines).splitlines() == [
        "| what | figure | beside | aim | met |",
        "| --- | --- | --- | --- | --- |",
        "| a | 0.5 (2 ms) | c: 4 ms | at most 1 | yes |",
        "| b | 0 of 9 |  | none | yes |",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(0.05049, "0.0505"), (12.34, "12.3"), (999.4, "999"), (46_123.0, "46,123")]
)
def test_figures_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert number(value) == text


def test_the_page_begins_with_what_was_aimed_at_of_all_parts(tmp_path: Path) -> None:
    parts = [
        Part("one machine", [Section("First", [Line("a", "1 s", aim=Aim(2, "s"), measured=1, leads=True)])]),
        Part("one machine", [Section("Second", [Line("b", "3 s")], "- text", {"plot": "<svg/>"})]),
    ]
    for part in parts:
        part.write(tmp_path / "kept.json")
        assert page.read(tmp_path / "kept.json") == part, "a part that is measured later stands beside kept ones"
    page.write(tmp_path, parts)
    text = (tmp_path / "benchmarks.md").read_text()
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads == ["## What was aimed at", "## First", "## Second", "## What may be missed, or comes later"]
    assert text.count("one machine") == 1
    assert text.count("| at most 2 s | yes |") == 2, "in the first table and in its own"
    assert "![plot](plots/plot.svg)" in text
    assert (tmp_path / "plots/plot.svg").read_text() == "<svg/>"


def test_the_figures_of_another_checkout_stand_beside_the_same_lines() -> None:
    ours = [Section("S", [Line("a", "1 ms", "b: 2 ms", 0.5), Line("new", "1 ms")]), Section("T", [Line("a", "7 ms")])]
    theirs = Section("S", [Line("a", "8 ms", "b: 2 ms", 4.0), Line("old", "9 ms")])
    merged = page.beside(ours, [theirs, Section("U", [Line("a", "5 ms")])])
    assert [[line.earlier for line in one.lines] for one in merged] == [["4 (8 ms)", ""], [""]]
    text = lines_table(merged[0].lines).splitlines()
    assert text[0].endswith("| met | earlier |")
    assert text[2].endswith("|  |  | 4 (8 ms) |")
    assert "earlier" not in lines_table(merged[1].lines)


@dataclass
class Scans:
    """Notes what is done: the first scan owes something to the second, then what lives on is asked for twice."""

    done: list[str] = field(default_factory=list)

    def peek(self) -> bool:
        self.done.append("peek")
        return False

    def scan(self, *_part: object) -> SimpleNamespace:
        self.done.append("scan")
        return SimpleNamespace(owes=self.done.count("scan") == 1)

    def recheck(self) -> None:
        self.done.append("ask")

    @property
    def due(self) -> tuple[float | None, float | None]:
        return None, time.monotonic() + 0.02 if self.done.count("ask") < 2 else None

    @property
    def suspects(self) -> bool:
        return self.done.count("ask") == 2


def test_a_change_costs_all_that_it_leads_to() -> None:
    """Else a scanner that leaves its work to the next scan would look like a cheap one."""
    scanner = Scans()
    scan_costs.settle(scanner)
    assert scanner.done == ["peek", "scan", "scan", "ask", "ask", "scan"]


def starts(*arguments: str) -> list[float]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-m", "tests.bench.agent.starts", *arguments]
    seconds: list[float] = json.loads(subprocess.check_output(command, env=environment, cwd=PROJECT, timeout=20))
    return seconds


def test_starts_do_not_wait_for_each_other_below_the_most(tmp_path: Path) -> None:
    began = time.monotonic()
    took = starts("8", "20", "8", str(tmp_path / "never"), "sleep", "0.4")
    assert len(took) == 8
    assert min(took) >= 0.4
    assert 7 / 20 + 0.4 <= time.monotonic() - began < 8 * 0.4, "at their rate, and one after the other they take longer"


def test_starts_wait_for_each_other_above_the_most(tmp_path: Path) -> None:
    began = time.monotonic()
    assert len(starts("6", "0", "2", str(tmp_path / "never"), "sleep", "0.3")) == 6
    assert time.monotonic() - began >= 3 * 0.3


def test_starts_end_when_they_are_told_to(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    took = starts("0", "0", "2", str(flag), "sh", "-c", f"sleep 0.05; mkdir -p {flag}")
    assert 2 <= len(took) <= 6
    assert all(seconds >= 0.05 for seconds in took)


def test_a_chart_has_each_point_within_the_page_and_names_its_lines() -> None:
    svg = ElementTree.fromstring(chart("cost <now>", "n", "ms", {"a & b": [(10, 1), (400, 33)], "c": [(10, 7)]}))
    name = "{http://www.w3.org/2000/svg}"
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in svg.iter(f"{name}circle")]
    assert len(dots) == 3
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in dots)
    assert dots[1][0] > dots[0][0]
    assert dots[1][1] < dots[0][1], "more is higher"
    assert {"cost <now>", "a & b", "c"} <= {text.text for text in svg.iter(f"{name}text")}


def test_resamples_lie_around_the_ratio_and_closer_with_more_values() -> None:
    few, many = ([float(number % 10 + 10) for number in range(count)] for count in (20, 2000))
    wide, narrow = (resampled(values, [value / 2 for value in values], 0.5) for values in (few, many))
    assert wide[0] < narrow[0] < 2.0 < narrow[1] < wide[1]
