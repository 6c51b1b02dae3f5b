"""Runs on a test host: what one scan costs in the process, by tier, beside reading the same files and doing nothing.

scan_costs ROUNDS TASK... prints {task: [seconds, ...]}: `read` (each namespace's mountinfo, once), `home` (that of the
host alone), `walk` (who is in which namespace), and for a tier `cold-TIER` (a first scan with its results), `anew-TIER`
(nothing that was read before is trusted), `resync-TIER` (the same as the service does it each minute), `idle-TIER` (a
tick), and what the service scans after one change at home: `mount-TIER` and `umount-TIER` of a layer, `other-TIER`,
something of no interest. It is the processor time of the process and of its children, with that of later scans by which
a change is settled.
"""

import importlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mountwarden.config.schema import Config, RootEntry
from mountwarden.kernel import abi, syscalls
from mountwarden.model import RootKind, Tier
from mountwarden.observe import namespaces, processes
from mountwarden.scan.scanner import Scanner
from mountwarden.service import loop

from tests.bench.agent import crowd

POKED = b"/run/private/poked"
LAYER = crowd.ROOT + b"/changed"
CONFIG = Config(engines=(), roots=(RootEntry(crowd.ROOT, kind=RootKind.GRAPH),))
LONGEST = 2.0
"""Seconds within which a change is settled."""


def read() -> None:
    """Read the mountinfo of each namespace once, and look at nothing in it."""
    for inode, pids in namespaces.members(processes.pids(), threads=False).by_inode.items():
        namespaces.read(inode, pids, lambda lines: deque(lines.blocks(), 0))


def home() -> None:
    """Read that of PID 1 alone."""
    with open("/proc/1/mountinfo", "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def walk() -> None:
    """Find out which namespaces there are."""
    namespaces.members(processes.pids(), threads=False)


def poke() -> None:
    """Mount or unmount something of no interest at home that no other namespace gets."""
    if os.path.ismount(POKED):
        syscalls.umount(POKED, 0)
    else:
        syscalls.mount(b"poke", POKED, b"tmpfs", 0, b"size=4k")


def set_layer(mounted: bool) -> None:
    """Have the one layer mounted at home, or not."""
    point = LAYER + b"/merged"
    if mounted and not os.path.ismount(point):
        crowd.layer(LAYER)
    elif os.path.ismount(point) and not mounted:
        syscalls.umount(point, 0)


def seconds(call: Callable[[], object]) -> float:
    """Processor time of one call, with that of the children, as the service counts it."""
    before = loop._cpu()
    call()
    return loop._cpu() - before


def part() -> list[Any]:
    """What the service has a scan read, where it has it read a part of the host."""
    try:
        return [importlib.import_module("mountwarden.scan.part").Part(0.02)]
    except ModuleNotFoundError:
        return []


def settle(scanner: Any) -> None:
    """Look at the homes, scan, and scan and ask again, as the service does after a change, until nothing is left."""
    until = time.monotonic() + LONGEST
    getattr(scanner, "peek", lambda: True)()
    owes = scanner.scan(*part()).owes
    while (due := _due(scanner, owes=owes)) is not None and time.monotonic() < until:
        at, again = due
        time.sleep(max(0.0, min(at, until) - time.monotonic()))
        if not again:
            scanner.recheck()
        if again or scanner.suspects:
            owes = scanner.scan(*part()).owes


def _due(scanner: Any, *, owes: bool) -> tuple[float, bool] | None:
    """When something is to be done though nothing happens, and whether that is a scan; None: nothing."""
    later, ask = getattr(scanner, "due", (None, None))
    wishes = [(0.0, True)] if owes else [(at, again) for at, again in ((later, True), (ask, False)) if at is not None]
    return min(wishes, default=None)


@dataclass(slots=True)
class Task:
    """Something that is measured, which begins where everything was seen."""

    what: str
    scanner: Scanner | None = None
    tier: Tier | None = None

    def prepare(self) -> None:
        """Bring the scanner to where the task begins, and make the change."""
        if self.scanner is None:
            return
        if self.what in ("mount", "umount"):
            set_layer(self.what == "umount")
        for _ in range(2):
            settle(self.scanner)
            self.scanner.scan()
        if self.what in ("mount", "umount"):
            set_layer(self.what == "mount")
        elif self.what == "other":
            poke()

    def do(self) -> None:
        """What is measured."""
        if self.what == "cold":
            Scanner(CONFIG, tier=self.tier).scan()
        elif self.scanner is None:
            {"read": read, "home": home, "walk": walk}[self.what]()
        elif self.what == "anew":
            self.scanner.scan(resync=True)
        elif self.what == "resync":
            self.scanner.scan(*part(), resync=True)
        elif self.what == "idle":
            self.scanner.scan(*part())
        else:
            settle(self.scanner)


def tasks(names: list[str]) -> dict[str, Task]:
    """The tasks of these names; those of a tier share one scanner."""
    kept: dict[Tier, Scanner] = {}
    found: dict[str, Task] = {}
    for name in names:
        what, _dash, word = name.partition("-")
        tier = Tier(word) if word else None
        scanner = None
        if tier and what != "cold":
            scanner = kept.setdefault(tier, Scanner(CONFIG, tier=tier))
        found[name] = Task(what, scanner, tier)
    return found


def main() -> None:
    """Take all figures in turns; a first round does not count."""
    rounds, wanted = int(sys.argv[1]), tasks(sys.argv[2:])
    times: dict[str, list[float]] = {name: [] for name in wanted}
    os.makedirs("/run/private", exist_ok=True)
    if not os.path.ismount("/run/private"):
        syscalls.mount(b"private", b"/run/private", b"tmpfs", 0, b"")
        syscalls.mount(None, b"/run/private", None, abi.MS_PRIVATE)
        os.mkdir(POKED)
    for number in range(rounds + 1):
        for name in list(wanted) if number % 2 else list(reversed(wanted)):
            wanted[name].prepare()
            took = seconds(wanted[name].do)
            if number:
                times[name].append(took)
    set_layer(False)
    json.dump(times, sys.stdout)


if __name__ == "__main__":
    main()
