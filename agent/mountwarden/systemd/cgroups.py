"""What a process's cgroup path says: its unit, the unit of a user's own systemd, and its container. Pure.

systemd puts each unit in a cgroup of the unit's name, below its slices; engines put each container in a cgroup named
after its id. What lies below the first unit or the first container is controlled by whoever runs there (a container
with a systemd of its own, an engine inside a container), so the outermost name counts, as in systemd's own
cg_path_get_unit().
"""

import functools
import re
from dataclasses import dataclass

from ..escape import decoded

_UNIT = re.compile(rb"[A-Za-z0-9:_.\\@-]{1,255}")
_NOT_SLICES = (b".service", b".scope", b".socket", b".mount", b".swap")
_CONTAINER = re.compile(rb"(?:(?P<prefix>[a-z0-9_.-]*[a-z0-9])[-:]|.*:[a-z0-9_.-]+:)?(?P<id>[0-9a-f]{64})(?:\.scope)?")
_MONITORS = (b"libpod-conmon", b"crio-conmon")
_MACHINE = re.compile(rb"(?:machine-(?P<scope>.+)\.scope|systemd-nspawn@(?P<service>.+)\.service)")
_LXC = re.compile(rb"lxc\.payload\.(?P<name>.+)")
_HEX = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class CgroupNames:
    """The names in a process's cgroup path. Names are text with undecodable bytes kept (surrogateescape)."""

    unit: str | None = None
    """A unit of PID 1: as systemctl(1) takes it, its \\x2d escapes untouched."""
    user_unit: str | None = None
    """A unit of a user's own systemd, below user@UID.service."""
    container: str | None = None
    """The engine's id of 64 hex digits, or the name of a machine or an LXC container."""


@functools.lru_cache(maxsize=64)
def place(text: bytes) -> CgroupNames:
    """Read the text of /proc/PID/cgroup, cgroups(7): one line in v2, one a hierarchy in v1, both in hybrid mode.

    A line that is not of the form `id:controllers:path` is ignored.
    """
    paths = [_parts(path) for path in _paths(text)]
    unit, user_unit = next((units for units in map(_units, paths) if units[0]), (None, None))
    container = next((found for found in map(_container, paths) if found), None)
    return CgroupNames(_text(unit), _text(user_unit), _text(container))


def _paths(text: bytes) -> list[bytes]:
    """systemd's own hierarchy first (v1 and hybrid), then the unified one, then the controllers'."""
    ranked: list[tuple[int, bytes]] = []
    for line in text.split(b"\n"):
        parts = line.split(b":", 2)
        if len(parts) == 3 and parts[2].startswith(b"/"):
            rank = 0 if parts[1] == b"name=systemd" else 1 if (parts[0], parts[1]) == (b"0", b"") else 2
            ranked.append((rank, parts[2]))
    return [path for _, path in sorted(ranked, key=lambda item: item[0])]


def _parts(path: bytes) -> list[bytes]:
    """Its components. Seen from a cgroup namespace it begins with /..; of a removed cgroup it ends in (deleted)."""
    parts = [part for part in path.removesuffix(b" (deleted)").split(b"/") if part not in (b"", b"..")]
    # systemd puts "_" before a name that a controller's file could have (cg_escape).
    return [part[1:] if part.startswith(b"_") else part for part in parts]


def _units(parts: list[bytes]) -> tuple[bytes | None, bytes | None]:
    """(unit of PID 1, unit of a user's systemd); a process right in a slice belongs to the slice."""
    unit, rest = _first_unit(parts)
    if unit is None or not re.fullmatch(rb"user@\d+\.service", unit):
        return unit, None
    user_unit, _ = _first_unit(rest)
    return unit, user_unit


def _first_unit(parts: list[bytes]) -> tuple[bytes | None, list[bytes]]:
    slice_: bytes | None = None
    for number, part in enumerate(parts):
        if not _UNIT.fullmatch(part) or not part.endswith((b".slice", *_NOT_SLICES)):
            return slice_, parts[number:]
        if not part.endswith(b".slice"):
            return part, parts[number + 1 :]
        slice_ = part
    return slice_, []


def _container(parts: list[bytes]) -> bytes | None:
    for number, part in enumerate(parts):
        below = parts[number + 1 : number + 2]
        if (match := _CONTAINER.fullmatch(part)) and (match["prefix"] or b"") not in _MONITORS:
            return match["id"]
        if match := _MACHINE.fullmatch(part):
            return _machine(match, below)
        if match := _LXC.fullmatch(part):
            return match["name"]
        if part in (b"lxc", b"lxc.payload") and below:
            return below[0]
    return None


def _machine(match: re.Match[bytes], below: list[bytes]) -> bytes | None:
    """The machine's name, for what runs in it: not for systemd-nspawn itself, not for a virtual machine."""
    name = _HEX.sub(lambda digits: bytes.fromhex(digits[1].decode()), match["scope"] or match["service"])
    return None if below == [b"supervisor"] or name.startswith(b"qemu-") else name


def _text(name: bytes | None) -> str | None:
    return None if name is None else decoded(name)
