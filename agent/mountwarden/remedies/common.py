"""What the acts have in common: looking again, a child in the right namespace, and the check afterwards."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from .. import forked
from ..errors import Declined, NoAnswer
from ..model import Action, Copy, Evidence, Finding, Kind, Outcome
from ..observe import bare, namespaces, uses
from ..observe.enter import in_namespace, own_namespace

if TYPE_CHECKING:
    from ..look import Look, Looker

T = TypeVar("T")

DEADLINE = 5.0
"""Seconds for the child that acts: it reads /proc and one directory."""


def check_leaked(finding: Finding, action: Action) -> None:
    """Raise Declined unless it is a leak of which more is known than the mount's own text."""
    if finding.kind is not Kind.LEAKED:
        raise Declined("not-applicable", f"a {finding.kind} finding is not ended by {action}")
    if finding.evidence is Evidence.CLAIMED:
        raise Declined("claimed", "only the mount's own text says that it is leaked; nobody acts on that")


def still_there(finding: Finding, look: "Look") -> Finding:
    """The finding as it is now. Raises: Declined where it is gone, or another mount is there."""
    now = next((other for other in look.findings if other.id == finding.id), None)
    if now is None:
        raise Declined("gone", "it is not there any more")
    if (now.mount_id, now.device) != (finding.mount_id, finding.device):
        raise Declined("changed", "another mount is on that spot than the one that was judged")
    return now


def texts(look: "Look") -> Iterator[tuple[int, bytes]]:
    """Each namespace of a look with its mountinfo as it is now. Raises: Declined where one can't be read."""
    for inode, namespace in look.picture.namespaces.items():
        try:
            yield inode, namespaces.read_mountinfo(inode, namespace.pids, namespace.door) or b""
        except (OSError, NoAnswer) as error:
            raise Declined("unread", f"namespace {inode} could not be read: it may use the layer") from error


def at_home(finding: Finding, look: "Look", function: Callable[[], T]) -> T:
    """Run in a child in the finding's home, where the kernel itself refuses a live mountpoint."""
    if finding.home == own_namespace():
        return forked.ask(function, deadline=DEADLINE, what="the child that acts")
    return inside(finding.home, look, function, gone=Declined("home-gone", "the root's home has no process any more"))


def inside(
    namespace: int | None,
    look: "Look",
    function: Callable[[], T],
    *,
    gone: Declined,
    enter: Callable[..., T] = in_namespace,
) -> T:
    """Run in a child in that namespace, entered by a process that is still in it, or by its door; else raise `gone`.

    What `function` raises is raised as it came: it may have acted, so that it is not tried again.
    """
    seen = look.picture.namespaces.get(namespace or 0)
    for pid in seen.pids if seen else ():
        try:
            return enter(pid, lambda: _wrapped(function), inode=namespace, deadline=DEADLINE)
        except (FileNotFoundError, ProcessLookupError):
            continue
    if seen and seen.door:
        try:
            return bare.through(seen.door, seen.inode, lambda: _wrapped(function), deadline=DEADLINE)
        except (FileNotFoundError, ProcessLookupError) as error:
            raise gone from error
    raise gone


def _wrapped(function: Callable[[], T]) -> T:
    """In the child: a file or process that is gone must not read as if the namespace could not be entered."""
    try:
        return function()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise Declined("gone", f"something went away meanwhile: {error.strerror}") from error


def removed(
    now: Finding, copies: Iterable[Copy], looker: "Looker", proc: int, action: Action, saw: str, did: str
) -> Outcome:
    """Look again after copies were dropped: are they gone, and what still holds their superblock?

    An act whose effect can't be read is told as `unverified`: neither done nor nothing done.
    """
    copies = tuple(copies)
    try:
        left = looker.look(resync=True)
        users = uses.mount_users(proc, frozenset(copy.mount.id for copy in copies))
    except (OSError, NoAnswer) as error:
        return Outcome(now, action, False, "unverified", f"done, but what is left could not be read: {error}", saw, did)
    spaces = {copy.namespace for copy in copies}
    if unread := [gap for gap in left.gaps if gap.namespace in spaces]:
        text = f"done, but namespace {unread[0].namespace} could not be read afterwards ({unread[0].reason})"
        return Outcome(now, action, False, "unverified", text, saw, did)
    still = {_key(copy) for copy in left.picture.copies} & {_key(copy) for copy in copies}
    if still:
        return Outcome(now, action, False, "still-there", f"failed: {len(still)} copies remain", saw, did)
    pinned = [str(use) for use in users]
    verified = "no namespace has a copy any more" if action is Action.DETACH else "the copy is gone there"
    verified += f"; still held open by {', '.join(pinned[:3])}" if pinned else "; nothing holds it open"
    verb = "detached" if action is Action.DETACH else "unmounted"
    return Outcome(now, action, True, "done", f"{verb}: {verified}", saw, did, verified)


def _key(copy: Copy) -> tuple[int, int, str, bytes]:
    return copy.namespace, copy.mount.id, *copy.mount.identity
