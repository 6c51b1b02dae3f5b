"""Reads the facts from which a cause is derived: the answer of PID 1, unit files, the engines' configurations."""

from ..model import Finding, Gap, Mount, UnitFacts, UnitFile
from ..mounts.mountinfo import Unreadable, parse_line
from ..observe.mount_lines import MountLines
from ..systemd import unit_files, units
from . import oci, stopping
from .context import Context, bind_above, container_of, system_service

_HIGHEST = 64
"""Most mounts that are followed upwards."""


def gather(
    finding: Finding, above: tuple[Mount, ...] | None, home: Mount | None, mountpoint: bytes | None = None
) -> tuple[Context, tuple[Gap, ...]]:
    """Ask for what the cause of an attributed finding depends on. `above` is what `above_copy` gave, if it could.

    Takes up to `units.DEADLINE` seconds; nothing is raised, what has no answer is a gap.
    """
    service = system_service(finding)
    answer = units.unit_facts(service) if service else None
    return around(finding, above or _judged_parent(finding), home, answer, mountpoint)


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


def above_copy(finding: Finding, lines: MountLines) -> tuple[Mount, ...]:
    """What the finding's first copy is mounted on in its namespace, and what that is on; empty where it is not there.

    Only the lines on the way up are parsed: a hostile namespace may have 100,000. Raises: OSError as reading does.
    """
    copy = _mount(lines, finding.first.mount_id)
    if copy is None or copy.point != finding.first.seen_at:
        return ()
    found: list[Mount] = []
    while len(found) < _HIGHEST and (parent := _mount(lines, copy.parent)) and parent != copy and parent not in found:
        found.append(parent)
        copy = parent
    return tuple(found)


def _mount(lines: MountLines, identity: int | None) -> Mount | None:
    line = None if identity is None else next(iter(lines.find((b"%d" % identity,)).values()), None)
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
    if holder is None or holder.container is None or bind is None or stopping.user_of(holder) is not None:
        return None  # one of a user's engine, who may give it the id of another: it is not among root's
    return oci.asked_propagation(holder.container, bind.point)
