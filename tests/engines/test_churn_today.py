"""Containers of all of today's engines coming and going, and leaks of engines' steps cut short: all told, nothing else.

CHURN_CONTAINERS and CHURN_PLANTED ask for fewer or more.
"""

import contextlib
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support import incus, planted, restarts, tree
from tests.support.cri import Pods
from tests.support.departures import Departures, watched
from tests.support.engines import CONTAINERD_STORE, USER
from tests.support.incidents import mountpoints
from tests.support.lives import Lives
from tests.support.machine import Machine
from tests.support.oracle import Oracle
from tests.support.packages import TODAY
from tests.support.product import install_product
from tests.support.told import at, await_look, events, not_done, values
from tests.support.wait import wait_until

pytestmark = pytest.mark.long

CONTAINERS = int(os.environ.get("CHURN_CONTAINERS", "300"))
PLANTED = int(os.environ.get("CHURN_PLANTED", "40"))
SECONDS = 240 + 4 * CONTAINERS
STORES = {"Docker, overlay2": (), "Docker, containerd's store": (CONTAINERD_STORE,)}
"""What is counted as which engine, and dockerd's flags for it."""
TOLD = 75.0
"""Seconds after which a planted leak counts as missed. What scans cost may put the next one off by 30, and a finding is
confirmed by a second one.
"""


Plant = Callable[[Machine, str], AbstractContextManager[str]]


@dataclass(frozen=True, slots=True)
class Kind:
    """Plants a leak that a unit of that name holds; what is told of it has this engine.

    `acted`: the service ends it by itself, where it has seen the host unmount it. `record`: the engine's record says
    that it is in use still, so that it is told in the report alone.
    """

    name: str
    engine: str
    plant: Plant
    acted: bool = False
    record: bool = False


@dataclass(slots=True)
class Leak:
    """One that was planted, and how many seconds after its umount it was told; None where it was not."""

    kind: Kind
    unit: str
    mountpoint: str
    after: float | None = None
    due: bool = False
    """Whether the service must end it: it has seen that the host unmounted it."""
    lived: float = 0.0
    """Seconds for which the host had it."""


@dataclass
class Churn:
    """A host of today's with all engines, the service, and services that restart."""

    host: Machine
    pods: Pods
    image: str
    times: Departures
    leaks: list[Leak] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What was not told or done as it should be of those that were planted."""

    def kinds(self) -> list[Kind]:
        """In the order in which they are planted."""
        return [
            Kind("dockerd, rmdir refused", "docker", self._at_once(planted.docker), acted=True),
            Kind("containerd's task, rmdir refused", "containerd", self._at_once(self._task), acted=True),
            Kind("podman, rename refused", "containers-storage", self._at_once(planted.podman_refused), record=True),
            Kind("BuildKit's step, rmdir refused", "docker", self._build, acted=True),
            Kind("podman, killed", "containers-storage", self._at_once(planted.podman), record=True),
            Kind("CRI's container, rmdir refused", "containerd", self._pod, acted=True),
            Kind("buildah, killed", "containers-storage", self._at_once(planted.buildah_killed), record=True),
        ]

    def _at_once(self, plant: Callable[[Machine, str, planted.Hold], str]) -> Plant:
        return lambda host, unit: contextlib.nullcontext(plant(host, unit, self._hold))

    def _hold(self) -> None:
        """Ask for a look: a busy machine has few, and what the service never saw on the host has no history."""
        self.host.run("mountwarden", "report", "--no-wait", check=False)

    def _task(self, host: Machine, unit: str, hold: planted.Hold) -> str:
        return planted.task(host, unit, self.image, unit, hold)

    def _build(self, host: Machine, unit: str) -> AbstractContextManager[str]:
        return planted.build(host, unit, self._hold)

    def _pod(self, host: Machine, unit: str) -> AbstractContextManager[str]:
        return planted.pod(host, unit, self.pods, self._hold)

    def plant(self, count: int, due: Callable[[int], bool]) -> None:
        """So many, each as soon as it is due by its number."""
        kinds = self.kinds()
        for number in range(count):
            wait_until(lambda: due(number), SECONDS, f"leak {number} is due")  # noqa: B023
            self._plant(kinds[len(self.leaks) % len(kinds)], f"planted{len(self.leaks)}.service")

    def _plant(self, kind: Kind, unit: str) -> None:
        with kind.plant(self.host, unit) as mountpoint:
            leak = Leak(kind, unit, mountpoint)
            self.leaks.append(leak)
            began = wait_until(lambda: self.times.went.get(mountpoint), 30, "the host has unmounted it")
            leak.lived = began - self.times.came[mountpoint]
            try:
                told = wait_until(lambda: self._told(kind, mountpoint), TOLD, "it is told")
                assert told.engine == kind.engine
                assert f"/{told.layer}/" in f"{mountpoint}/"
                assert unit in told.units
                leak.after = told.at - began
                leak.due = kind.acted and told.evidence == "history"
                if leak.due:
                    matches = f"MOUNTWARDEN_MOUNTPOINT={mountpoint}"
                    wait_until(lambda: events(self.host, "acted", matches), TOLD, "it is ended")
                    assert mountpoint not in mountpoints(self.host, self.host.main_pid(unit))
            except AssertionError as error:
                self.wrong.append(f"{kind.name}, in {unit}, at {mountpoint}, which lived {leak.lived:.2f} s: {error}")
        self.host.run("systemctl", "stop", unit)

    def _told(self, kind: Kind, mountpoint: str) -> "Told | None":
        """By the journal, or else by the report."""
        if not kind.record:
            return next(map(_of_entry, events(self.host, "found", f"MOUNTWARDEN_MOUNTPOINT={mountpoint}")), None)
        confirmed = [one for one in _findings(self.host) if one["confirmed"]]
        return next((_of_finding(one) for one in confirmed if one["mountpoint"] == mountpoint), None)


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a leak, and when, in seconds since the Epoch."""

    engine: str
    layer: str
    units: list[str]
    evidence: str
    at: float


def _of_entry(entry: dict[str, Any]) -> Told:
    units = values(entry, "OBJECT_SYSTEMD_UNIT")
    return Told(
        entry["MOUNTWARDEN_ENGINE"], entry["MOUNTWARDEN_LAYER"], units, entry["MOUNTWARDEN_EVIDENCE"], at(entry)
    )


def _of_finding(finding: dict[str, Any]) -> Told:
    units = [holder["unit"] for copy in finding["copies"] for holder in copy["holders"]]
    return Told(finding["engine"], finding["layer"], units, finding["evidence"], time.time())


def _findings(host: Machine) -> list[dict[str, Any]]:
    """As the service shows them, without a look of its own for whoever asks."""
    return list(json.loads(host.read("/run/mountwarden/report.json"))["findings"])


@contextlib.contextmanager
def churning() -> Iterator[Churn]:
    """dockerd runs with its own store."""
    if reason := tree.obstacle(TODAY):
        pytest.skip(reason)
    with Machine(suite=TODAY, tmpfs=incus.TMPFS) as host:
        install_product(host)
        pods = Pods(host)
        pods.start()
        host.start_docker()
        host.import_image("docker")
        image = host.import_image("ctr")
        host.import_image("podman")
        host.start_rootless()
        incus.start(host)
        host.run("systemctl", "start", "mountwarden")
        await_look(host, 0.0)  # it is ready before its first scan
        restarts.start(host)
        with watched(host) as times:
            state = Churn(host, pods, image, times)
            try:
                yield state
            except BaseException:
                print("\n".join(state.wrong))
                print("\n".join(f"{at(entry):.2f} {entry['MESSAGE']}" for entry in host.journal("-t", "mountwarden")))
                raise


def churn(count: int, plants: int) -> str:
    """The whole of it, half of it with each of dockerd's stores; returns its figures."""
    started = time.monotonic()
    with churning() as state:
        oracle = Oracle(state.host)
        oracle.start()
        lives = Lives(state.host, state.pods)
        with lives.staying():
            for half, (docker, flags) in enumerate(STORES.items()):
                if half:
                    state.host.stop_docker()
                    state.host.start_docker(*flags)
                    state.host.import_image("docker")
                containers, leaks = ((whole + half) // len(STORES) for whole in (count, plants))
                with lives.running(containers, docker) as lived:
                    state.plant(leaks, lambda number: lived() * leaks >= containers * number)  # noqa: B023
            restarts.stop(state.host)
            acts = judged(state)
        scans, others = oracle.stop()
    home = (f"/home/{USER}/", *(leak.mountpoint for leak in state.leaks))
    assert [other for other in others if not other[2].startswith(home)] == [], "nothing else was there to find"
    return "\n".join(
        [f"{told(lives.lived)}, in {time.monotonic() - started:.0f} s", *figures(state.leaks, acts, scans)]
    )


def told(lived: Counter[str]) -> str:
    return f"{lived.total()} containers: " + ", ".join(f"{number} {engine}" for engine, number in lived.items())


def figures(leaks: list[Leak], acts: int, scans: int) -> Iterator[str]:
    """Lines, when all is well."""
    entries = [leak.after or 0.0 for leak in leaks if not leak.kind.record]
    yield f"{len(leaks)} planted, {len(leaks)} told; 0 false; {acts} acts, 0 on others; {scans} readings by the oracle"
    if entries:
        middle, worst = statistics.median(entries), max(entries)
        yield f"umount to journal entry: median {middle:.2f} s, worst {worst:.2f} s ({len(entries)})"
    for name in dict.fromkeys(leak.kind.name for leak in leaks):
        some = [leak for leak in leaks if leak.kind.name == name]
        delays = [leak.after or 0.0 for leak in some]
        where = "report" if some[0].kind.record else "journal entry"
        yield f"  {len(some)} {name}: umount to {where} {min(delays):.2f} to {max(delays):.2f} s"


def judged(state: Churn) -> int:
    """What the service told and did is about the planted ones, and all of them; how many acts there were."""
    report = json.loads(state.host.run("mountwarden", "report", "--json", "--all", check=False).stdout)
    assert [one for one in report["findings"] if one["severity"] != "info"] == []
    assert state.wrong == []
    found, acted = (events(state.host, kind) for kind in ("found", "acted"))
    planted_here = {leak.mountpoint for leak in state.leaks}
    assert [entry["MESSAGE"] for entry in found if entry["MOUNTWARDEN_MOUNTPOINT"] not in planted_here] == []
    assert {entry["MOUNTWARDEN_KIND"] for entry in found} <= {"leaked"}
    due = {leak.mountpoint for leak in state.leaks if leak.due}
    assert {entry["MOUNTWARDEN_MOUNTPOINT"] for entry in acted} == due
    assert not_done(state.host) == []
    words = [entry["MESSAGE"] for entry in state.host.journal("-u", "mountwarden.service")]
    assert [word for word in words if "Traceback" in word or "Warning" in word] == []
    return len(acted)


@pytest.mark.timeout(2 * SECONDS)
def test_containers_of_all_engines_and_planted_leaks(capsys: pytest.CaptureFixture[str]) -> None:
    lines = churn(CONTAINERS, PLANTED)
    with capsys.disabled():
        print(f"\nchurn of today: {lines}")
