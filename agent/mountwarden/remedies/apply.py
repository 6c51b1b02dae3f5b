"""The one way to what changes the host. Each action scans again, checks each precondition, changes, and verifies."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

from ..errors import Declined, MountwardenError
from ..model import Action, Finding, Kind, Outcome, Reach, Spot
from ..observe.entrants import Entrants
from ..scan.result import Scan
from ..scan.scanner import Scanner
from . import leftovers
from .actions import ACTIONS, describe
from .detach import detach, detach_all
from .detachable import Detachable
from .left_behind import unmount_at_home
from .rejoin import rejoin
from .results import refused
from .share import share
from .umount_at_home import predicted
from .unmount import unmount
from .unread import UnreadNames, all_unread, in_peer_groups, kept_back

__all__ = ["carry_out", "carry_out_all", "describe", "remove_leftovers", "unread_steps"]


def carry_out(
    finding: Finding,
    scanner: Scanner,
    action: Action,
    *,
    named: frozenset[str] = frozenset(),
    lazy: bool = False,
    also_unread: frozenset[int] = frozenset(),
) -> Outcome:
    """Apply one action to one finding. A refusal or failure is an Outcome that says why, never an exception.

    `named` are units that the operator, or a policy, names for this action. `lazy`: an unmount is to end what is in
    use too, which only an operator asks for. So are `also_unread`: mount namespaces, by inode, that do not keep it back
    though they can't be read.
    """
    try:
        if action not in ACTIONS:
            raise Declined("not-applicable", f"{action} is advice: mountwarden never does it itself")
        return _functions(named, lazy=lazy, also_unread=also_unread)[action](finding, scanner)
    except (OSError, MountwardenError) as error:
        return refused(finding, action, error)


def _functions(
    named: frozenset[str], *, lazy: bool, also_unread: frozenset[int]
) -> Mapping[Action, Callable[[Finding, Scanner], Outcome]]:
    """What carries out each action."""
    return {
        Action.SHARE: share,
        Action.DETACH: functools.partial(detach, also_unread=also_unread),
        Action.UNMOUNT: functools.partial(_unmount, lazy=lazy, also_unread=also_unread),
        Action.REJOIN: functools.partial(rejoin, named=named, also_unread=also_unread),
    }


def _unmount(finding: Finding, scanner: Scanner, *, lazy: bool, also_unread: frozenset[int]) -> Outcome:
    """Where its copies are, or at home, of what home itself has. Raises: as `unmount` does."""
    if finding.kind is not Kind.ABANDONED:
        return unmount(finding, scanner, lazy=lazy, also_unread=also_unread)
    if lazy:
        raise Declined("not-applicable", "what the host itself has mounted is never unmounted lazily")
    return next(unmount_at_home((finding,), scanner, also_unread=also_unread))


def carry_out_all(
    findings: Iterable[Finding],
    scanner: Scanner,
    action: Action,
    *,
    named: frozenset[str] = frozenset(),
    lazy: bool = False,
    also_unread: frozenset[int] = frozenset(),
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[Outcome]:
    """The same for many, each outcome as it is known: detaches, and umounts at home, in batches, else one by one.

    `go_on` is asked before each batch; when it says no, what is left has no outcome.
    """
    if action is Action.DETACH:
        return detach_all(findings, scanner, go_on, also_unread=also_unread)
    findings = tuple(findings)
    at_home = [one for one in findings if one.kind is Kind.ABANDONED and action is Action.UNMOUNT and not lazy]
    one = functools.partial(carry_out, scanner=scanner, action=action, named=named, lazy=lazy, also_unread=also_unread)
    ids = {finding.id for finding in at_home}
    others = (finding for finding in findings if finding.id not in ids)
    batches = unmount_at_home(at_home, scanner, go_on, also_unread=also_unread)
    return itertools.chain(batches, (one(finding) for finding in others if go_on()))


def unread_steps(
    findings: Iterable[Finding], scan: Scan, also_unread: frozenset[int] = frozenset()
) -> dict[tuple[str, Action], list[str]]:
    """By finding and action: what is to be said, beside the action's steps, of namespaces that a scan could not read,
    and of what an umount at home would do.

    Raises: OSError of reading /proc.
    """
    findings = tuple(findings)
    own = [finding for finding in findings if finding.kind is Kind.ABANDONED]
    unread = all_unread(scan)
    names = UnreadNames(unread, scan)
    said = {(one, Action.UNMOUNT): words for one, words in predicted(own, scan, also_unread).items()} if own else {}
    homes: dict[int | None, dict[Spot, Detachable]] = {}
    for finding in findings if unread else ():
        peers = in_peer_groups(finding, unread, names)
        if finding.kind is not Kind.ABANDONED:
            said |= {(finding.id, action): peers for action in (Action.UNMOUNT, Action.REJOIN)}
        if finding.target is not None and finding.reached(Reach.RMDIR):
            homes.setdefault(finding.home, {})[finding.target.match.spot] = Detachable(finding, finding.target)
    for leaks in homes.values():
        kept = kept_back(list(leaks.values()), unread, scan, Entrants(), also_unread)
        said |= {(leak.finding.id, Action.DETACH): list(kept.steps(spot)) for spot, leak in leaks.items()}
    return said


def remove_leftovers(scanner: Scanner) -> list[bytes]:
    """At the agent's start: remove what a killed detach left beside a mountpoint; returns their paths in home."""
    return leftovers.remove(scanner.scan())
