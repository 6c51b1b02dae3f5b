"""Figures and their ratios: medians of runs that were taken in turns, so that ratios hold where times don't."""

import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aim:
    """The most that a figure may be."""

    most: float
    unit: str = ""
    """Of the figure; none for a ratio."""

    def __str__(self) -> str:
        return "none" if self.most == 0 else f"at most {self.most:g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table of the results page; an aim is shown only where one was set."""

    what: str
    figure: str
    beside: str = ""
    ratio: float | None = None
    aim: Aim | None = None
    measured: float | None = None
    """What is held against the aim, in its unit; None: the ratio."""
    leads: bool = False
    """Whether the page's first table has it."""
    earlier: str = ""
    """The figure of the checkout that was measured beside this one."""

    @property
    def value(self) -> str:
        """The ratio, where there is one, and the figure."""
        return self.figure if self.ratio is None else f"{number(self.ratio)} ({self.figure})"

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None where there is none."""
        measured = self.ratio if self.measured is None else self.measured
        return None if self.aim is None or measured is None else measured <= self.aim.most


def middle(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies, of those that were seen."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios of each round, whose two halves stood side by side."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def resampled(ours: Sequence[float], theirs: Sequence[float], share: float, times: int = 1000) -> tuple[float, float]:
    """Between what the ratio of two percentiles lies in 95 % of random draws from the values, as many as there are."""
    draw = random.Random(0)
    ratios = sorted(
        percentile(draw.choices(ours, k=len(ours)), share) / percentile(draw.choices(theirs, k=len(theirs)), share)
        for _ in range(times)
    )
    return ratios[times * 25 // 1000], ratios[times * 975 // 1000 - 1]


def milliseconds(seconds: float) -> str:
    """As "12.3 ms", three digits."""
    return f"{number(seconds * 1000)} ms"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def lines_table(lines: Sequence[Line]) -> str:
    """The rows with their ratios first."""
    heads = ["ratio", "what", "figure", "beside", "aim", "met"]
    rows = [[_ratio(line), line.what, line.figure, line.beside, _aim(line), _met(line), line.earlier] for line in lines]
    return _with_earlier(heads, rows)


def lead_table(lines: Sequence[Line]) -> str:
    """The rows that were aimed at, and whether each aim is met."""
    heads = ["what", "figure", "beside", "aim", "met"]
    rows = [[line.what, line.value, line.beside, _aim(line), _met(line), line.earlier] for line in lines]
    return _with_earlier(heads, rows)


def _with_earlier(heads: list[str], rows: list[list[str]]) -> str:
    """The last column is shown only where something is in it."""
    if any(row[-1] for row in rows):
        return table([*heads, "earlier"], rows)
    return table(heads, [row[:-1] for row in rows])


def number(value: float) -> str:
    """Three digits, and no exponent for what a host can have."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _ratio(line: Line) -> str:
    return "" if line.ratio is None else number(line.ratio)


def _aim(line: Line) -> str:
    return "" if line.aim is None else str(line.aim)


def _met(line: Line) -> str:
    return {None: "", True: "yes", False: "**no**"}[line.met]
