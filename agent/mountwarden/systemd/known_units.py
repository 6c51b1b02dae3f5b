"""Which units there are, by unit files and cgroups: enough to tell a unit without findings from a name that is wrong.

The bus is not asked. Unit files in users' homes are not read, where a file system may hang: a unit of a user's systemd
is known while it runs.
"""

import os
from collections.abc import Iterable, Iterator

TYPES = frozenset(
    f".{kind}"
    for kind in (
        "service",
        "socket",
        "device",
        "mount",
        "automount",
        "swap",
        "target",
        "path",
        "timer",
        "slice",
        "scope",
    )
)
"""Suffixes of unit names, systemd.unit(5)."""
_FILES = tuple(
    f"{place}/{manager}"
    for manager in ("system", "user")
    for place in ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd")
) + tuple(f"/run/systemd/{place}" for place in ("transient", "generator", "generator.early", "generator.late"))
_CGROUPS = "/sys/fs/cgroup"
_LINKS = 8


def full_name(name: str) -> str:
    """The name with the suffix that systemctl(1) adds where it has none of a unit."""
    return name if os.path.splitext(name)[1] in TYPES else f"{name}.service"


def names_of(unit: str, files: Iterable[str] = _FILES, cgroups: str = _CGROUPS) -> frozenset[str]:
    """The unit, and the one that it is an alias of, by the unit files' links; empty where there is no such unit."""
    found = set[str]()
    for directory in files if "/" not in unit else ():
        if name := _in(directory, unit):
            found |= {unit, name}
    return frozenset(found or ({unit} if unit in _running(cgroups) else ()))


def names(files: Iterable[str] = _FILES, cgroups: str = _CGROUPS) -> frozenset[str]:
    """All names that are known."""
    listed = (name for directory in files for name in _listed(directory))
    return frozenset(name for name in (*listed, *_running(cgroups)) if os.path.splitext(name)[1] in TYPES)


def _in(directory: str, unit: str) -> str | None:
    """The unit's own name by its file in a directory, or by its template's; None where there is none."""
    base, suffix = os.path.splitext(unit)
    template = f"{base.partition('@')[0]}@{suffix}" if "@" in base else unit
    for name in (unit, template):
        if os.path.lexists(f"{directory}/{name}"):
            return _target(directory, name) if name == unit else unit
    return None


def _target(directory: str, name: str) -> str:
    """Where the links between unit files lead: the last name that is a unit's. A masked unit keeps its name."""
    for _ in range(_LINKS):
        try:
            target = os.readlink(f"{directory}/{name}")
        except OSError:
            break
        if os.path.splitext(target)[1] not in TYPES:
            break
        directory, name = os.path.normpath(os.path.join(directory, os.path.dirname(target))), os.path.basename(target)
    return name


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _running(cgroups: str) -> frozenset[str]:
    """Names of cgroups: those of all units that run, of users' own systemd too, and some others."""
    return frozenset(_cgroups(cgroups))


def _cgroups(top: str) -> Iterator[str]:
    for _path, directories, _files in os.walk(top):
        yield from directories
