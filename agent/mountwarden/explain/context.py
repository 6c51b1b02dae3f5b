"""The facts from which a cause is derived. Pure; `gather` reads them."""

import itertools
from dataclasses import dataclass

from ..model import Finding, Holder, Mount, NamespaceKind, UnitFacts, UnitFile
from .members import service_of


@dataclass(frozen=True, slots=True)
class Context:
    """The facts around one finding."""

    above: tuple[Mount, ...] = ()
    """The mounts that hold the copy in its namespace: its parent first, the namespace's own "/" last."""
    unit: UnitFacts | None = None
    """The service whose namespace it is, where PID 1 answered."""
    files: tuple[UnitFile, ...] = ()
    """That unit's fragment and drop-ins, in the order in which they apply."""
    asked: str | None = None
    """The propagation that the container's configuration asks for, for the bind mount that holds the copy."""
    home: Mount | None = None
    """Home's mount that holds the mountpoint."""
    mountpoint: bytes | None = None
    """The copy's path in home, for a finding that stands for several copies; None: the finding's own."""


def system_service(finding: Finding) -> str | None:
    """The service of PID 1's that a finding's namespace belongs to; PID 1 knows nothing of a user's own units."""
    if finding.first.namespace_kind is not NamespaceKind.SERVICE or not finding.first.holders:
        return None
    first = finding.first.holders[0]
    return None if first.user_unit else service_of(first)


def container_of(finding: Finding) -> Holder | None:
    """The first holder that is in a container."""
    return next((holder for holder in finding.first.holders if holder.container), None)


def source_of(finding: Finding, around: Context, bind: Mount) -> bytes | None:
    """The host's path of a bind, where the copy's two paths show it: both end in the same path below the bind."""
    rest = (finding.first.seen_at or b"").removeprefix(bind.point)
    home = around.mountpoint or finding.mountpoint
    if rest.startswith(b"/") and home.endswith(rest):
        return home.removesuffix(rest) or b"/"
    return None


def bind_above(above: tuple[Mount, ...]) -> Mount | None:
    """The mount right below the namespace's own "/" that holds the copy, if it is not that "/" itself."""
    below = list(itertools.takewhile(lambda mount: mount.point != b"/", above))
    return below[-1] if below and len(below) < len(above) else None
