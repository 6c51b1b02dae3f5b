"""Reads the facts from which a cause is derived: the answer of PID 1, unit files, the engines' configurations."""

from ..model import Finding, Gap, Mount, UnitFacts, UnitFile
from ..mounts.mountinfo import Lines, Unreadable, parse_line
from ..systemd import unit_files, units
from . import oci
from .context import Context, bind_above, container_of, system_service


def gather(
    finding: Finding, mountinfo: bytes | None, home: Mount | None, mountpoint: bytes | None = None
) -> tuple[Context, tuple[Gap, ...]]:
    """Ask for what the cause of an attributed finding depends on. `mountinfo` is the text of its namespace.

    Takes up to `units.DEADLINE` seconds; nothing is raised, what has no answer is a gap.
    """
    service = system_service(finding)
    answer = units.unit_facts(service) if service else None
    return around(finding, _above(finding, mountinfo), home, answer, mountpoint)


def around(
    finding: Finding,
    above: tuple[Mount, ...],
    home: Mount | None,
    answer: UnitFacts | Gap | None,
    mountpoint: bytes | None = None,
) -> tuple[Context, tuple[Gap, ...]]:
    """The same where the mounts above the copy are known, and PID 1 has answered for the service already."""
    unit = answer if isinstance(answer, UnitFacts) else None
    gaps = (answer,) if isinstance(answer, Gap) else ()
    return Context(above, unit, _files(unit), _asked(finding, above), home, mountpoint), gaps


def _above(finding: Finding, mountinfo: bytes | None) -> tuple[Mount, ...]:
    """Only the lines on the way up are parsed: a hostile namespace may have 100,000."""
    lines = Lines(mountinfo or b"")
    copy = _mount(lines, finding.first.mount_id)
    if copy is None or copy.point != finding.first.seen_at:
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
    parents = (copy.parent for copy in copies if finding.is_first(copy))
    parent = next(parents, None)
    return (parent,) if parent else ()


def _files(unit: UnitFacts | None) -> tuple[UnitFile, ...]:
    paths = (unit.fragment, *unit.drop_ins) if unit else ()
    read = (unit_files.read(path) for path in paths if path)
    return tuple(file for file in read if file)


def _asked(finding: Finding, above: tuple[Mount, ...]) -> str | None:
    holder = container_of(finding)
    bind = bind_above(above)
    if holder is None or holder.container is None or bind is None:
        return None
    return oci.asked_propagation(holder.container, bind.point)
