"""What came of an action: the refusal before it, and after it whether another scan shows what was to come of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import Declined, MountwardenError, NoAnswer
from ..model import Action, Copy, Finding, Outcome, Use
from ..observe import directory_users
from ..observe.every_namespace import read_each
from .actions import ACTIONS

if TYPE_CHECKING:
    from ..scan.result import Scan
    from ..scan.scanner import Scanner

_Key = tuple[int, int, str, bytes]


def refused(finding: Finding, action: Action, error: OSError | MountwardenError) -> Outcome:
    """The outcome of an action that did nothing."""
    match error:
        case Declined():
            return Outcome(finding, action, False, error.code, f"declined: {error.message}", unread=error.unread)
        case MountwardenError():
            code = "no-answer" if isinstance(error, NoAnswer) else "failed"
            return Outcome(finding, action, False, code, f"failed: {error.message}")
    return Outcome(finding, action, False, "failed", f"failed: {error.strerror or error}")


@dataclass(frozen=True, slots=True)
class Performed:
    """What was done about one finding, before it is known whether it helped."""

    finding: Finding
    action: Action
    saw: str
    did: str
    copies: tuple[Copy, ...] = ()
    """Those that are to be gone."""
    answered: bool = True
    """Whether what did it said so; otherwise only a scan can tell."""

    def done(self, text: str, verified: str) -> Outcome:
        """It did what it should: `verified` says how that is known."""
        return Outcome(self.finding, self.action, True, "done", text, self.saw, self.did, verified)

    def failed(self, code: str, text: str) -> Outcome:
        """It did not."""
        return Outcome(self.finding, self.action, False, code, f"failed: {text}", self.saw, self.did)

    def unverified(self, why: object) -> Outcome:
        """Neither done nor nothing done, as far as is known."""
        text = f"done, but what came of it could not be read: {why}"
        return Outcome(self.finding, self.action, False, "unverified", text, self.saw, self.did)


def verified(performed: Sequence[Performed], scanner: "Scanner", proc: int) -> tuple[list[Outcome], "Scan | None"]:
    """Scan again after copies were dropped: are they gone, and what still holds their superblock? With that scan."""
    try:
        left = scanner.scan(resync=True)
        mounts = frozenset(copy.mount.id for one in performed for copy in one.copies)
        users = directory_users.users_by_mount(proc, mounts)
    except (OSError, NoAnswer) as error:
        return [one.unverified(error) for one in performed], None
    keys = {_key(copy) for copy in left.picture.copies}
    unread = {gap.namespace: gap.reason for gap in left.gaps if gap.namespace is not None}
    keys |= _asked_again([copy for one in performed for copy in one.copies if copy.namespace in unread], left, unread)
    return [_verified(one, keys, unread, users) for one in performed], left


def _asked_again(copies: Sequence[Copy], scan: "Scan", unread: dict[int, str]) -> set[_Key]:
    """Those of the copies that are still in namespaces that the scan left `unread`, and which can be read by now."""
    asked: dict[int, set[bytes]] = {}
    for copy in copies:
        asked.setdefault(copy.namespace, set()).add(b"%d" % copy.mount.id)
    spaces = (space for inode, space in scan.picture.namespaces.items() if inode in asked)
    seen = dict(read_each(spaces, lambda inode, lines: lines.find(asked[inode]), budgets=scan.budgets, over=True))
    for inode in asked:
        found = seen.get(inode, {})  # one that is gone has none
        if isinstance(found, dict):
            del unread[inode]
    return {_key(copy) for copy in copies if _is_among(copy, seen.get(copy.namespace))}


def _is_among(copy: Copy, lines: object) -> bool:
    line = lines.get(b"%d" % copy.mount.id) if isinstance(lines, dict) else None
    return line is not None and line.split(b" ", 3)[2] == copy.mount.device.encode()


def _verified(
    one: Performed, left: set[_Key], unread: Mapping[int, str], users: Mapping[int, Sequence[Use]]
) -> Outcome:
    blind = sorted({copy.namespace for copy in one.copies} & unread.keys())
    if blind and not one.answered:
        return one.unverified(f"namespace {blind[0]} ({unread[blind[0]]})")
    if still := {_key(copy) for copy in one.copies} & left:
        return one.failed("still-there", f"{copies_in_words(len(still))} left")
    ids = sorted({copy.mount.id for copy in one.copies})
    pinned = [str(use) for mount in ids for use in users.get(mount, ())]
    found = "no namespace has a copy any more" if one.action is Action.DETACH else "the copy is gone there"
    if blind:  # whoever has too much to be read must not make it a failure: the kernel has said that it was done
        found = f"no namespace that can be read has a copy any more; {len(blind)} can't be"
    found += f"; still held open by {', '.join(pinned[:3])}" if pinned else "; nothing holds it open"
    return one.done(f"{ACTIONS[one.action].past}: {found}", found)


def copies_in_words(number: int) -> str:
    """A number of copies."""
    return "1 copy" if number == 1 else f"{number} copies"


def _key(copy: Copy) -> _Key:
    return copy.namespace, copy.mount.id, *copy.mount.identity
