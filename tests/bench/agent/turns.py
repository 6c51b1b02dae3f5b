"""Runs on a test host: times commands in turns, so that what disturbs the machine disturbs them alike.

turns ROUNDS with {name: argv} as JSON on standard input; prints {name: [[wall, cpu, peak], ...]}: wall and processor
seconds of the command and all that it started, and the MiB that the largest of its processes had in memory.
"""

import json
import os
import subprocess
import sys
import time

WRONG = 2
"""The exit status of mountwarden where it could not tell."""


def once(argv: list[str]) -> tuple[float, float, float]:
    """One run. What it prints goes to a file: grep stops early for /dev/null."""
    start = time.perf_counter()
    with open("/tmp/printed", "wb") as printed:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    took = time.perf_counter() - start
    if "mountwarden" in argv and os.waitstatus_to_exitcode(status) not in range(WRONG):
        sys.exit(f"{argv}: wait status {status}")
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """One warming round, then the rounds that count; every other one backwards."""
    commands: dict[str, list[str]] = json.load(sys.stdin)
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for number in range(int(sys.argv[1]) + 1):
        order = list(commands) if number % 2 else list(reversed(commands))
        for name in order:
            took = once(commands[name])
            if number:
                times[name].append(took)
    json.dump(times, sys.stdout)


if __name__ == "__main__":
    main()
