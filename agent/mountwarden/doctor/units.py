"""Services that do not run, and will keep what is mounted when they start: MountFlags=private in their files."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..escape import printable, unit_name
from ..explain import lasting_fix
from ..model import UnitFile
from ..systemd import unit_files
from .check import Check, Status
from .roots import NEXT

PLACES = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")
"""systemd.unit(5): the first that has a file of a name counts; drop-ins of all do, by name."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a service's MountFlags=private is set."""

    unit: str
    file: str
    line: int


def private(places: Sequence[str] = PLACES) -> tuple[Setting, ...]:
    """Every service whose files make its mounts private, running or not, by name."""
    units = sorted({name.removesuffix(".d") for place in places for name in names(place)})
    found = (_setting(unit, places) for unit in units if unit.endswith(".service"))
    return tuple(setting for setting in found if setting)


def checks(settings: Iterable[Setting], running: frozenset[str]) -> Iterator[Check]:
    """One line for each that does not run; those that do are judged by their mounts."""
    for one in settings:
        if one.unit not in running:
            where = f"{printable(one.file)}:{one.line}"
            text = f"{unit_name(one.unit)} will keep what is live when it starts: MountFlags=private ({where})"
            fix = lasting_fix.mount_flags_fix(one.unit)
            yield Check("units.private", NEXT, Status.WARN, text, str(fix) if fix else None)


def _setting(unit: str, places: Sequence[str]) -> Setting | None:
    """The last assignment counts; one without a value is the default."""
    found = None
    for file in _files(unit, places):
        for item in file.assignments:
            if item.section == b"Service" and item.key == "MountFlags":
                found = Setting(unit, os.fsdecode(file.path), item.line) if item.value == b"private" else None
    return found


def _files(unit: str, places: Sequence[str]) -> Iterator[UnitFile]:
    fragment = next((f"{place}/{unit}" for place in places if os.path.lexists(f"{place}/{unit}")), None)
    drop_ins: dict[str, str] = {}
    for place in reversed(places):
        drop_ins |= {name: f"{place}/{unit}.d/{name}" for name in names(f"{place}/{unit}.d") if name.endswith(".conf")}
    for path in (fragment, *(drop_ins[name] for name in sorted(drop_ins))):
        if path and (file := unit_files.read(os.fsencode(path))):
            yield file


def names(place: str) -> list[str]:
    """What a directory of units has; nothing where it is not there."""
    try:
        return os.listdir(place)
    except OSError:
        return []
