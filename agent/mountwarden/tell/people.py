"""Who is in a mount namespace, as short as it can be told."""

from collections.abc import Sequence

from ..model import Holder, NamespaceKind
from ..shown import shown, unit_name


def title(kind: NamespaceKind, holders: Sequence[Holder], inode: int) -> str:
    """The unit, else the container, else the process, else the namespace itself; escaped."""
    if not holders:
        return f"mount namespace {inode}"
    first = next((holder for holder in holders if holder.container), holders[0])
    if kind is NamespaceKind.CONTAINER and first.container:
        return f"container {shown(first.container[:12])}"
    unit = first.user_unit or first.unit
    if kind is NamespaceKind.SERVICE and unit:
        return unit_name(unit)
    named = f"process {first.pid} ({shown(first.comm)})"
    return f"{named} of {unit_name(unit)}" if unit and not unit.endswith(".slice") else named
