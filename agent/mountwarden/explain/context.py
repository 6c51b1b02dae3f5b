"""What a cause is judged from, and its gathering: a thin layer over the bus, unit files and engines' configurations."""

import itertools
from dataclasses import dataclass

from ..model import Finding, Gap, Holder, Mount, NamespaceKind
from ..mounts.mountinfo import Lines, Unreadable, parse_line
from ..systemd import unit_files, units
from . import oci
from .holders import service_of


@dataclass(frozen=True, slots=True)
class Context:
    """The facts around one finding."""

    above: tuple[Mount, ...] = ()
    """The mounts that hold the copy in its namespace: its parent first, the namespace's own "/" last."""
    unit: units.UnitFacts | None = None
    """The service whose namespace it is, where PID 1 answered."""
    files: tuple[unit_files.UnitFile, ...] = ()
    """That unit's fragment and drop-ins, in the order in which they apply."""
    asked: str | None = None
    """The propagation that the container's configuration asks for, for the bind mount that holds the copy."""
    home: Mount | None = None
    """Home's mount that holds the mountpoint."""
    mountpoint: bytes | None = None
    """The copy's path at home, for a finding that stands for several copies; None: the finding's own."""


def gather(
    finding: Finding, mountinfo: bytes | None, home: Mount | None, mountpoint: bytes | None = None
) -> tuple[Context, tuple[Gap, ...]]:
    """Ask for what the cause of an attributed finding depends on. `mountinfo` is the text of its namespace.

    Takes up to `bus.DEADLINE` seconds; nothing is raised, what has no answer is a gap.
    """
    service = system_service(finding)
    answer = units.unit_facts(service) if service else None
    return around(finding, _above(finding, mountinfo), home, answer, mountpoint)


def around(
    finding: Finding,
    above: tuple[Mount, ...],
    home: Mount | None,
    answer: units.UnitFacts | Gap | None,
    mountpoint: bytes | None = None,
) -> tuple[Context, tuple[Gap, ...]]:
    """The same where the mounts above the copy are known, and PID 1 has answered for the service already."""
    unit = answer if isinstance(answer, units.UnitFacts) else None
    gaps = (answer,) if isinstance(answer, Gap) else ()
    return Context(above, unit, _files(unit), _asked(finding, above), home, mountpoint), gaps


def system_service(finding: Finding) -> str | None:
    """The service of PID 1's that a finding's namespace belongs to; PID 1 knows nothing of a user's own units."""
    if finding.namespace_kind is not NamespaceKind.SERVICE or not finding.holders:
        return None
    first = finding.holders[0]
    return None if first.user_unit else service_of(first)


def container_of(finding: Finding) -> Holder | None:
    """The first holder that is in a container."""
    return next((holder for holder in finding.holders if holder.container), None)


def source_of(finding: Finding, around: Context, bind: Mount) -> bytes | None:
    """The host's path of a bind, where the copy's two paths show it: both end in the same path below the bind."""
    rest = (finding.seen_at or b"").removeprefix(bind.point)
    home = around.mountpoint or finding.mountpoint
    if rest.startswith(b"/") and home.endswith(rest):
        return home.removesuffix(rest) or b"/"
    return None


def bind_above(above: tuple[Mount, ...]) -> Mount | None:
    """The mount right below the namespace's own "/" that holds the copy, if it is not that "/" itself."""
    below = list(itertools.takewhile(lambda mount: mount.point != b"/", above))
    return below[-1] if below and len(below) < len(above) else None


def _above(finding: Finding, mountinfo: bytes | None) -> tuple[Mount, ...]:
    """Only the lines on the way up are parsed: a hostile namespace may have 100,000."""
    lines = Lines(mountinfo or b"")
    copy = _mount(lines, finding.mount_id)
    if copy is None or copy.point != finding.seen_at:
        return _judged_parent(finding)
    found: list[Mount] = []
    while (parent := _mount(lines, copy.parent)) and parent != copy and parent not in found:
        found.append(parent)
        copy = parent
    return tuple(found)


def _mount(lines: Lines, identity: int | None) -> Mount | None:
    line = lines.by_id(identity) if identity is not None else None
    try:
        return parse_line(line) if line else None
    except Unreadable:
        return None


def _judged_parent(finding: Finding) -> tuple[Mount, ...]:
    copies = finding.target.copies if finding.target else ()
    parents = (c.parent for c in copies if c.namespace == finding.namespace and c.mount.id == finding.mount_id)
    parent = next(parents, None)
    return (parent,) if parent else ()


def _files(unit: units.UnitFacts | None) -> tuple[unit_files.UnitFile, ...]:
    paths = (unit.fragment, *unit.drop_ins) if unit else ()
    read = (unit_files.read(path) for path in paths if path)
    return tuple(file for file in read if file)


def _asked(finding: Finding, above: tuple[Mount, ...]) -> str | None:
    holder = container_of(finding)
    bind = bind_above(above)
    if holder is None or holder.container is None or bind is None:
        return None
    return oci.asked_propagation(holder.container, bind.point)
