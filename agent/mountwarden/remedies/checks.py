"""What is checked of every finding right before an action, by another scan; each check that fails raises Declined."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from ..errors import Declined, NoAnswer
from ..explain import holders, naming
from ..model import Action, Copy, Evidence, Finding, Kind, Mount, Reach
from ..observe import directory_users, living
from ..observe.budgets import limits_of
from ..observe.every_namespace import read_each
from ..observe.mount_lines import MountLines
from ..scan.homes import reason
from .actions import ACTIONS
from .default_policy import in_use_by_record

if TYPE_CHECKING:
    from ..scan.result import Scan
    from ..scan.scanner import Scanner

T = TypeVar("T")


def check_applies(finding: Finding, action: Action) -> None:
    """Raises: Declined unless the action is for such a finding, of which more is known than the mount's own text."""
    if finding.kind not in ACTIONS[action].kinds:
        raise Declined("not-applicable", f"{action} is not for a {finding.kind} finding")
    if finding.evidence is Evidence.CLAIMED:
        raise Declined("claimed", "only the mount's own text says that it is leaked; that is not enough for an action")
    if used := in_use_by_record(finding):
        raise Declined("live", used)
    if action is Action.DETACH and not finding.reached(Reach.RMDIR):
        raise Declined("out-of-reach", finding.detail or "the copy is not on the mountpoint")


def judged_again(finding: Finding, now: Finding | None, action: Action) -> Finding:
    """`now`, the finding by another scan. Raises: Declined unless it is what was judged and the action is for both."""
    check_applies(finding, action)
    if now is None:
        raise Declined("gone", "it is not there any more")
    if not _is_same(finding, now):
        raise Declined("changed", "another mount is on that spot than the one that was judged")
    check_applies(now, action)
    if now.kind is Kind.LEAKED and now.evidence is Evidence.SPOT and not now.root.home_known:
        raise Declined("home-unknown", f"{now.root.engine} is not running, so what it uses is not known")
    return now


def _is_same(finding: Finding, now: Finding) -> bool:
    """Whether both are about the same mount: what it is of, and one of the very mounts that were judged.

    Neither alone is enough: mount ids and device numbers are reused at once. Namespaces that copied it meanwhile, and
    others that ended, change nothing.
    """
    if finding.target is None or now.target is None:
        return now.device == finding.device and not now.mounts.isdisjoint(finding.mounts)
    if finding.kind is Kind.ABANDONED:  # home's own mount, and no copy
        return now.target.mount.same_as(finding.target.mount) and not now.mounts.isdisjoint(finding.mounts)
    before, after = (_mounts(one.target.proven) for one in (finding, now) if one.target)
    return now.target.mount.same_as(finding.target.mount) and not before.isdisjoint(after)


def _mounts(copies: Iterable[Copy]) -> frozenset[tuple[int, int]]:
    return frozenset((copy.namespace, copy.mount.unique or copy.mount.id) for copy in copies)


def scan_again(finding: Finding, scanner: "Scanner", action: Action) -> tuple["Scan", Finding]:
    """Another scan, and the finding as it is by that. Raises: as `judged_again`; OSError and NoAnswer of the scan."""
    check_applies(finding, action)
    scan = scanner.scan(resync=True)
    now = next((other for other in scan.findings if other.id == finding.id), None)
    return scan, judged_again(finding, now, action)


def who(inode: int, scan: "Scan") -> str:
    """Who is in a namespace of the scan, by one process in full."""
    seen = scan.picture.namespaces.get(inode)
    try:
        return naming.first_in_full(holders.members(seen).holders if seen else ())
    except OSError:
        return "a process that can't be read"


def of_namespace(inode: int | None, scan: "Scan", function: Callable[[MountLines], T]) -> T | None:
    """What `function` makes of a namespace of the scan as it is now; None where it has ended.

    Raises: Declined where it can't be read.
    """
    seen = scan.picture.namespaces.get(inode or 0)
    try:
        with contextlib.closing(living.Ways()) as ways:
            return living.read(ways, seen, function, limits_of(seen.owner)) if seen else None
    except (OSError, NoAnswer) as error:
        raise _unread(inode or 0, scan, error) from error


def _unread(inode: int, scan: "Scan", error: OSError | NoAnswer) -> Declined:
    why = f"namespace {inode} of {who(inode, scan)} could not be read ({reason(error)}): it may use the layer"
    return Declined("unread", why, unread=(inode,))


def of_each(
    scan: "Scan", function: Callable[[int, MountLines], T], but: Collection[int] = ()
) -> Iterator[tuple[int, T]]:
    """Each namespace of a scan, and what `function` makes of it as it is now, `but` some and those that are gone.

    Raises: Declined where one can't be read.
    """
    for inode, made in read_each(
        (s for s in scan.picture.namespaces.values() if s.inode not in but), function, budgets=scan.budgets, over=True
    ):
        if isinstance(made, OSError | NoAnswer):
            raise _unread(inode, scan, made) from made
        yield inode, made


def other_members(lines: MountLines, groups: Collection[int], own: Collection[int]) -> list[Mount]:
    """Mounts of a namespace that are members or slaves of these peer groups, but for `own`, by small mount id."""
    return [mount for mount in directory_users.in_groups(lines, groups) if mount.id not in own]
