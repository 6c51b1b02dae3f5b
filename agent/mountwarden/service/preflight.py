"""Whether the service may run here: as root, in PID 1's mount namespace. If not, which directive is the cause.

In a namespace of its own, made by any such directive, its actions would not reach the host, and the kernel would not
refuse to remove a live mountpoint of the host.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import RefusedToRun

if TYPE_CHECKING:
    from ..model import Gap


def _settings() -> str | None:
    from ..systemd.own_unit import namespacing_settings

    return namespacing_settings()


def check(proc: str = "/proc", *, settings: Callable[[], str | None] = _settings) -> "tuple[Gap, ...]":
    """Return when the service may run, with what could not be made sure of.

    Raises: RefusedToRun with one line that names the directives of the unit, where they are found.
    """
    if os.geteuid() != 0:
        raise RefusedToRun("the agent needs root", hint="systemctl start mountwarden")
    same, gap = _in_pid1s_namespace(proc)
    if same:
        return (gap,) if gap else ()
    named = settings()
    because = f": {named} of its unit gave it one of its own" if named else ""
    raise RefusedToRun(
        f"the agent is not in PID 1's mount namespace{because}",
        hint="remove that directive, then: systemctl daemon-reload && systemctl restart mountwarden",
    )


def _in_pid1s_namespace(proc: str) -> "tuple[bool, Gap | None]":
    try:
        return os.readlink(f"{proc}/1/ns/mnt") == os.readlink(f"{proc}/self/ns/mnt"), None
    except PermissionError:
        from ..model import Gap

        # Even root may not be allowed to read it (a container's outer init). Mount ids are the kernel's, over all
        # namespaces: two lists of one namespace are the same, those of two have none in common.
        gap = Gap("PID 1's mount namespace", "its link can't be read; judged by the ids of its mounts")
        return not _ids(f"{proc}/1/mountinfo").isdisjoint(_ids(f"{proc}/self/mountinfo")), gap


def _ids(path: str) -> set[bytes]:
    with open(path, "rb") as file:
        return {line.split(b" ", 1)[0] for line in file}
