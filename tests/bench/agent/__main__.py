"""`make bench`: build crowded hosts, measure, print, and write the results page with its plots.

Each part is kept in build/bench when it has been measured; --docs writes the page of all that are there. With sizes,
the usual host alone is measured, of that size. With --beside, a part is measured with another checkout's product too.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import mountwarden
from mountwarden.kernel.probe import probe
from mountwarden.observe import tiers as choices

from tests.bench.agent import answers, batches, churn, commands, graphdriver, idle, page, scans
from tests.bench.agent.figures import lead_table
from tests.bench.agent.hosts import Bench
from tests.bench.agent.page import Part, Section
from tests.support import tree
from tests.support.product import PROJECT
from tests.support.shell import CommandFailed

PARTS: Mapping[str, Callable[[Bench], list[Section]]] = {
    "churn": churn.measure,
    "scans": scans.measure,
    "home": scans.home,
    "idle": idle.measure,
    "large": commands.large,
    "many": commands.many,
    "batches": batches.measure,
    "graphdriver": graphdriver.measure,
    "latency": churn.latency,
    "answers": answers.measure,
    "growth": answers.growth,
}
"""In the order of the page."""
OF_A_SIZE = ("churn", "scans", "idle", "answers")
"""Parts that are about the usual host."""
KEPT = PROJECT / "build/bench"


def machine() -> str:
    """On what the figures were taken."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = cpus[0].split(":", 1)[1].strip() if cpus else os.uname().machine
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return (
        f"mountwarden {mountwarden.__version__} on Linux {os.uname().release}, {os.cpu_count()} processors ({model}), "
        f"{memory} GiB, Python {sys.version.split()[0]}, {day}."
    )


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="make bench", description=__doc__)
    made.add_argument("--quick", action="store_true", help="small hosts and few rounds: to see that all of it runs")
    made.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=f"one of {', '.join(PARTS)}")
    made.add_argument("--namespaces", type=int, help="measure a host of this size alone")
    made.add_argument("--mounts", type=int, default=500)
    made.add_argument("--beside", type=Path, metavar="CHECKOUT", help="measure the product of this checkout too")
    made.add_argument("--docs", type=Path, help="write the results page and its plots into this directory")
    return made


def measured(names: Iterable[str], bench: Bench, earlier: Path | None) -> dict[str, Part]:
    """Measure these parts, printing each."""
    parts = {}
    for name in names:
        began = time.monotonic()
        sections = PARTS[name](bench)
        if earlier is not None:
            sections = page.beside(sections, _earlier(name, replace(bench, checkout=earlier)))
        parts[name] = Part(machine(), sections)
        print(*(section.markdown() for section in sections), sep="\n", flush=True)
        print(f"({name}: {time.monotonic() - began:.0f} s)\n", file=sys.stderr)
    return parts


def _earlier(name: str, bench: Bench) -> list[Section]:
    """The part with another checkout's product, which may lack what it takes."""
    try:
        return PARTS[name](bench)
    except CommandFailed as error:
        print(f"({name} can't be measured in {bench.checkout}: {error})", file=sys.stderr)
        return []


def main() -> None:
    """Parse, check, run."""
    made = parser()
    args = made.parse_args()
    if reason := tree.obstacle():
        made.exit(2, f"no test host can run here: {reason}\n")
    found = probe()
    tiers = [str(tier) for tier in reversed(choices.BEST_FIRST) if choices.lacking(tier, found) is None]
    sizes = (args.namespaces, args.mounts) if args.namespaces else None
    bench = Bench(tiers, quick=args.quick, sizes=sizes)
    parts = measured(args.only or (OF_A_SIZE if sizes else PARTS), bench, args.beside)
    if not args.quick and not sizes:
        for name, part in parts.items():
            part.write(KEPT / f"{name}.json")
    if args.docs:
        kept = {name: page.read(file) for name in PARTS if (file := KEPT / f"{name}.json").exists()}
        page.write(args.docs, [(kept | parts)[name] for name in PARTS if name in kept | parts])
    print(lead_table([line for part in parts.values() for one in part.sections for line in one.lines if line.leads]))


if __name__ == "__main__":
    main()
