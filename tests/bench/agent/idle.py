"""What the idle service uses: with the host as it is, and beside units whose mount namespaces are cut off from it."""

import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.bench.agent.figures import Aim, Line, middle, milliseconds
from tests.bench.agent.hosts import Bench, Crowd
from tests.bench.agent.page import Section
from tests.bench.agent.service import resident, shares, start, used
from tests.support.leaks import Leaks

UNITS = 8
CORE = Aim(0.1, "% of a core")
LEAKY = Aim(1.3)
MEMORY = {(100, 500): Aim(40, "MiB"), (400, 1000): Aim(64, "MiB")}
ASKED = Aim(0.15)
RESYNC = 60
"""Seconds."""


def cut_off(crowd: Crowd) -> None:
    """Units with all of the host's mounts, which its umounts do not reach."""
    for number in range(UNITS):
        crowd.host.unit(f"cut-{number}", "PrivateTmp=yes", "MountFlags=private")


def with_leaks(crowd: Crowd) -> None:
    """The same, and each has a leak of its own."""
    leaks = Leaks(crowd.host)
    for number in range(UNITS):
        leaks.make(f"leaky-{number}")


BESIDE: dict[str, Callable[[Crowd], None]] = {
    "units with MountFlags=private": cut_off,
    "such units that hold a leak each": with_leaks,
}


def measure(bench: Bench) -> list[Section]:
    """Three hosts at the same time, so that what disturbs one disturbs all."""
    seconds = bench.few(10, 3 * RESYNC)
    with ExitStack() as stack:
        crowds = [stack.enter_context(bench.crowd(*bench.target)) for _ in range(1 + len(BESIDE))]
        for crowd in crowds:
            start(crowd.host, "mountinfo", "--observe")
        for crowd, make in zip(crowds[1:], BESIDE.values(), strict=True):
            make(crowd)
        time.sleep(bench.few(5, 2 * RESYNC + 10))  # what came last is known by then
        plain, *others = shares(crowds, seconds)
        size = crowds[0].size
        lines = _of("mountinfo", crowds[0], plain, leads=True)
        for name, share in zip(BESIDE, others, strict=True):
            what, beside = f"mountinfo: idle at {size} beside {UNITS} {name}", f"without these: {plain:.3f} %"
            lines.append(Line(what, f"{share:.3f} % of a core", beside, share / plain, LEAKY, leads=True))
        others_seconds = bench.few(5, RESYNC)
        tiers = [tier for tier in bench.tiers if tier != "mountinfo"]
        lines += _others(crowds[: len(tiers)], tiers, others_seconds)
        return [Section(f"The service, idle, over {seconds} s", lines)]


def large(bench: Bench, crowd: Crowd) -> list[Section]:
    """The same on a large host, which is there already; and a report of the service."""
    lines = []
    for tier in bench.tiers:
        start(crowd.host, tier)
        time.sleep(5)
        (share,) = shares([crowd], bench.few(5, 30))
        lines += _of(tier, crowd, share)
    asked = [_asked(crowd, tier, bench.few(2, 3)) for tier in bench.tiers]
    return [
        Section("The service, idle, on a large host", lines),
        Section("A report of the service on a large host", asked),
    ]


def _others(crowds: list[Crowd], tiers: list[str], seconds: float) -> list[Line]:
    """Each tier on a host of its own; on those that have cut off units, these are gone by now."""
    for crowd, tier in zip(crowds, tiers, strict=True):
        crowd.host.run("systemctl", "stop", "cut-*", "leaky-*")
        start(crowd.host, tier)
    time.sleep(5)
    pairs = zip(crowds, tiers, shares(crowds, seconds), strict=True)
    return [line for crowd, tier, share in pairs for line in _of(tier, crowd, share)]


def _of(tier: str, crowd: Crowd, share: float, *, leads: bool = False) -> list[Line]:
    memory = resident(crowd.host)
    aim = MEMORY.get((crowd.namespaces, crowd.mounts))
    what, core = f"{tier}: idle at {crowd.size}", f"{share:.3f} % of a core"
    return [
        Line(what, core, aim=CORE, measured=share, leads=leads),
        Line(f"{tier}: memory at {crowd.size}", f"{memory:.1f} MiB", aim=aim, measured=memory),
    ]


def _asked(crowd: Crowd, tier: str, rounds: int) -> Line:
    """A report of the service beside a scan of the command's own: processor time of both, the service's too."""
    command = ("mountwarden", "report", "--json", "--no-wait")
    start(crowd.host, tier)
    time.sleep(5)
    own = middle(run.cpu for run in crowd.turns({"own": (*command, "--tier", tier)}, rounds)["own"])
    before = used(crowd.host)
    client = middle(run.cpu for run in crowd.turns({"asked": command}, rounds)["asked"])
    each = client + (used(crowd.host) - before) / (rounds + 1)
    what = f"{tier}: processor time of `mountwarden report`, asking the service"
    return Line(what, milliseconds(each), f"a scan of its own: {milliseconds(own)}", each / own, ASKED)
