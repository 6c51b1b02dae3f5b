"""The map as a graph for Graphviz's dot(1), dot language: one node a namespace, one edge a relation."""

from collections.abc import Iterator

from ...report.map_types import BaseJson, MapJson
from . import fold

_COLOURS = {"leaked": "#cf222e", "leaks": "#9a6700", "cut-off": "#0969da", "healthy": "#1a7f37"}
_HEAD = """\
digraph mountwarden {
  rankdir=LR;
  fontname="monospace";
  node [shape=box, style=rounded, fontname="monospace", fontsize=11];
  edge [fontname="monospace", fontsize=10];
"""


def render(chart: MapJson, *, everything: bool = False) -> str:
    """The graph as text, ending in a newline."""
    level, text = fold.headline(chart)
    lines = [
        _HEAD + f"  label={quoted(text, fold.figures(chart), *fold.notes(chart))};\n  labelloc=t;",
        f'  fontcolor="{_COLOURS[level]}";',
    ]
    for number, base in enumerate(chart["bases"]):
        lines += _base(number, base, everything=everything)
    return "\n".join([*dict.fromkeys(lines), "}"]) + "\n"


def quoted(*lines: str) -> str:
    r"""A string of the dot language with these lines: a quote and a backslash are the only signs that mean anything."""
    safe = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(safe) + '"'


def _base(number: int, base: BaseJson, *, everything: bool) -> Iterator[str]:
    roots = [fold.root_name(root) for root in base["roots"]]
    yield f"  base{number} [label={quoted(base['at'], fold.about(base), *roots)}, style=bold];"
    for at, line in enumerate(fold.lines(base, everything=everything)):
        name = f"fold{number}_{at}" if line.folded else f"ns{line.namespaces[0]['namespace']}"
        colour = _COLOURS[line.level]
        tip = line.names if line.folded else f"mount namespace {line.namespaces[0]['namespace']}"
        yield f"  {name} [label={quoted(line.who)}, tooltip={quoted(tip)}];"
        yield f'  base{number} -> {name} [label={quoted(line.what)}, color="{colour}", {_arrow(line.relation)}];'


def _arrow(relation: str) -> str:
    return {"slave": "dir=forward", "peer": "dir=both"}.get(relation, "style=dashed, dir=none")
