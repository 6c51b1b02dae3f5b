"""Whether the service may run here: as root, in PID 1's mount namespace. If not, which directive is at fault.

In a namespace of its own, made by any of these directives, its acts would not reach the host, and the kernel would not
refuse to remove a live mountpoint of the host.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterable

from ..errors import RefusedToRun
from ..model import Gap
from ..systemd.namespacing_directives import setting

_DEADLINE = 3.0


def check(proc: str = "/proc", *, directive: Callable[[], str | None] | None = None) -> tuple[Gap, ...]:
    """Return when the service may run, with what could not be made sure of.

    Raises: RefusedToRun with one line that names the directive, where the unit's files show one.
    """
    if os.geteuid() != 0:
        raise RefusedToRun("the agent needs root", hint="systemctl start mountwarden")
    same, gap = _in_pid1s_namespace(proc)
    if same:
        return (gap,) if gap else ()
    named = (directive or fault)()
    because = f": {named} of its unit gave it one of its own" if named else ""
    raise RefusedToRun(
        f"the agent is not in PID 1's mount namespace{because}",
        hint="remove that directive, then: systemctl daemon-reload && systemctl restart mountwarden",
    )


def _in_pid1s_namespace(proc: str) -> tuple[bool, Gap | None]:
    try:
        return os.readlink(f"{proc}/1/ns/mnt") == os.readlink(f"{proc}/self/ns/mnt"), None
    except PermissionError:
        # PID 1 may forbid even root to look (a container's outer init). Mount ids are the kernel's, over all
        # namespaces: two lists of one namespace are the same, those of two have none in common.
        gap = Gap("PID 1's mount namespace", "its link can't be read; judged by the ids of its mounts")
        return not _ids(f"{proc}/1/mountinfo").isdisjoint(_ids(f"{proc}/self/mountinfo")), gap


def _ids(path: str) -> set[bytes]:
    with open(path, "rb") as file:
        return {line.split(b" ", 1)[0] for line in file}


def fault() -> str | None:
    """The directive of our own unit that makes a mount namespace, with file and line; None where none is found."""
    unit = _own_unit()
    if unit is None:
        return None
    for path, lines in _files(_run(["systemctl", "cat", "--no-pager", unit])):
        for text, number in lines:
            if found := setting(text):
                return f"{found} ({path}, line {number})" if path else found
    shown = _run(["systemctl", "show", "--no-pager", unit])
    return next((found for line in shown.splitlines() if (found := setting(line))), None)


def _own_unit() -> str | None:
    """Our unit's name by our control group: the last part that is a service or a scope."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        parts = re.split(r"[/\n]", file.read())
    return next((part for part in reversed(parts) if part.endswith((".service", ".scope"))), None)


def _files(text: str) -> Iterable[tuple[str, list[tuple[str, int]]]]:
    """The files in what `systemctl cat` prints, last one first: it counts most. Lines come with their numbers."""
    files: list[tuple[str, list[tuple[str, int]]]] = []
    for line in text.splitlines():
        if line.startswith("# /"):
            files.append((line[2:].strip(), []))
        elif files:
            files[-1][1].append((line, len(files[-1][1]) + 1))
    return reversed(files)


def _run(command: list[str]) -> str:
    """What a command prints; nothing where it can't be run. The refusal needs no answer to be right."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_DEADLINE, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
