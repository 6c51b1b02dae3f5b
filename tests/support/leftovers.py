"""What a test may leave behind in the process that runs it, and in whom it started: nothing."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Belongings:
    """What this process has at one moment, each with a text that tells what it is."""

    mounts: dict[str, str]
    fds: dict[str, str]
    children: dict[str, str]
    namespaces: dict[str, str]

    def beyond(self, before: "Belongings") -> list[str]:
        """What is here and was not there before, one line each."""
        return [
            f"{kind}: {text}"
            for kind in ("mounts", "fds", "children", "namespaces")
            for key, text in getattr(self, kind).items()
            if key not in getattr(before, kind)
        ]


def belongings() -> Belongings:
    """Look now. `namespaces` are foreign mount namespaces of processes in this process's group."""
    mounts = {line.split(" ", 1)[0]: line for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return Belongings(mounts, _fds(), _children(), _namespaces())


def _fds() -> dict[str, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # the one that listed the directory
        found[f"{fd} {target}"] = f"{fd} -> {target}"
    return found


def _children() -> dict[str, str]:
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = (task / "children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread is there for a moment after it was joined
        found |= {pid: f"{pid} {_comm(pid)}" for pid in pids}
    return found


def _comm(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "(gone)"


def _namespaces() -> dict[str, str]:
    own = os.readlink("/proc/self/ns/mnt")
    found = {}
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        try:
            if os.getpgid(int(pid)) == os.getpgrp() and (link := os.readlink(f"/proc/{pid}/ns/mnt")) != own:
                found[link] = f"{link} of {pid} {_comm(pid)}"
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found
