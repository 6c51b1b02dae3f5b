"""What the service of a test host did, and what it cost, while it was attacked."""

import contextlib
import datetime
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.leaks import ROOT, Leaks
from tests.support.looked import await_look
from tests.support.machine import Machine
from tests.support.wait import wait_until

UNIT = "mountwarden.service"
CPU = f"/sys/fs/cgroup/system.slice/{UNIT}/cpu.stat"
MEMORY = Path("/sys/fs/cgroup/memory")
"""The memory controller where it is one of version 1, as a test host's control groups have none then."""

MEMORY_AIM = 96
"""MiB that the service may take at most."""
CPU_SHARE = 0.032
"""Seconds of processor time that the service may take in a second: 1.4 % of a core for its scans, as much for all users
and containers together, 0.4 % for what wakes it.
"""
CPU_BURST = 4.0
"""Seconds of it beyond that: 2 for scans by which findings are confirmed, and one scan of 2 s that ends late."""
OWNER_BURST = 0.5
"""The same for each user and container that attacks."""

_UNMOUNT = """
for place; do
    while at=$(date +%s.%N); ! umount "$place" 2>/dev/null; do sleep 0.02; done
    echo "$at"
done
"""
"""An umount is refused for the moment in which a namespace is made that gets a copy by propagation."""


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds from the host's umount of a leaked mount to what the journal has of it."""

    found: float
    acted: float


@dataclass
class Tenant:
    """Somebody else on the host, whose leaks are to be found and ended whatever the attackers do."""

    host: Machine
    leaks: Leaks = field(init=False)
    planted: dict[str, float] = field(default_factory=dict)
    """When each leaked mount was unmounted on the host (seconds since the Epoch), by its mountpoint."""

    def __post_init__(self) -> None:
        """The root is closed to users, as those of the engines are: one who may search it could have mounted there."""
        self.leaks = Leaks(self.host)
        self.leaks.prepare()
        self.host.run("chmod", "710", ROOT)

    def mount(self, count: int = 1, patience: float = 30) -> list[str]:
        """So many layers that the service saw mounted; returns their mountpoints."""
        layers = [self.leaks.mount() for _ in range(count)]
        self.seen(patience)
        return [f"{layer}/merged" for layer in layers]

    def seen(self, patience: float = 30) -> None:
        """Wait for a scan that begins after now."""
        await_look(self.host, time.time(), patience)

    def unmount(self, mountpoints: Sequence[str]) -> None:
        """Unmount them on the host; who has copies leaks them from then on."""
        at = self.host.run("sh", "-c", _UNMOUNT, "sh", *mountpoints).stdout.split()
        self.planted.update(zip(mountpoints, map(float, at), strict=True))

    def plant(self, name: str, patience: float = 30) -> str:
        """A leak that a unit of this name holds; returns its mountpoint."""
        (mountpoint,) = self.mount(patience=patience)
        self.leak(mountpoint, name)
        return mountpoint

    def leak(self, mountpoint: str, name: str) -> None:
        """Let a unit of this name take a copy, and unmount it on the host."""
        self.leaks.units.add(self.host.unit(name, "PrivateTmp=yes", "MountFlags=private"))
        self.unmount([mountpoint])

    def delays(self) -> dict[str, Delays]:
        """Of those whose end the journal has."""
        at: dict[str, dict[str, float]] = {"found": {}, "acted": {}}
        for entry in entries(self.host):
            place, event = entry.get("MOUNTWARDEN_MOUNTPOINT", ""), entry["MOUNTWARDEN_EVENT"]
            if event in at and place in self.planted:
                at[event].setdefault(place, float(entry["__REALTIME_TIMESTAMP"]) / 1e6 - self.planted[place])
        return {place: Delays(at["found"].get(place, took), took) for place, took in at["acted"].items()}

    def await_end(self, mountpoint: str, patience: float = 30) -> Delays:
        """Wait until the leak's detach is in the journal."""
        wait_until(lambda: mountpoint in self.delays(), patience, f"the detach of {mountpoint}")
        return self.delays()[mountpoint]

    def leave(self) -> None:
        """Stop the units."""
        self.leaks.clean()


def in_words(delays: list[Delays]) -> str:
    """The median and the worst of both."""
    parts = []
    for what in ("found", "acted"):
        values = [getattr(one, what) for one in delays]
        parts.append(f"{what} after {statistics.median(values):.2f} s, the worst after {max(values):.2f} s")
    return "; ".join(parts)


def taken(host: Machine) -> float:
    """When the last published scan began; 0 before the first one."""
    text = host.run("cat", "/run/mountwarden/report.json", check=False).stdout
    return datetime.datetime.fromisoformat(json.loads(text)["taken"]).timestamp() if text else 0.0


def report(host: Machine) -> dict[str, Any]:
    """The report that the service published last."""
    return dict(json.loads(host.read("/run/mountwarden/report.json")))


def entries(host: Machine, event: str | None = None) -> list[dict[str, Any]]:
    """The journal entries of the service that runs now."""
    matches = [f"_PID={host.main_pid(UNIT)}", "SYSLOG_IDENTIFIER=mountwarden"]
    found = host.journal(*matches, *([f"MOUNTWARDEN_EVENT={event}"] if event else []))
    return [entry for entry in found if "MOUNTWARDEN_EVENT" in entry]


def owned_gaps(host: Machine) -> list[dict[str, Any]]:
    """What the report says that it left out because of somebody."""
    return [gap for gap in report(host)["gaps"] if gap.get("owner")]


@dataclass
class Cost:
    """Processor time and memory of the service, from `measured` on."""

    host: Machine
    pid: int
    group: Path | None
    began: float
    used_before: float
    resident_before: float
    attackers: int

    @property
    def restarts(self) -> int:
        """How often the service ended since."""
        return int(self.host.show(UNIT, "NRestarts")) + (self.host.main_pid(UNIT) != self.pid)

    @property
    def used(self) -> float:
        """Processor seconds of the service and its children."""
        return _used(self.host) - self.used_before

    @property
    def allowed(self) -> float:
        """What it may have used by now."""
        return CPU_SHARE * (time.monotonic() - self.began) + CPU_BURST + OWNER_BURST * self.attackers

    @property
    def resident(self) -> float:
        """MiB of the main process at most."""
        return _memory(self.host, "VmHWM")

    @property
    def charged(self) -> float:
        """MiB of all its processes at most, with the kernel's own for them; 0 where no memory controller is there.

        What it had before is not counted by the controller, and added.
        """
        if self.group is None:
            return 0.0
        return int((self.group / "memory.max_usage_in_bytes").read_text()) / 2**20 + self.resident_before

    def __str__(self) -> str:
        seconds = time.monotonic() - self.began
        return (
            f"{self.used:.2f} s of processor time in {seconds:.0f} s ({self.allowed:.2f} s allowed), "
            f"{self.resident:.0f} MiB resident, {self.charged:.0f} MiB charged, {self.restarts} restarts"
        )

    def check(self) -> None:
        """Raises: AssertionError where it was restarted, or took more than it may."""
        assert self.restarts == 0, str(self)
        assert self.resident < MEMORY_AIM, str(self)
        assert self.charged < MEMORY_AIM, str(self)
        assert self.used < self.allowed, str(self)


def _memory(host: Machine, name: str) -> float:
    text = host.read(f"/proc/{host.main_pid(UNIT)}/status")
    return int(text.split(f"{name}:")[1].split()[0]) / 1024


def _used(host: Machine) -> float:
    fields = dict(line.split() for line in host.read(CPU).splitlines())
    return int(fields["usage_usec"]) / 1e6


@contextlib.contextmanager
def measured(host: Machine, attackers: int = 1) -> Iterator[Cost]:
    """Measure the service that runs now, and hold it to its unit's MemoryMax= where the host's systemd can't.

    `attackers` is how many users and containers attack.
    """
    pid = host.main_pid(UNIT)
    group = _memory_group(host, pid)
    try:
        yield Cost(host, pid, group, time.monotonic(), _used(host), _memory(host, "VmRSS"), attackers)
    finally:
        if group:
            _remove(group)


def _memory_group(host: Machine, pid: int) -> Path | None:
    if not (MEMORY / "memory.limit_in_bytes").exists():
        return None
    for left in MEMORY.glob("mountwarden-test-*"):  # of tests that were killed
        if not (left / "cgroup.procs").read_text():
            left.rmdir()
    group = MEMORY / host.name
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text("256M")
    (group / "cgroup.procs").write_text(str(host.outer_pid(pid)))
    return group


def _remove(group: Path) -> None:
    for line in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (MEMORY / "cgroup.procs").write_text(line)
    wait_until(lambda: not (group / "cgroup.procs").read_text(), 10, "the memory group is empty")
    group.rmdir()
