"""Containers come and go: what leaks between them, how soon that is said, and what it all takes."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bench.agent.figures import Aim, Line, middle, milliseconds, percentile, resampled
from tests.bench.agent.hosts import PATH, Bench, Crowd
from tests.bench.agent.page import Section
from tests.bench.agent.planted import KINDS, Planted, lost
from tests.bench.agent.service import UNIT, Share, start
from tests.support.leaks import Leaks
from tests.support.machine import Machine

FLAG = "/run/churned"
MOST = 6
"""Containers that are started at the same time."""
USUAL = 3.0
"""Starts a second."""
PATIENCE = 25.0
MEDIAN, P99, NONE, CORE = Aim(2.5, "s"), Aim(6, "s"), Aim(0), Aim(1.4, "% of a core")
RUN_P50, RUN_P99 = Aim(1.05), Aim(1.1)
NETWORKS = {"none": "without a network", "bench": "on a bridge"}


@dataclass(slots=True)
class Starts:
    """Starts of `docker run --rm` that go on."""

    seconds: Sequence[float] = ()
    """What each took, once they have ended."""
    lasted: float = 0.0

    @property
    def rate(self) -> float:
        """How many a second there were."""
        return len(self.seconds) / self.lasted


def measure(bench: Bench) -> list[Section]:
    """On the texts, which have no events."""
    with bench.crowd(*bench.target) as crowd:
        host = crowd.host
        host.start_docker("--ip-forward=false", "--userland-proxy=false")
        host.import_image()
        host.docker("network", "create", "--driver=bridge", "bench")
        lines = [line for rate in (USUAL, 0) for line in _planted(bench, crowd, rate)]
        told = Section(f"Leaks while containers come and go at {crowd.size}", lines)
        beside = [line for network in NETWORKS for line in _frozen(bench, crowd, network)]
        host.stop_docker()
        return [told, Section(f"`docker run --rm` beside the service at {crowd.size}", beside)]


def _planted(bench: Bench, crowd: Crowd, rate: float) -> list[Line]:
    """Without leaks first, for a long time, and then with."""
    start(crowd.host, "mountinfo", "--observe")
    _run(crowd, bench.few(10, 120), 0, "bench")  # what the service may spend at once is spent
    each = bench.few(1, 15)
    planted = Planted(crowd.host, f"planted-{rate:.0f}")
    with _starts(crowd, rate, "bench") as plain:
        time.sleep(1)
        share = Share(crowd.host)
        time.sleep(bench.few(5, 120))
        percent = share.percent()
    with _starts(crowd, rate, "bench") as starts:
        share = Share(crowd.host)
        planted.plant(each)
        leaking = share.percent()
        seconds = planted.found(PATIENCE)
    planted.end()
    at = f"{rate:.0f} starts a second" if rate else "as many starts as the host manages"
    core, beside = "% of a core", f"at {plain.rate:.1f} starts a second"
    return [
        *_told(at, seconds),
        Line(f"{at}: the service", f"{percent:.2f} {core}", beside, aim=CORE, measured=percent, leads=True),
        Line(f"{at}: the service while leaks come", f"{leaking:.2f} {core}", f"at {starts.rate:.1f} starts a second"),
    ]


def _told(at: str, seconds: Sequence[float]) -> list[Line]:
    what = f"{at}: from the umount to the entry"
    late = lost(seconds)
    kinds = ", ".join(f"{kind}s {lost(seconds[place :: len(KINDS)])}" for place, kind in enumerate(KINDS))
    return [
        Line(f"{what}, median of {len(seconds)}", _time(middle(seconds)), "of it 1 s is the confirm time", aim=MEDIAN,
             measured=middle(seconds), leads=True),
        Line(f"{what}, p99", _time(percentile(seconds, 0.99)), aim=P99, measured=percentile(seconds, 0.99), leads=True),
        Line(f"{at}: leaks that were not reported", f"{late} of {len(seconds)}", f"{kinds}; {PATIENCE:.0f} s after the "
             "last", aim=NONE, measured=late, leads=True),
    ]  # fmt: skip


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < float("inf") else f"not within {PATIENCE:.0f} s"


def _frozen(bench: Bench, crowd: Crowd, network: str) -> list[Line]:
    """What a start takes with the service thawed and frozen, in turns.

    At what a host can at most, starts wait for each other, and a figure says nothing of one start.
    """
    took: dict[str, list[float]] = {"thaw": [], "freeze": []}
    for number in range(2 * bench.few(1, 8)):
        state = ("freeze", "thaw")[(number + number // 2) % 2]
        crowd.host.run("systemctl", state, UNIT)
        took[state] += _run(crowd, bench.few(5, 20), USUAL, network)
    crowd.host.run("systemctl", "thaw", UNIT)
    return [
        _beside(took, f"{name} of {len(took['thaw'])} {NETWORKS[network]}", at, aim)
        for name, at, aim in (("p50", 0.5, RUN_P50), ("p99", 0.99, RUN_P99))
    ]


def _beside(took: dict[str, list[float]], name: str, at: float, aim: Aim) -> Line:
    on, off = percentile(took["thaw"], at), percentile(took["freeze"], at)
    low, high = resampled(took["thaw"], took["freeze"], at)
    beside = f"without: {milliseconds(off)}; 95 % of resamples: {low:.3g} to {high:.3g}"
    return Line(f"`docker run --rm`, {name}, with the service", milliseconds(on), beside, on / off, aim, leads=True)


def _command(crowd: Crowd, count: int, rate: float, network: str) -> list[str]:
    run = ("docker", "run", "--rm", "--network", network, "bb", "true")
    return crowd.command("starts", str(count), str(rate), str(MOST), FLAG, *run)


def _run(crowd: Crowd, count: int, rate: float, network: str) -> list[float]:
    """Seconds that each of so many starts took, from the command to the container's end."""
    took: list[float] = json.loads(crowd.host.run(*_command(crowd, count, rate, network), timeout=600, env=PATH).stdout)
    return took


@contextmanager
def _starts(crowd: Crowd, rate: float, network: str) -> Iterator[Starts]:
    """Containers come and go within."""
    crowd.host.run("rm", "-f", FLAG)
    done, began = Starts(), time.monotonic()
    process = crowd.host.popen(*_command(crowd, 0, rate, network), env=PATH)
    try:
        yield done
    finally:
        crowd.host.write(FLAG, "")
        done.lasted = time.monotonic() - began
        out, problem = process.communicate(timeout=60)
    if process.returncode:
        raise RuntimeError(problem.decode())
    done.seconds = json.loads(out)


def latency(bench: Bench) -> list[Section]:
    """From home's umount to the entry in the journal on a host where nothing else happens."""
    lines = []
    with bench.crowd(10, 30) as crowd:
        Leaks(crowd.host).prepare()
        for tier in bench.tiers:
            lines.append(_quiet(crowd.host, tier, bench.few(2, 15)))
    return [Section("How soon a leak is reported on a quiet host", lines)]


def _quiet(host: Machine, tier: str, each: int) -> Line:
    start(host, tier, "--observe")
    planted = Planted(host, f"quiet-{tier}")
    planted.plant(each)
    seconds = planted.found(PATIENCE)
    planted.end()
    value = f"median {_time(middle(seconds))}, p99 {_time(percentile(seconds, 0.99))}"
    return Line(f"{tier}: from the umount to the entry", value, "of it 1 s is the confirm time")
