"""Processes, and who is in a mount namespace, as short as they can be told; escaped."""

from collections.abc import Sequence

from ..escape import printable, short_id, unit_name
from ..model import Holder, NamespaceKind


def title(kind: NamespaceKind, holders: Sequence[Holder], inode: int) -> str:
    """The unit, else the container, else the process, else the namespace itself."""
    if not holders:
        return f"mount namespace {inode}"
    first = next((holder for holder in holders if holder.container), holders[0])
    if kind is NamespaceKind.CONTAINER and first.container:
        return _container(first.container)
    unit = first.user_unit or first.unit
    if kind is NamespaceKind.SERVICE and unit:
        return unit_name(unit)
    return process(first) + (f" of {unit_name(unit)}" if unit and not unit.endswith(".slice") else "")


def process(holder: Holder) -> str:
    """By its pid and name."""
    return f"process {holder.pid} ({printable(holder.comm)})"


def person(holder: Holder) -> str:
    """A process with its unit and container."""
    more = [unit_name(holder.unit)] if holder.unit else []
    more += [_container(holder.container)] if holder.container else []
    return f"process {holder.pid} ({', '.join([printable(holder.comm), *more])})"


def _container(container: str) -> str:
    return f"container {printable(short_id(container))}"
