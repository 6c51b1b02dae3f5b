"""What one scan costs in the process, beside reading the texts."""

import json
from collections.abc import Mapping, Sequence

from tests.bench.agent.figures import Aim, Line, middle, milliseconds, paired
from tests.bench.agent.hosts import MEASURED, Bench, Crowd
from tests.bench.agent.page import Section

Times = Mapping[str, Sequence[float]]

CHANGES = {"mount": "a mount of a layer", "umount": "an umount of a layer", "other": "a mount of no interest"}
FILES, BARE, HOME = "reading all texts once", "finding the namespaces", "reading the host's text once"
AFTER = Aim(0.05)
OF_HOME = Aim(2)
UNJUDGED = Aim(1.3)
WITHOUT_EVENTS = ("mountinfo", "statmount")
"""The tiers that are told of no mount, for which a change was to cost little."""
KEPT = {"cold-mountinfo": Aim(1.4), "idle-events": Aim(2)}
"""What was aimed at before."""


def measure(bench: Bench) -> list[Section]:
    """All of it."""
    rounds = bench.few(3, 9)
    with bench.crowd(*bench.target) as crowd, bench.crowd(*bench.target, "unjudged") as other:
        overlays = f"{crowd.mounts // 2} overlays of each namespace below no root"
        return [
            Section(f"One scan at {crowd.size}", _plain(crowd, bench.tiers, rounds)),
            Section(
                f"One scan at {crowd.size}, with {overlays}",
                [*_changed(_times(other, rounds, "mountinfo"), "mountinfo", overlays), _cold(crowd, other, rounds)],
            ),
        ]


def home(bench: Bench) -> list[Section]:
    """A host with very many mounts of its own."""
    rounds = bench.few(3, 15)
    with bench.crowd(bench.few(2, 3), bench.few(500, 10_000)) as crowd:
        names = [f"{change}-mountinfo" for change in CHANGES]
        times: Times = json.loads(crowd.tool("scan_costs", str(rounds), "home", *names, env=MEASURED))
    lines = [
        line(times, f"the scan after {what}", f"{change}-mountinfo", "home", HOME, OF_HOME, leads=True)
        for change, what in CHANGES.items()
    ]
    return [Section(f"One scan of a host with {crowd.mounts:,} mounts of its own", lines)]


def line(
    times: Times, what: str, ours: str, theirs: str, told: str, aim: Aim | None = None, *, leads: bool = False
) -> Line:
    """One task beside another."""
    beside = f"{told}: {milliseconds(middle(times[theirs]))}"
    figure = milliseconds(middle(times[ours]))
    return Line(what, figure, beside, paired(times[ours], times[theirs]), aim, leads=leads)


def _times(crowd: Crowd, rounds: int, *tiers: str) -> Times:
    tasks = ("cold", "anew", "resync", *CHANGES, "idle")
    names = [f"{what}-{tier}" for tier in tiers for what in tasks]
    times: Times = json.loads(crowd.tool("scan_costs", str(rounds), "read", "walk", *names, env=MEASURED))
    return times


def _plain(crowd: Crowd, tiers: Sequence[str], rounds: int) -> list[Line]:
    lines = []
    times = _times(crowd, rounds, *tiers)
    for tier in tiers:
        lines += _changed(times, tier)
        for task, what, theirs, told in (
            ("cold", "first scan, with findings", "read", FILES),
            ("resync", "the scan of each minute", "read", FILES),
            ("anew", "all read anew", "read", FILES),
            ("idle", "a tick", "walk", BARE),
        ):
            name = f"{task}-{tier}"
            lines.append(line(times, f"{tier}: {what}", name, theirs, told, KEPT.get(name)))
    return lines


def _changed(times: Times, tier: str, where: str = "") -> list[Line]:
    leads, aim = tier == "mountinfo", AFTER if tier in WITHOUT_EVENTS else None
    beside = f", with {where}" if where else ""
    return [
        line(times, f"{tier}: the scan after {what}{beside}", f"{change}-{tier}", "read", FILES, aim, leads=leads)
        for change, what in CHANGES.items()
    ]


def _cold(crowd: Crowd, other: Crowd, rounds: int) -> Line:
    """First scans on both hosts, in turns."""
    task = "cold-mountinfo"
    without, with_them = [], []
    for _ in range(rounds):
        for one, seconds in ((crowd, without), (other, with_them)):
            seconds.append(json.loads(one.tool("scan_costs", "1", task, env=MEASURED))[task][0])
    beside = f"without these: {milliseconds(middle(without))}"
    ratio = paired(with_them, without)
    what = "mountinfo: first scan, with overlays below no root"
    return Line(what, milliseconds(middle(with_them)), beside, ratio, UNJUDGED, leads=True)
