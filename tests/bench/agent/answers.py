"""What an answer costs: `mountwarden report` beside what is typed instead, by the size of the host too."""

from collections.abc import Mapping, Sequence

from tests.bench.agent.figures import Aim, Line, middle, milliseconds, paired
from tests.bench.agent.hosts import Bench, Crowd
from tests.bench.agent.page import Section
from tests.bench.agent.plots import chart

# Written out plainly; each finds less than the report: none knows units, causes, or whether home still has the mount.
FINDMNT = "for pid in $(lsns -t mnt -n -o PID); do findmnt -N $pid -t overlay; done"
SCRIPT = """
own=$(readlink /proc/self/ns/mnt)
for process in /proc/[0-9]*; do
    space=$(readlink $process/ns/mnt) || continue
    [ "$space" = "$own" ] && continue
    grep -q ' - overlay ' $process/mountinfo || continue
    awk '$0 ~ " - overlay " { print $5 }' $process/mountinfo | sort > /tmp/there
    awk '$0 ~ " - overlay " { print $5 }' /proc/self/mountinfo | sort > /tmp/here
    comm -13 /tmp/here /tmp/there | sed "s,^,$(cat $process/comm) ,"
done
"""
PSUTIL = """
import psutil
for process in psutil.process_iter(["pid", "name"]):
    try:
        with open(f"/proc/{process.pid}/mountinfo") as file:
            mounts = [line.split() for line in file]
    except OSError:
        continue
    for mount in mounts:
        if "overlay" in mount[6:9]:
            print(process.info["name"], mount[4])
"""
RIVALS: Mapping[str, Sequence[str]] = {
    "cat": ("sh", "-c", "cat /proc/[0-9]*/mountinfo"),
    "grep": ("sh", "-c", "grep -c ' - overlay ' /proc/[0-9]*/mountinfo"),
    "lsns": ("lsns", "-t", "mnt"),
    "findmnt for each": ("sh", "-c", FINDMNT),
    "a shell script": ("sh", "-c", SCRIPT),
    "psutil": ("python3", "-c", PSUTIL),
}
TOLD = {
    "cat": "`cat /proc/[0-9]*/mountinfo`",
    "grep": "`grep -c overlay /proc/[0-9]*/mountinfo`",
    "lsns": "`lsns -t mnt` (names no mount)",
    "findmnt for each": "`findmnt -N` for each namespace of `lsns`",
    "a shell script": "readlink, grep, awk and comm for each process",
    "psutil": "psutil, each process's mountinfo split",
}
LIMIT = 100_000
"""Mounts in all beyond which only the quick rivals are run."""
REPORT = ("mountwarden", "report", "--json", "--no-wait")
VERSION = "`mountwarden --version`"
AIMS = {VERSION: Aim(80, "ms")}


def measure(bench: Bench) -> list[Section]:
    """The commands that find something, and how long those take that scan nothing."""
    with bench.crowd(*bench.target) as crowd:
        return [
            Section(f"One answer at {crowd.size}", _answers(crowd, bench.tiers, bench.few(2, 7))),
            Section("Start-up", _start_up(crowd, bench.few(3, 20))),
        ]


def growth(bench: Bench) -> list[Section]:
    """The commands against the number of namespaces, then of mounts."""
    most = bench.few(2, 5)
    return [
        _against(bench, "namespaces", "500 mounts each", [(n, 500) for n in (10, 50, 100, 200, 400)[:most]]),
        _against(bench, "mounts", "100 namespaces", [(100, m) for m in (50, 250, 500, 1000, 2000)[:most]]),
    ]


def _answers(crowd: Crowd, tiers: Sequence[str], rounds: int) -> list[Line]:
    """Whole commands, in turns."""
    ours = {f"report {tier}": (*REPORT, "--tier", tier) for tier in tiers}
    times = crowd.turns({**ours, **RIVALS}, rounds)
    wall = {name: [run.wall for run in runs] for name, runs in times.items()}
    best = min(ours, key=lambda name: middle(wall[name]))
    lines = [Line(f"`mountwarden report --tier {name.split()[1]}`", milliseconds(middle(wall[name]))) for name in ours]
    for name, told in TOLD.items():
        value, beside = milliseconds(middle(wall[best])), f"{told}: {milliseconds(middle(wall[name]))}"
        lines.append(Line(f"`mountwarden report` ({best.split()[1]})", value, beside, paired(wall[best], wall[name])))
    return lines


def _start_up(crowd: Crowd, rounds: int) -> list[Line]:
    commands = {
        VERSION: ("mountwarden", "--version"),
        "`mountwarden report --help`": ("mountwarden", "report", "--help"),
        "python": ("python3", "-I", "-c", "pass"),
    }
    times = {name: [run.wall for run in runs] for name, runs in crowd.turns(commands, rounds).items()}
    theirs = times.pop("python")
    beside = f"`python3 -I -c pass`: {milliseconds(middle(theirs))}"
    return [
        Line(name, milliseconds(middle(ours)), beside, paired(ours, theirs), AIMS.get(name), middle(ours) * 1000)
        for name, ours in times.items()
    ]


def _against(bench: Bench, what: str, fixed: str, sizes: Sequence[tuple[int, int]]) -> Section:
    series: dict[str, list[tuple[float, float]]] = {}
    for size in sizes:
        with bench.crowd(*size) as crowd:
            for name, seconds in _medians(crowd, bench.tiers, bench.few(1, 3)).items():
                series.setdefault(name, []).append((size[what == "mounts"], round(seconds * 1000, 1)))
    rows = (f"- {name}: " + ", ".join(f"{x}: {y} ms" for x, y in points) for name, points in series.items())
    plot = chart(f"One answer, {fixed}", what, "milliseconds", series)
    return Section(f"Against the number of {what}", text="\n".join(rows), plots={f"cost-{what}": plot})


def _medians(crowd: Crowd, tiers: Sequence[str], rounds: int) -> dict[str, float]:
    """Median wall seconds of the commands that are plotted against the size of the host."""
    commands: dict[str, Sequence[str]] = {"cat": RIVALS["cat"], "grep": RIVALS["grep"]}
    if crowd.namespaces * crowd.mounts <= LIMIT:
        commands["findmnt for each"] = RIVALS["findmnt for each"]
    for tier in tiers:
        commands[f"report, {tier}"] = (*REPORT, "--tier", tier)
    return {name: middle(run.wall for run in runs) for name, runs in crowd.turns(commands, rounds).items()}
