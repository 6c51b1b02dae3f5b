"""Runtimes that are killed at random moments: all that can be proved to be left is told, and nothing that lives.

The kills are SIGKILL of shims, inits, containerd, dockerd, its builds, conmon and podman, beside live, paused, stopped,
restarting and mounted containers. RUNTIME_ROUNDS is how many rounds, without a limit of time; RUNTIME_SEED the seed of
a run before. Containers are checkpointed meanwhile, and killed at it, where CRIU works (dead_checkpoints.py).
"""

import contextlib
import itertools
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support import tree
from tests.support.dead import WATCHED, Fleet
from tests.support.dead_checkpoints import CheckpointingFleet, works
from tests.support.fixtures import booted
from tests.support.wait import wait_until

pytestmark = [pytest.mark.engines, pytest.mark.siege]

ROUNDS = int(os.environ.get("RUNTIME_ROUNDS", "0"))
SEED = int(os.environ.get("RUNTIME_SEED") or random.randrange(1 << 32))
SECONDS = 240.0
"""For the rounds, where their number is not given."""
FEWEST = 8
"""Rounds in that time, on a slow machine."""
LIMIT = 480 + ROUNDS * 60
TOLD_WITHIN = 40.0
LOOKS = 3
"""Reports after each round, of what lives, by daemons that are no longer too young to be asked."""
CONFIG = 'resync = "1s"\n[confirm]\nabandoned = "1s"\n'

Truth = dict[str, dict[str, Any]]


@dataclass
class Tally:
    """What became of the mounts that were left, and who was accused."""

    fleet: Fleet
    told: Counter[str] = field(default_factory=Counter)
    possible: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    accused_live: list[str] = field(default_factory=list)
    acts: int = 0
    tries: int = 0
    rounds: int = 0
    over: int = 0
    """Accused, and gone before anybody could say whether that was right: their engine unmounted them."""
    slowest: float = 0.0
    _left: set[tuple[str, int]] = field(default_factory=set)
    _read: int = 0

    def round(self) -> None:
        """One round: kill, ask for the truth, wait for what must be told, have it unmounted."""
        self.fleet.round()
        truth = self.fleet.truth()
        self._take(truth)
        provable = {point for point, one in truth.items() if one["state"] == "left" and not one["why"]}
        self.unknown.update(one["why"] for one in truth.values() if one["state"] == "left" and one["why"])
        self.possible.update(truth[point]["kind"] for point in provable)
        self._await(provable, truth)
        looks = self.fleet.looks
        wait_until(lambda: self.fleet.looks >= looks + LOOKS, 60, "the service was asked about what lives, too")
        self._judge()
        self._unmount()
        self._judge()
        self.fleet.clear()
        self.rounds += 1

    def _take(self, truth: Truth) -> None:
        self._left |= {(point, one["id"]) for point, one in truth.items() if one["state"] == "left"}

    def _await(self, provable: set[str], truth: Truth) -> None:
        began = time.monotonic()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: provable <= self._told(), TOLD_WITHIN)
        self.slowest = max(self.slowest, time.monotonic() - began)
        told = self._told() & provable
        self.told.update(truth[point]["kind"] for point in told)
        if missed := provable - told:
            now = self.fleet.truth()
            self.missed += [
                f"{point}: {truth[point]}; now {now.get(point)}; {self.fleet.about(point)}" for point in missed
            ]

    def _report(self) -> dict[str, bool]:
        text = self.fleet.host.run("mountwarden", "report", "--json", "--no-wait", check=False).stdout
        return {f["mountpoint"]: f["confirmed"] for f in json.loads(text)["findings"] if f["kind"] == "abandoned"}

    def _told(self) -> set[str]:
        return {point for point, confirmed in self._report().items() if confirmed}

    def _unmount(self) -> None:
        """All that is told, by the command that the report shows; it takes nothing else along."""
        if not (told := self._told()):
            return
        before = self.fleet.mounted()
        wait_until(lambda: not told & set(self._mounted_after()), TOLD_WITHIN, f"{told} is unmounted")
        after = self.fleet.mounted()
        self.acts += len(told)
        ended = {point for point in self.fleet.bystanders if point in before and point not in after}
        assert not ended - self.fleet.restarting, ended

    def _mounted_after(self) -> dict[str, int]:
        """What is mounted after one try: an engine that gives no answer in time, on a busy machine, proves nothing."""
        command = ("unmount", "--all", "--kind", "abandoned", "--yes")
        self.fleet.host.run("mountwarden", *command, timeout=120, check=False)
        self.tries += 1
        return self.fleet.mounted()

    def _judge(self) -> None:
        """Each accusation since the last time: the mount must have been left, and nobody may have lived in it."""
        lines = self.fleet.host.run("tail", "-n", f"+{self._read + 1}", WATCHED, check=False).stdout.splitlines()
        self._read += len(lines)
        now: Truth | None = None
        for line in lines:
            for point, said in json.loads(line)["accused"].items():
                if said["lived"]:
                    self.accused_live.append(f"{point}: a process lived in it: {line}")
                if (point, said["id"]) in self._left or said["id"] is None:
                    continue
                now = now or self.fleet.truth()
                one = now.get(point)
                if one is None or one["id"] != said["id"]:
                    self.over += 1
                elif one["state"] != "left":
                    self.accused_live.append(f"{point}: {one}: {line}")

    def __str__(self) -> str:
        return "\n".join((
            f"seed {SEED}: {sum(self.fleet.done.values())} victims: {dict(self.fleet.done)}",
            f"kills: {sum(self.fleet.kills.values())}: {dict(self.fleet.kills)}",
            f"abandoned told / possible: {sum(self.told.values())} / {sum(self.possible.values())}: {dict(self.told)}",
            f"unknown by design: {sum(self.unknown.values())}: {dict(self.unknown)}",
            f"live accused: {len(self.accused_live)} in {self.fleet.looks} looks",
            f"accused, and soon unmounted by their engines: {self.over}",
            f"acts: {self.acts} by {self.tries} commands; told within {self.slowest:.1f} s of the truth",
            f"bystanders: {len(self.fleet.bystanders)}, of which live on: {len(self.fleet.bystanders_now())}",
            *(f"not told: {one}" for one in self.missed),
            *(f"accused: {one}" for one in self.accused_live),
        ))  # fmt: skip


def _rounds() -> Iterator[None]:
    began = time.monotonic()
    for number in itertools.count():
        if number >= ROUNDS if ROUNDS else time.monotonic() - began >= SECONDS:
            return
        yield


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("suite", tree.BOTH)
def test_what_dead_runtimes_leave_is_told_and_nothing_that_lives(suite: str) -> None:
    with booted(suite) as host:
        fleet = (CheckpointingFleet if works(host) else Fleet)(host, random.Random(SEED))
        fleet.start()
        fleet.hasten()
        host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
        host.run("systemctl", "start", "mountwarden")
        fleet.watch()
        tally = Tally(fleet)
        try:
            for _ in _rounds():
                tally.round()
        finally:
            print(f"\n{suite}: {tally.rounds} rounds\n{tally}")
        assert tally.rounds >= (ROUNDS or FEWEST)
        assert not tally.accused_live
        assert not tally.missed
        assert sum(tally.told.values())
