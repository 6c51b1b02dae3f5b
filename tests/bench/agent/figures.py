"""Figures and their ratios: medians of runs that were taken in turns, so that ratios hold where times don't."""

import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table of the results page; a target is shown only where one was set."""

    what: str
    value: str
    beside: str = ""
    ratio: float | None = None
    target: str = ""


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
    return f"{seconds * 1000:.3g} ms"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def lines_table(lines: Iterable[Line]) -> str:
    """The rows with their ratios first."""
    heads = ("ratio", "what", "figure", "beside", "aim")
    rows = ([_ratio(line.ratio), line.what, line.value, line.beside, line.target] for line in lines)
    return table(heads, rows)


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.3g}"


Times = Mapping[str, Sequence[float]]
