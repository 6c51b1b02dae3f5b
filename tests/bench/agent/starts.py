"""Runs on a test host: runs a command again and again, so many times a second, whether or not earlier ones have ended.

starts COUNT RATE MOST FILE COMMAND...: COUNT times (0: until FILE is there), at most MOST at the same time; with RATE 0
as many a second as that allows. Prints [seconds, ...], how long each took.
"""

import json
import os
import signal
import sys
import time


def launch(argv: list[str]) -> int:
    """Start it, with nothing to read or write; its pid. A blocked SIGCHLD would go on to it."""
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    return os.posix_spawnp(argv[0], argv, os.environ, file_actions=null, setsigmask=())


def ended(running: dict[int, float], took: list[float]) -> None:
    """Reap what has ended."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        took.append(time.monotonic() - running.pop(pid))
        if status:
            sys.exit(f"wait status {status}")


def main() -> None:
    """Start, wait, reap."""
    count, rate, most, file, argv = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    running: dict[int, float] = {}
    took: list[float] = []
    due = time.monotonic()
    while running or (len(took) < count if count else not os.path.exists(file)):
        now = time.monotonic()
        stopped = os.path.exists(file) if not count else len(took) + len(running) >= count
        if not stopped and len(running) < most and now >= due:
            running[launch(argv)] = now
            due = max(due + 1 / rate, now - 1) if rate else now
        pause = due - time.monotonic() if not stopped and len(running) < most else 0.1
        signal.sigtimedwait([signal.SIGCHLD], max(0.0, min(pause, 0.1)))
        ended(running, took)
    json.dump(took, sys.stdout)


if __name__ == "__main__":
    main()
