"""`make bench`: build crowded hosts, measure, print, and write the results page with its plots.

python -m tests.bench.agent [--quick] [--namespaces N --mounts M] [--docs DIRECTORY]: with sizes, that host alone is
measured; with --docs, benchmarks.md and its plots are written there.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mountwarden
from mountwarden.kernel.probe import probe
from mountwarden.observe import tiers as choices

from tests.bench.agent import scans, service
from tests.bench.agent.figures import Line, lines_table
from tests.bench.agent.hosts import Crowd, crowded
from tests.bench.agent.plots import chart
from tests.support import tree

TARGET = (100, 500)
LARGE = (400, 1000)
SMALL = (10, 30)


@dataclass(slots=True)
class Page:
    """The results page, printed as it grows."""

    parts: list[str] = field(default_factory=list)
    plots: dict[str, str] = field(default_factory=dict)

    def add(self, text: str) -> None:
        """Print a paragraph and keep it."""
        print(text, flush=True)
        self.parts.append(text)

    def section(self, title: str, lines: Iterable[Line]) -> None:
        """A heading and its table."""
        self.add(f"## {title}\n")
        self.add(lines_table(lines))

    def plot(self, name: str, svg: str) -> None:
        """A picture beside the page."""
        self.plots[name] = svg
        self.parts.append(f"![{name}](plots/{name}.svg)\n")

    def write(self, directory: Path) -> None:
        """The page and its pictures."""
        (directory / "plots").mkdir(parents=True, exist_ok=True)
        (directory / "benchmarks.md").write_text("\n".join(self.parts))
        for name, svg in self.plots.items():
            (directory / "plots" / f"{name}.svg").write_text(svg)


def machine() -> str:
    """On what the figures were taken."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = cpus[0].split(":", 1)[1].strip() if cpus else os.uname().machine
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    load, day = os.getloadavg()[0], time.strftime("%Y-%m-%d", time.gmtime())
    return (
        f"mountwarden {mountwarden.__version__} on Linux {os.uname().release}, {os.cpu_count()} processors ({model}), "
        f"{memory} GiB, Python {sys.version.split()[0]}, load {load:.1f} at the start, {day}."
    )


HEAD = """# What mountwarden costs

Written by `make bench`. It boots a test host and gives it the stated number of mount namespaces, each with the stated
number of further mounts (half of them overlays of a guarded root, every one also copied into each namespace). It then
runs mountwarden and the tools that are used instead in turns. Figures are medians. **Read the ratios**: below 1
mountwarden is cheaper than what is listed beside it. Times depend on the machine and on what else it does:
"""


def at_target(page: Page, crowd: Crowd, tiers: Sequence[str], quick: bool) -> None:
    """All of one host's figures."""
    size = f"{crowd.namespaces} namespaces x {crowd.mounts} mounts"
    page.section(f"One answer at {size}", scans.answers(crowd, tiers, 3 if quick else 7))
    page.section(f"One scan at {size}", scans.scans(crowd, tiers, 5 if quick else 15))
    page.section("The service, idle", service.idle(crowd, tiers, 10 if quick else 60))
    page.section(
        f"The service while containers come and go at {size}",
        service.churn(crowd, "mountinfo", 2 if quick else 16, 20),
    )


def growth(page: Page, tiers: Sequence[str], quick: bool) -> None:
    """The commands against the number of namespaces, then of mounts."""
    most = 2 if quick else 5
    for what, sizes in (
        ("namespaces", [(n, 500) for n in (10, 50, 100, 200, 400)[:most]]),
        ("mounts", [(100, m) for m in (50, 250, 500, 1000, 2000)[:most]]),
    ):
        series: dict[str, list[tuple[float, float]]] = {}
        for size in sizes:
            with crowded(*size) as crowd:
                for name, seconds in scans.growth(crowd, tiers, 3).items():
                    series.setdefault(name, []).append((size[what == "mounts"], round(seconds * 1000, 1)))
        page.add(f"## Against the number of {what}\n")
        page.add(
            "\n".join(f"- {name}: " + ", ".join(f"{x}: {y} ms" for x, y in line) for name, line in series.items())
            + "\n"
        )
        fixed = "500 mounts each" if what == "namespaces" else "100 namespaces"
        page.plot(f"cost-{what}", chart(f"One answer, {fixed}", what, "milliseconds", series))


def all_of_it(page: Page, tiers: Sequence[str], quick: bool) -> None:
    """What `make bench` does without sizes."""
    with crowded(*TARGET) as crowd:
        at_target(page, crowd, tiers, quick)
    with crowded(*SMALL) as crowd:
        page.section("Start-up", scans.start_up(crowd, 5 if quick else 20))
        page.section("How soon a leak is reported", service.latency(crowd.host, tiers, 3 if quick else 30))
    if not quick:
        with crowded(*LARGE) as crowd:
            page.section("The service, idle, on a large host", service.idle(crowd, tiers, 30))
            page.section("A report of the service on a large host", service.asked(crowd, tiers, 10))
    growth(page, tiers, quick)


def main() -> None:
    """Parse, check, run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that it runs")
    parser.add_argument("--namespaces", type=int, help="measure a host of this size alone")
    parser.add_argument("--mounts", type=int, default=TARGET[1])
    parser.add_argument("--docs", type=Path, help="write the results page and its plots into this directory")
    args = parser.parse_args()
    if reason := tree.obstacle():
        parser.exit(2, f"no test host can run here: {reason}\n")
    found = probe()
    tiers = [str(tier) for tier in reversed(choices.BEST_FIRST) if choices.lacking(tier, found) is None]
    page = Page()
    page.add(HEAD)
    page.add(machine() + "\n")
    if args.namespaces is not None:
        with crowded(args.namespaces, args.mounts) as crowd:
            at_target(page, crowd, tiers, args.quick)
    else:
        all_of_it(page, tiers, args.quick)
    if args.docs:
        page.write(args.docs)


if __name__ == "__main__":
    main()
