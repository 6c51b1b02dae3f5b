"""Which directives of the unit that this process runs in gave it a mount namespace of its own, as systemctl(1) says.

This names what a refusal to run is about; the refusal is right without it.
"""

import re
from collections.abc import Iterator

from .namespacing_directives import setting

_SECONDS = 3.0
"""How long each call of systemctl may take."""


def namespacing_settings() -> str | None:
    """Those that are in effect, each with its file and line where a file sets it; None where none is found."""
    unit = _own_unit()
    if unit is None:
        return None
    return found_in(_systemctl("cat", unit), _systemctl("show", unit))


def found_in(files: str, properties: str) -> str | None:
    """The same by what `systemctl cat` and `systemctl show` print.

    Properties that no file sets are named only where no file sets any: others imply them.
    """
    written: dict[str, str] = {}
    for path, line, text in reversed(list(_lines(files))):  # the last file counts most
        if found := setting(text):
            written.setdefault(found.partition("=")[0], f"{found} ({path}, line {line})")
    effective = [found for line in properties.splitlines() if (found := setting(line))]
    both = [written[name] for found in effective if (name := found.partition("=")[0]) in written]
    return ", ".join(both or written.values() or effective) or None


def _own_unit() -> str | None:
    """Our unit's name by our control group: the last part that is a service or a scope."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        parts = re.split(r"[/\n]", file.read())
    return next((part for part in reversed(parts) if part.endswith((".service", ".scope"))), None)


def _lines(text: str) -> Iterator[tuple[str, int, str]]:
    """Each line of the files in what `systemctl cat` prints, with the path of its file and its number there."""
    path, number = "", 0
    for line in text.splitlines():
        number += 1
        if line.startswith("# /"):
            path, number = line[2:].strip(), 0
        elif path:
            yield path, number, line


def _systemctl(command: str, unit: str) -> str:
    """What it prints; nothing where it can't be run, or takes too long."""
    import subprocess  # which no service waits for that may run

    words = ["systemctl", command, "--no-pager", "--", unit]
    try:
        return subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
