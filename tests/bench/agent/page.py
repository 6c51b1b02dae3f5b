"""The results page: the parts as they were measured, kept as JSON, and the Markdown that is made of them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.bench.agent.figures import Aim, Line, lead_table, lines_table

HEAD = """# What mountwarden costs

Written by `make bench`. It boots test hosts with the stated number of mount namespaces, each with the stated number of
further mounts (half of them overlays of a guarded root, every one also copied into each namespace), and runs
mountwarden and what it is compared with in turns. Figures are medians where nothing else is said. **Read the ratios**:
below 1 mountwarden is cheaper than what is listed beside it. Times depend on the machine and on what else it does:
"""

MISSED = """## What may be missed, or comes later

The figures above are of what the service saw. Where the kernel has no mount events, before Linux 6.15, it reads the
host's own mounts when they change, and those of other mount namespaces only where something of what went still lives:

- A mount that the host had only between two of these readings was never seen. A copy of it on a mountpoint of a root is
  found all the same, with less evidence; one that is bound elsewhere is not.
- A namespace that is cut off while nothing changes on the host is read within four resyncs, which are a minute apart.
- That the host's umounts reach a severed root again is noticed at the next resync.
- Nothing is reported before it held for its confirm time, 1 s for layers and 90 s for network namespaces.
- Where users or containers make a scan costly, what is theirs waits, and `mountwarden status` says so as a gap.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with its table, a paragraph and pictures, of which all but the heading may be missing."""

    title: str
    lines: Sequence[Line] = ()
    text: str = ""
    plots: Mapping[str, str] = field(default_factory=dict)
    """SVG by name."""

    def markdown(self) -> str:
        """As it stands on the page."""
        table = [lines_table(self.lines)] if self.lines else []
        pictures = [f"![{name}](plots/{name}.svg)\n" for name in self.plots]
        return "\n".join([f"## {self.title}\n", *table, *([f"{self.text}\n"] if self.text else []), *pictures])


@dataclass(frozen=True, slots=True)
class Part:
    """What one part gave, and on what machine, with which version, when."""

    machine: str
    sections: Sequence[Section]

    def write(self, file: Path) -> None:
        """Keep it."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self)))


def read(file: Path) -> Part:
    """What `Part.write` wrote. Raises: OSError."""
    kept: dict[str, Any] = json.loads(file.read_text())
    return Part(kept["machine"], [_section(one) for one in kept["sections"]])


def _section(kept: dict[str, Any]) -> Section:
    return Section(kept["title"], [_line(one) for one in kept["lines"]], kept["text"], kept["plots"])


def _line(kept: dict[str, Any]) -> Line:
    return Line(**{**kept, "aim": Aim(**kept["aim"]) if kept["aim"] else None})


def beside(ours: Sequence[Section], earlier: Sequence[Section]) -> list[Section]:
    """Our sections, each line with the figure that another checkout had in the same section."""
    known = {(section.title, line.what): line.value for section in earlier for line in section.lines}
    return [
        replace(one, lines=[replace(line, earlier=known.get((one.title, line.what), "")) for line in one.lines])
        for one in ours
    ]


def markdown(parts: Iterable[Part]) -> str:
    """The whole page, what was aimed at first."""
    parts = list(parts)
    sections = [section for part in parts for section in part.sections]
    machines = dict.fromkeys(part.machine for part in parts)
    leading = [line for section in sections for line in section.lines if line.leads]
    lead = [f"## What was aimed at\n\n{lead_table(leading)}"] if leading else []
    rest = (section.markdown() for section in sections)
    return "\n".join([HEAD, *(f"{one}\n" for one in machines), *lead, *rest, MISSED])


def write(directory: Path, parts: Sequence[Part]) -> None:
    """The page and its pictures."""
    (directory / "plots").mkdir(parents=True, exist_ok=True)
    (directory / "benchmarks.md").write_text(markdown(parts))
    for section in (section for part in parts for section in part.sections):
        for name, svg in section.plots.items():
            (directory / "plots" / f"{name}.svg").write_text(svg)
