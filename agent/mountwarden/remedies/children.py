"""Runs what changes the host in a forked child, in the mount namespace that it is for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..errors import Declined
from ..kernel import child
from ..observe import processless
from ..observe.enter import in_namespace, own_namespace

if TYPE_CHECKING:
    from ..scan.result import Scan

T = TypeVar("T")

DEADLINE = 5.0
"""Seconds for a child: it reads /proc and a few directories."""


def at_home(home: int | None, scan: "Scan", function: Callable[[], T]) -> T:
    """Run in a child in a root's home, where the kernel itself refuses a live mountpoint.

    Raises: Declined where home has no process any more; NoAnswer past the deadline; what `function` raises.
    """
    if home == own_namespace():
        return child.ask(function, deadline=DEADLINE, what="the child that applies the action")
    return inside(
        home,
        scan,
        function,
        gone=Declined("home-gone", "the mount namespace of the root's engine has no process any more"),
    )


def inside(
    namespace: int | None,
    scan: "Scan",
    function: Callable[[], T],
    *,
    gone: Declined,
    enter: Callable[..., T] = in_namespace,
) -> T:
    """Run in a child in that namespace, entered by a process that is still in it, or by its door (the way into a
    namespace without a process).

    Raises: `gone` where there is neither; NoAnswer past the deadline; what `function` raises, as it came: it may have
    changed something, so it is not tried again.
    """
    seen = scan.picture.namespaces.get(namespace or 0)
    for pid in seen.pids if seen else ():
        try:
            return enter(pid, lambda: _wrapped(function), inode=namespace, deadline=DEADLINE)
        except (FileNotFoundError, ProcessLookupError):
            continue
    if seen and seen.door:
        try:
            return processless.through(seen.door, seen.inode, lambda: _wrapped(function), deadline=DEADLINE)
        except (FileNotFoundError, ProcessLookupError) as error:
            raise gone from error
    raise gone


def _wrapped(function: Callable[[], T]) -> T:
    """In the child: a file or process that is gone must not read as if the namespace could not be entered."""
    try:
        return function()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise Declined("gone", f"something went away meanwhile: {error.strerror}") from error
