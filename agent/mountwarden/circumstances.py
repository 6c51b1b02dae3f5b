"""What a cause is judged from, and its gathering: a thin layer over the bus, unit files and engines' configurations."""

import itertools
from dataclasses import dataclass

from . import bus, oci, unitfile
from .attribute import service_of
from .model import Finding, Gap, Holder, Mount, NamespaceKind
from .observe.mountinfo import Table


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The facts around one finding."""

    above: tuple[Mount, ...] = ()
    """The mounts that hold the copy in its namespace: its parent first, the namespace's own "/" last."""
    unit: bus.UnitFacts | None = None
    """The service whose namespace it is, where PID 1 answered."""
    files: tuple[unitfile.UnitFile, ...] = ()
    """That unit's fragment and drop-ins, in the order in which they apply."""
    asked: str | None = None
    """The propagation that the container's configuration asks for, for the bind mount that holds the copy."""


def gather(finding: Finding, table: Table | None) -> tuple[Circumstances, tuple[Gap, ...]]:
    """Ask for what the cause of an attributed finding depends on. `table`: the mounts of the finding's namespace.

    Takes up to `bus.DEADLINE` seconds; nothing is raised, what has no answer is a gap.
    """
    return gather_all(((finding, table),))[0]


def gather_all(
    asked: tuple[tuple[Finding, Table | None], ...],
) -> list[tuple[Circumstances, tuple[Gap, ...]]]:
    """The same for many findings: PID 1 is asked once for all their units."""
    services = {finding.id: system_service(finding) for finding, _table in asked}
    answers = bus.units_facts({service for service in services.values() if service})
    results: list[tuple[Circumstances, tuple[Gap, ...]]] = []
    for finding, table in asked:
        answer = answers.get(services[finding.id] or "")
        unit = answer if isinstance(answer, bus.UnitFacts) else None
        above = _above(finding, table)
        gaps = (answer,) if isinstance(answer, Gap) else ()
        results.append((Circumstances(above, unit, _files(unit), _asked(finding, above)), gaps))
    return results


def system_service(finding: Finding) -> str | None:
    """The service of PID 1's that a finding's namespace belongs to; PID 1 knows nothing of a user's own units."""
    if finding.namespace_kind is not NamespaceKind.SERVICE or not finding.holders:
        return None
    first = finding.holders[0]
    return None if first.user_unit else service_of(first)


def container_of(finding: Finding) -> Holder | None:
    """The first holder that is in a container."""
    return next((holder for holder in finding.holders if holder.container), None)


def bind_above(above: tuple[Mount, ...]) -> Mount | None:
    """The mount right below the namespace's own "/" that holds the copy, if it is not that "/" itself."""
    below = list(itertools.takewhile(lambda mount: mount.point != b"/", above))
    return below[-1] if below and len(below) < len(above) else None


def _above(finding: Finding, table: Table | None) -> tuple[Mount, ...]:
    copy = table.get(finding.mount_id) if table and finding.mount_id is not None else None
    if table is None or copy is None or copy.point != finding.seen_at:
        return _judged_parent(finding)
    found: list[Mount] = []
    while (parent := table.get(copy.parent)) and parent is not copy and parent not in found:
        found.append(parent)
        copy = parent
    return tuple(found)


def _judged_parent(finding: Finding) -> tuple[Mount, ...]:
    copies = finding.target.copies if finding.target else ()
    parents = (c.parent for c in copies if c.namespace == finding.namespace and c.mount.id == finding.mount_id)
    parent = next(parents, None)
    return (parent,) if parent else ()


def _files(unit: bus.UnitFacts | None) -> tuple[unitfile.UnitFile, ...]:
    paths = (unit.fragment, *unit.drop_ins) if unit else ()
    read = (unitfile.read(path) for path in paths if path)
    return tuple(file for file in read if file)


def _asked(finding: Finding, above: tuple[Mount, ...]) -> str | None:
    holder = container_of(finding)
    bind = bind_above(above)
    if holder is None or holder.container is None or bind is None:
        return None
    return oci.asked_propagation(holder.container, bind.point)
