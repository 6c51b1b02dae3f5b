"""What the acts have in common: looking again, a child in the right namespace, and the check afterwards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..errors import Declined, MountwardenError, NoAnswer
from ..kernel import child
from ..model import Action, Copy, Evidence, Finding, Kind, Outcome, Use
from ..observe import directory_users, namespaces, processless
from ..observe.enter import in_namespace, own_namespace

if TYPE_CHECKING:
    from ..scan.scanner import Scan, Scanner

T = TypeVar("T")

DEADLINE = 5.0
"""Seconds for the child that acts: it reads /proc and a few directories."""

_Key = tuple[int, int, str, bytes]


def check_leaked(finding: Finding, action: Action) -> None:
    """Raise Declined unless it is a leak of which more is known than the mount's own text."""
    if finding.kind is not Kind.LEAKED:
        raise Declined("not-applicable", f"a {finding.kind} finding is not ended by {action}")
    if finding.evidence is Evidence.CLAIMED:
        raise Declined("claimed", "only the mount's own text says that it is leaked; nobody acts on that")


def refused(finding: Finding, action: Action, error: OSError | MountwardenError) -> Outcome:
    """The outcome of an act that did nothing."""
    match error:
        case Declined():
            return Outcome(finding, action, False, error.code, f"declined: {error.message}")
        case MountwardenError():
            code = "no-answer" if isinstance(error, NoAnswer) else "failed"
            return Outcome(finding, action, False, code, f"failed: {error.message}")
    return Outcome(finding, action, False, "failed", f"failed: {error.strerror or error}")


def still_there(finding: Finding, scan: "Scan") -> Finding:
    """The finding as it is now. Raises: Declined where it is gone, or another mount is there."""
    return same(finding, next((other for other in scan.findings if other.id == finding.id), None))


def same(finding: Finding, now: Finding | None) -> Finding:
    """`now`, if it is the finding that was judged. Raises: Declined."""
    if now is None:
        raise Declined("gone", "it is not there any more")
    if (now.mount_id, now.device) != (finding.mount_id, finding.device):
        raise Declined("changed", "another mount is on that spot than the one that was judged")
    return now


def texts(scan: "Scan") -> Iterator[tuple[int, bytes]]:
    """Each namespace of a look with its mountinfo as it is now. Raises: Declined where one can't be read."""
    for inode, namespace in scan.picture.namespaces.items():
        try:
            yield inode, namespaces.read_mountinfo(inode, namespace.pids, namespace.door) or b""
        except (OSError, NoAnswer) as error:
            raise Declined("unread", f"namespace {inode} could not be read: it may use the layer") from error


def at_home(home: int | None, scan: "Scan", function: Callable[[], T]) -> T:
    """Run in a child in a root's home, where the kernel itself refuses a live mountpoint."""
    if home == own_namespace():
        return child.ask(function, deadline=DEADLINE, what="the child that acts")
    return inside(home, scan, function, gone=Declined("home-gone", "the root's home has no process any more"))


def inside(
    namespace: int | None,
    scan: "Scan",
    function: Callable[[], T],
    *,
    gone: Declined,
    enter: Callable[..., T] = in_namespace,
) -> T:
    """Run in a child in that namespace, entered by a process that is still in it, or by its door; else raise `gone`.

    What `function` raises is raised as it came: it may have acted, so that it is not tried again.
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


@dataclass(frozen=True, slots=True)
class Performed:
    """What was done about one finding, before it is known whether it helped."""

    finding: Finding
    copies: tuple[Copy, ...]
    """Those that are to be gone."""
    saw: str
    did: str


def verified(
    acts: Sequence[Performed], scanner: "Scanner", proc: int, action: Action
) -> tuple[list[Outcome], "Scan | None"]:
    """Look again after copies were dropped: are they gone, and what still holds their superblock? With that look.

    An act whose effect can't be read is told as `unverified`: neither done nor nothing done.
    """
    try:
        left = scanner.scan(resync=True)
        users = directory_users.users_by_mount(proc, frozenset(copy.mount.id for act in acts for copy in act.copies))
    except (OSError, NoAnswer) as error:
        text = f"done, but what is left could not be read: {error}"
        return [Outcome(act.finding, action, False, "unverified", text, act.saw, act.did) for act in acts], None
    keys = {_key(copy) for copy in left.picture.copies}
    unread = {gap.namespace: gap.reason for gap in left.gaps}
    return [_verified(act, keys, unread, users, action) for act in acts], left


def _verified(
    act: Performed,
    left: set[_Key],
    unread: Mapping[int | None, str],
    users: Mapping[int, Sequence[Use]],
    action: Action,
) -> Outcome:
    if blind := [copy.namespace for copy in act.copies if copy.namespace in unread]:
        text = f"done, but namespace {blind[0]} could not be read afterwards ({unread[blind[0]]})"
        return Outcome(act.finding, action, False, "unverified", text, act.saw, act.did)
    if still := {_key(copy) for copy in act.copies} & left:
        return Outcome(
            act.finding, action, False, "still-there", f"failed: {len(still)} copies remain", act.saw, act.did
        )
    ids = sorted({copy.mount.id for copy in act.copies})
    pinned = [str(use) for mount in ids for use in users.get(mount, ())]
    found = "no namespace has a copy any more" if action is Action.DETACH else "the copy is gone there"
    found += f"; still held open by {', '.join(pinned[:3])}" if pinned else "; nothing holds it open"
    verb = "detached" if action is Action.DETACH else "unmounted"
    return Outcome(act.finding, action, True, "done", f"{verb}: {found}", act.saw, act.did, found)


def _key(copy: Copy) -> _Key:
    return copy.namespace, copy.mount.id, *copy.mount.identity
