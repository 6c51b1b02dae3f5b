"""What an answer costs: `mountwarden report` beside what is typed instead, and a scan beside reading the files."""

import json
from collections.abc import Mapping, Sequence

from tests.bench.agent.figures import Line, middle, milliseconds, paired
from tests.bench.agent.hosts import Crowd

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
QUICK = ("cat", "grep", "lsns")
LIMIT = 10_000
"""Mounts in all beyond which only the quick rivals are run again and again."""


def answers(crowd: Crowd, tiers: Sequence[str], rounds: int) -> list[Line]:
    """Whole commands, in turns."""
    ours = {f"report {tier}": ("mountwarden", "report", "--json", "--no-wait", "--tier", tier) for tier in tiers}
    times = crowd.turns({**ours, **RIVALS}, rounds)
    wall = {name: [seconds for seconds, _cpu in pairs] for name, pairs in times.items()}
    best = min(ours, key=lambda name: middle(wall[name]))
    lines = [Line(f"`mountwarden report --tier {name.split()[1]}`", milliseconds(middle(wall[name]))) for name in ours]
    for name, told in TOLD.items():
        value, beside = milliseconds(middle(wall[best])), f"{told}: {milliseconds(middle(wall[name]))}"
        lines.append(Line(f"`mountwarden report` ({best.split()[1]})", value, beside, paired(wall[best], wall[name])))
    return lines


def scans(crowd: Crowd, tiers: Sequence[str], rounds: int) -> list[Line]:
    """Inside one process: cold, everything again, and a tick."""
    times: dict[str, list[float]] = json.loads(crowd.tool("scan_costs", str(rounds), *tiers))

    def line(what: str, ours: str, theirs: str, told: str, aim: str = "") -> Line:
        beside = f"{told}: {milliseconds(middle(times[theirs]))}"
        return Line(what, milliseconds(middle(times[ours])), beside, paired(times[ours], times[theirs]), aim)

    files, bare = "reading the same files once", "finding the namespaces"
    lines = []
    for tier in tiers:
        cold = "at most 1.4" if tier == "mountinfo" else ""
        sweep = "at most 0.2" if tier == "statmount" else ""
        idle = "at most 2" if tier == "events" else ""
        lines.append(line(f"{tier}: first scan, with findings", f"cold-{tier}", "read", files, cold))
        lines.append(line(f"{tier}: every namespace again", f"sweep-{tier}", "read", files, sweep))
        lines.append(line(f"{tier}: a tick", f"idle-{tier}", "walk", bare, idle))
    return lines


def growth(crowd: Crowd, tiers: Sequence[str], rounds: int) -> dict[str, float]:
    """Median wall seconds of the commands that are plotted against the size of the host."""
    commands: dict[str, Sequence[str]] = {"cat": RIVALS["cat"], "grep": RIVALS["grep"]}
    if crowd.namespaces * crowd.mounts <= LIMIT * 10:
        commands["findmnt for each"] = RIVALS["findmnt for each"]
    for tier in tiers:
        commands[f"report, {tier}"] = ("mountwarden", "report", "--json", "--no-wait", "--tier", tier)
    times = crowd.turns(commands, rounds)
    return {name: middle(wall for wall, _cpu in pairs) for name, pairs in times.items()}


def start_up(crowd: Crowd, rounds: int) -> list[Line]:
    """How long the commands take that scan nothing."""
    commands = {
        "version": ("mountwarden", "--version"),
        "help": ("mountwarden", "report", "--help"),
        "python": ("python3", "-I", "-c", "pass"),
        "findmnt": ("findmnt", "--version"),
    }
    times = {n: [wall for wall, _ in pairs] for n, pairs in crowd.turns(commands, rounds).items()}
    beside = f"`python3 -I -c pass`: {milliseconds(middle(times['python']))}"
    return [
        Line("`mountwarden --version`", milliseconds(middle(times["version"])), beside,
             paired(times["version"], times["python"]), "below 80 ms"),
        Line("`mountwarden report --help`", milliseconds(middle(times["help"])), beside,
             paired(times["help"], times["python"])),
    ]  # fmt: skip
