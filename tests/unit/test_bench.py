"""What the benchmark's figures rest on: medians, ratios of pairs, and charts that show what they were given."""

import xml.etree.ElementTree as ElementTree

import pytest

from tests.bench.agent.figures import Line, lines_table, paired, percentile, resampled
from tests.bench.agent.plots import HEIGHT, WIDTH, chart


def test_a_ratio_is_of_the_two_halves_of_one_round() -> None:
    """A round in which the whole machine was slow counts as any other."""
    assert paired([1.0, 10.0, 4.0], [2.0, 20.0, 4.0]) == 0.5


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_a_percentile_is_a_value_that_was_seen(share: float, expected: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == expected


def test_a_row_without_a_ratio_leaves_its_place_empty() -> None:
    text = lines_table([Line("a", "1 ms"), Line("b", "2 ms", "c: 4 ms", 0.5, "at most 1")])
    assert text.splitlines()[2:] == ["|  | a | 1 ms |  |  |", "| 0.5 | b | 2 ms | c: 4 ms | at most 1 |"]


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
