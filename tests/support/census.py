"""Which overlays are mounted somewhere and no longer in PID 1's namespace: a plain reading of /proc/*/mountinfo.

It runs on a test host by itself (`python3 census.py once`, `python3 census.py watch FILE`), and knows nothing of the
product: no layouts, no spots, no propagation. An overlay is named by the directory that it writes to.
"""

import json
import os
import re
import signal
import sys
import time

PAUSE = 0.3
"""Seconds between two readings of a watch."""


def overlays(pid: str) -> dict[str, tuple[str, str, str]]:
    """Overlays of a process's namespace: mount id to (device, upper directory, where)."""
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        before, _, after = line.partition(" - ")
        number, _parent, device, _root, point = before.split(" ")[:5]
        upper = re.search(r"(?:^|,)upperdir=([^,]*)", after.split(" ", 2)[2])
        if after.startswith("overlay ") and upper:
            found[number] = (device, upper.group(1), point)
    return found


def namespaces() -> dict[str, str]:
    """Inode of each mount namespace that has a process, to one of its processes."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found[os.readlink(f"/proc/{pid}/ns/mnt").strip("mnt:[]")] = pid
        except OSError:
            continue
    return found


def orphans() -> list[tuple[str, str, str]]:
    """(namespace, upper directory, where) of what PID 1's namespace had neither before nor after all others were read.

    A namespace's own "/" is a container that runs.
    """
    first = overlays("1").values()
    seen = [(inode, overlays(pid)) for inode, pid in namespaces().items()]
    home = {(device, upper) for device, upper, _point in [*first, *overlays("1").values()]}
    return [
        (inode, upper, point)
        for inode, table in seen
        for device, upper, point in table.values()
        if (device, upper) not in home and point != "/"
    ]


def watch(path: str) -> None:
    """Until SIGTERM; then write the longest time (in seconds) that each orphan was there without a break."""
    since: dict[tuple[str, str, str], float] = {}
    longest: dict[tuple[str, str, str], float] = {}
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop.append(number))
    scans = 0
    while not stop:
        now, scans = time.monotonic(), scans + 1
        since = {one: since.get(one, now) for one in orphans()}
        for one, began in since.items():
            longest[one] = max(longest.get(one, 0.0), now - began)
        time.sleep(PAUSE)
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump({"looks": scans, "orphans": [[*one, seconds] for one, seconds in longest.items()]}, file)


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        watch(sys.argv[2])
    else:
        print(json.dumps(orphans()))
