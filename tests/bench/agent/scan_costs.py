"""Runs on a test host: what one scan costs in the process, by tier, beside reading the same files and doing nothing.

python3 scan_costs.py ROUNDS TIER...; prints {name: [seconds, ...]}: `read` (each namespace's mountinfo, once), `walk`
(who is in which namespace), and for each tier `cold-TIER` (a first scan with its results), `sweep-TIER` (home has
another mount than before, so every namespace is read again), `idle-TIER` (a tick). It is the processor time of the
process and of its children.
"""

import json
import os
import resource
import sys
from collections import deque
from collections.abc import Callable, Mapping

from mountwarden.config.schema import Config, RootEntry
from mountwarden.kernel import abi, syscalls
from mountwarden.model import RootKind, Tier
from mountwarden.observe import namespaces, processes
from mountwarden.scan.scanner import Scanner

POKED = b"/run/private/poked"
CONFIG = Config(engines=(), roots=(RootEntry(b"/srv/layers", kind=RootKind.GRAPH),))


def read() -> None:
    """Read the mountinfo of each namespace once, and look at nothing in it."""
    for inode, pids in namespaces.members(processes.pids(), threads=False).by_inode.items():
        namespaces.read(inode, pids, lambda lines: deque(lines.blocks(), 0))


def walk() -> None:
    """Find out which namespaces there are."""
    namespaces.members(processes.pids(), threads=False)


def poke() -> None:
    """Mount or unmount something of no interest at home that no other namespace gets."""
    os.makedirs(POKED, exist_ok=True)
    if os.path.ismount(POKED):
        syscalls.umount(POKED, 0)
    else:
        syscalls.mount(b"poke", POKED, b"tmpfs", 0, b"size=4k")


def seconds(call: Callable[[], object]) -> float:
    """Processor time of one call, with that of the children it waited for."""
    before = _used()
    call()
    return _used() - before


def _used() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def settle(name: str, kept: Mapping[Tier, Scanner]) -> None:
    """Bring the looker to where the task begins: all seen, then poked for a sweep."""
    what, _dash, tier = name.partition("-")
    if what in ("sweep", "idle"):
        kept[Tier(tier)].scan()
        kept[Tier(tier)].scan()
    if what == "sweep":
        poke()


def main() -> None:
    """Take all figures in turns."""
    rounds, tiers = int(sys.argv[1]), [Tier(name) for name in sys.argv[2:]]
    kept = {tier: Scanner(CONFIG, tier=tier) for tier in tiers}
    for scanner in kept.values():
        scanner.scan()
        scanner.scan()
    tasks: dict[str, Callable[[], object]] = {"read": read, "walk": walk}
    for tier in tiers:
        tasks[f"cold-{tier}"] = lambda tier=tier: Scanner(CONFIG, tier=tier).scan()  # type: ignore[misc]
        tasks[f"sweep-{tier}"] = lambda tier=tier: kept[tier].scan()  # type: ignore[misc]
        tasks[f"idle-{tier}"] = lambda tier=tier: kept[tier].scan()  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in tasks}
    os.makedirs("/run/private", exist_ok=True)
    syscalls.mount(b"private", b"/run/private", b"tmpfs", 0, b"")
    syscalls.mount(None, b"/run/private", None, abi.MS_PRIVATE)
    for number in range(rounds + 1):
        for name in list(tasks) if number % 2 else list(reversed(tasks)):
            settle(name, kept)
            took = seconds(tasks[name])
            if number:
                times[name].append(took)
    json.dump(times, sys.stdout)


if __name__ == "__main__":
    main()
