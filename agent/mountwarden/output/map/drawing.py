"""The map on a terminal: a tree for each mount of a home that holds roots."""

from collections.abc import Iterable

from ...report.map_types import BaseJson, MapJson
from ..columns import fit, pad, width, wrap
from ..terminal import Terminal
from . import fold

COLOURS = {"leaked": "red", "leaks": "yellow", "cut-off": "blue", "healthy": "green"}
SIGNS = {"leaked": "●", "leaks": "●", "cut-off": "○", "healthy": "·"}
_WIDEST = 40


def render(chart: MapJson, terminal: Terminal, *, everything: bool = False) -> str:
    """The map as text, ending in a newline."""
    level, text = fold.headline(chart)
    sign = terminal.glyph("✓" if level == "healthy" else "●")
    head = wrap(f"{sign} {text}", terminal.columns, rest="  ")
    lines = [terminal.paint(line, COLOURS[level]) for line in head]
    lines += [terminal.paint(line, "dim") for line in _wrapped(fold.figures(chart), terminal)]
    for base in chart["bases"]:
        lines += ["", *_base(base, terminal, everything=everything)]
    feet = fold.notes(chart)
    if chart["summary"]["leaked"]:
        feet.append("remedies for a leak: mountwarden report")
    if chart["summary"]["leaks"]:
        feet.append("how to prevent the next leak: mountwarden doctor")
    lines += [""] if feet else []
    lines += [terminal.paint(line, "dim") for foot in feet for line in _wrapped(foot, terminal)]
    return terminal.lines(lines)


def _wrapped(text: str, terminal: Terminal) -> list[str]:
    return wrap(text, terminal.columns, first="  ", rest="    ")


def _base(base: BaseJson, terminal: Terminal, *, everything: bool) -> Iterable[str]:
    rows = fold.lines(base, everything=everything)
    stem = terminal.glyph("│") if rows else " "
    title = fit(base["at"], terminal.columns, ellipsis=terminal.glyph("…"))
    yield terminal.paint(title, "bold")
    about = f"{fold.about(base)}; {base['fstype']}, {base['device']}"
    yield from (
        terminal.paint(line, "dim") for line in wrap(about, terminal.columns, first=f"{stem} ", rest=f"{stem} ")
    )
    for root in base["roots"]:
        start, rest = f"{stem} ", f"{stem}   "
        yield from wrap(fold.root_name(root), terminal.columns, first=start, rest=rest)
    widest = min(_WIDEST, terminal.columns // 2, max((width(line.who) for line in rows), default=0))
    for at, line in enumerate(rows):
        yield from _line(line, widest, terminal, last=at == len(rows) - 1)


def _line(line: fold.MapLine, widest: int, terminal: Terminal, *, last: bool) -> Iterable[str]:
    branch, sign = terminal.glyph("└" if last else "├"), terminal.glyph(SIGNS[line.level])
    start = f"{branch} {sign} "
    who = fit(line.who, widest, ellipsis=terminal.glyph("…"))
    stem = " " if last else terminal.glyph("│")
    rest = stem + " " * (width(start) - 1 + 2)
    text = f"{pad(who, widest)}  {line.what}"
    if width(start) + width(text) <= terminal.columns:
        yield start + terminal.paint(text, COLOURS[line.level])
        return
    yield start + terminal.paint(who, COLOURS[line.level])
    yield from wrap(line.what, terminal.columns, first=rest, rest=rest)
