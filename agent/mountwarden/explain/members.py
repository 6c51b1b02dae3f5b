"""Who is in a mount namespace. Pure; `holders` reads it."""

from dataclasses import dataclass

from ..model import Gap, Holder, NamespaceKind


@dataclass(frozen=True, slots=True)
class Members:
    """What is known of a namespace's processes."""

    kind: NamespaceKind
    holders: tuple[Holder, ...] = ()
    """Lowest pid first."""
    more: int = 0
    """Processes beyond those, which were not read."""
    gaps: tuple[Gap, ...] = ()


def service_of(holder: Holder) -> str | None:
    """The service that a process belongs to, of PID 1's or, below user@UID.service, of a user's own systemd."""
    if holder.unit and holder.unit.startswith("user@"):
        return holder.user_unit if holder.user_unit and holder.user_unit.endswith(".service") else None
    return holder.unit if holder.unit and holder.unit.endswith(".service") else None
