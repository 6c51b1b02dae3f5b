"""What a holder is called in every text that names one. Pure.

All but `name_of_printable` take text of the host as it is, and make it printable once. A JSON document holds names that
are printable already: those are for `name_of_printable`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..escape import printable, short_id, unit_name
from ..model import Holder, chief
from . import stopping


def printable_holder(holder: Holder) -> Holder:
    """The same holder, with its text of the host made printable."""
    return replace(
        holder,
        comm=printable(holder.comm),
        unit=holder.unit and unit_name(holder.unit),
        container=holder.container and printable(holder.container),
        user_unit=holder.user_unit and unit_name(holder.user_unit),
    )


def process_in_full(holder: Holder) -> str:
    """A process with its unit and container: `process 4711 (sleep, foo.service, container 0123456789ab)`."""
    known = printable_holder(holder)
    container = _container(known.container) if known.container else None
    more = [name for name in (known.user_unit, known.unit, container) if name]
    return f"process {known.pid} ({', '.join([known.comm, *more])})"


def first_in_full(holders: Iterable[Holder]) -> str:
    """The one by which all are named, with its pid: `process 4711 (sleep, foo.service) and 2 more`."""
    found = tuple(holders)
    first = chief(found)
    return process_in_full(first) + _more(len(found)) if first else "no process seen"


def container_name(container: str) -> str:
    """A container by the first twelve digits of its id, as `docker ps` lists it; a machine by its whole name."""
    return _container(printable(container))


def container_of(holder: Holder) -> str:
    """The container that a process is in, with the user whose engine runs it: no other engine knows it."""
    return _of_user(container_name(holder.container or ""), holder)


def name_of(holders: Iterable[Holder], inode: int | None, more: int = 0) -> str:
    """Who holds a mount namespace, by its container, else its service, else its first process, else its own number.

    `more` is the number of its processes beyond `holders`.
    """
    return name_of_printable(tuple(map(printable_holder, holders)), inode, more)


def name_of_printable(holders: Sequence[Holder], inode: int | None, more: int = 0) -> str:
    """The same for holders whose text is printable already."""
    first = chief(holders)
    if first is None:
        return f"mount namespace {inode} (no process seen)" if inode else "a namespace without a process"
    if first.container:
        return _in_container(first) + _more(len({one.container for one in holders if one.container}))
    if first.is_in_service:
        return f"{_unit(first)}{_more(len({_unit(one) for one in holders if one.is_in_service}))}"
    unit = _unit(first)
    of_unit = f" of {unit}" if unit and not unit.endswith(".slice") else ""
    return f"process {first.pid} ({first.comm}){of_unit}{_more(len(holders) + more)}"


def _in_container(holder: Holder) -> str:
    """A scope is the container's own and says nothing more; a service is what runs the container, or its user's."""
    name = _container(holder.container or "")
    if stopping.user_of(holder) is not None:
        return _of_user(name, holder)
    return name + (f" of {_unit(holder)}" if holder.is_in_service else "")


def _of_user(name: str, holder: Holder) -> str:
    user = stopping.user_of(holder)
    return name if user is None else f"{name} of user {user}"


def _container(container: str) -> str:
    return f"container {short_id(container)}"


def _unit(holder: Holder) -> str | None:
    """The unit; one of a user's own systemd with the unit of that."""
    return f"{holder.user_unit} of {holder.unit}" if holder.user_unit and holder.unit else holder.unit


def _more(total: int) -> str:
    return f" and {total - 1:,} more" if total > 1 else ""
