"""Mount namespaces that can't be read: which they are, what they keep back, and what an operator is told of them.

Such a namespace keeps back what it could have to do with (`could_matter`). An operator may overrule that for one, by
its number; the service by itself never does.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..errors import Declined, NoAnswer
from ..explain import holders, naming
from ..model import Action, Finding, Spot, chief
from ..observe.entrants import Entrants
from ..observe.every_namespace import read_each
from ..observe.mount_lines import MountLines
from ..scan.homes import reason
from .could_matter import could_matter
from .steps import overruling

if TYPE_CHECKING:
    from ..scan.result import Scan
    from .detachable import Detachable

T = TypeVar("T")

_FEW = 3
"""So many are described, and of the others their number is."""


UNREAD = "the mounts of a namespace"
"""What a scan's gap calls a namespace that could not be read at all."""


def read_in_part(scan: "Scan") -> dict[int, str]:
    """By inode, with the reason: namespaces of which lines could not be read, or that the scan has no way to.

    Those that could not be read at all are left to who reads all of them once more.
    """
    ways = scan.picture.namespaces
    return {inode: why for inode, why, what in _gaps(scan) if what != UNREAD or inode not in ways}


def all_unread(scan: "Scan") -> dict[int, str]:
    """By inode, with the reason: all that a scan could not read, or not in full."""
    return {inode: why for inode, why, _what in _gaps(scan)}


def _gaps(scan: "Scan") -> list[tuple[int, str, str]]:
    return [(gap.namespace, gap.reason, gap.what) for gap in scan.gaps if gap.namespace is not None]


def of_each_readable(
    scan: "Scan", function: Callable[[int, MountLines], T], unread: dict[int, str], but: Collection[int] = ()
) -> Iterator[tuple[int, T]]:
    """Each namespace of a scan, `but` some and those that are gone, and what `function` makes of it as it is now.

    One that can't be read is added to `unread`, with the reason.
    """
    spaces = (space for inode, space in scan.picture.namespaces.items() if inode not in but)
    for inode, made in read_each(spaces, function, budgets=scan.budgets, over=True):
        if isinstance(made, OSError | NoAnswer):
            unread[inode] = reason(made)
        else:
            yield inode, made


class UnreadNames:
    """What each of some unread namespaces is called, with who is in it and why it could not be read."""

    def __init__(self, unread: Mapping[int, str], scan: "Scan") -> None:
        self._unread, self._scan = unread, scan
        self._known: dict[int, str] = {}
        """To ask for the processes takes a millisecond, and a batch names the same ones for each of its leaks."""

    def __getitem__(self, inode: int) -> str:
        if inode not in self._known:
            who = _holder(inode, self._scan)
            self._known[inode] = f"mount namespace {inode} of {who} could not be read ({self._unread[inode]})"
        return self._known[inode]


def in_peer_groups(finding: Finding, unread: Mapping[int, str], names: UnreadNames) -> list[str]:
    """What to say of the unread namespaces before an umount or a rejoin that changes a peer group."""
    copies = finding.target.copies if finding.target else ()
    if not any(copy.parent and copy.parent.shared for copy in copies):
        return []
    return [f"{names[inode]}, and {_PEER}: {_without(inode)}" for inode in _first(unread)]


_PEER = "it may be in the same peer group"


def _without(inode: int) -> str:
    return f"declined without --also-unread {inode}"


def check_unread(finding: Finding, action: Action, unread: Mapping[int, str], scan: "Scan") -> None:
    """Raises: Declined where there are unread namespaces; they may be in the peer group that the action changes."""
    if unread:
        raise _declined(finding, action, dict.fromkeys(unread, _PEER), UnreadNames(unread, scan))


def _declined(finding: Finding, action: Action, could: Mapping[int, str], names: UnreadNames) -> Declined:
    some = "; ".join(f"{names[inode]}, and {could[inode]}" for inode in _first(could))
    more = f"; and {len(could) - _FEW} more" if len(could) > _FEW else ""
    text = f"{some}{more}; end that, or: {overruling(finding, action, sorted(could))}"
    return Declined("unread", text, unread=tuple(sorted(could)))


@dataclass(frozen=True, slots=True)
class KeptBack:
    """What is to be known of the detach of some leaks of one home."""

    could: Mapping[Spot, Mapping[int, str]]
    """Unread namespaces that could have to do with a spot, with the reason."""
    unread: Mapping[int, str]
    overruled: frozenset[int]
    names: UnreadNames

    def refusal(self, leak: "Detachable") -> Declined | None:
        """Why it is not detached; None where no unread namespace keeps it back."""
        found = {inode: why for inode, why in self.could[leak.spot].items() if inode not in self.overruled}
        return _declined(leak.finding, Action.DETACH, found, self.names) if found else None

    def overrule(self, spot: Spot) -> str:
        """What an operator did not wait for, to be added to what was seen; "" where that is nothing."""
        found = sorted(self.overruled & self.could[spot].keys())
        return f"; overruled: {'; '.join(self.names[inode] for inode in found)}" if found else ""

    def steps(self, spot: Spot) -> Iterator[str]:
        """What to say of the unread namespaces before a detach, first of those that keep it back."""
        could = self.could[spot]
        for inode in _first(could):
            ends = "overruled" if inode in self.overruled else _without(inode)
            yield f"{self.names[inode]}, and {could[inode]}: {ends}"
        if len(could) > _FEW:
            yield f"{len(could) - _FEW} more can't be read, and could use the mountpoint too"
        others = self.unread.keys() - could.keys()
        for inode in _first(others):
            yield f"{self.names[inode]}, which does not matter: its users can't get to the mountpoint's directory"
        if len(others) > _FEW:
            yield f"{len(others) - _FEW} more can't be read, and do not matter either"


def kept_back(
    leaks: Sequence["Detachable"],
    unread: Mapping[int, str],
    scan: "Scan",
    entrants: Entrants,
    also_unread: frozenset[int] = frozenset(),
) -> KeptBack:
    """Which of the unread namespaces keep back which of the leaks, which are of one home; `also_unread` do not.

    Raises: OSError of reading /proc.
    """
    could: dict[Spot, dict[int, str]] = {leak.spot: {} for leak in leaks}
    if leaks and unread:
        points = [leak.mountpoint for leak in leaks]
        could = could_matter(points, leaks[0].finding.home, unread, scan, entrants)
    return KeptBack(could, unread, also_unread, UnreadNames(unread, scan))


def harmless(
    leaks: Sequence["Detachable"], unread: Mapping[int, str], scan: "Scan", entrants: Entrants
) -> frozenset[int]:
    """Those of the unread namespaces that keep back none of the leaks: to read them once more is not worth its time.

    Raises: OSError of reading /proc.
    """
    could = kept_back(leaks, unread, scan, entrants).could
    return frozenset(unread).difference(*could.values())


def _first(inodes: Iterable[int]) -> list[int]:
    return sorted(inodes)[:_FEW]


def _holder(inode: int, scan: "Scan") -> str:
    """Who is in it, by one process, with its user: `process 4711 (sleep, foo.service), uid 1000`."""
    seen = scan.picture.namespaces.get(inode)
    try:
        found = holders.members(seen).holders if seen else ()
    except OSError:
        return "a process that can't be read"
    first = chief(found)
    uid = f", uid {first.user}" if first and first.user is not None else ""
    return naming.first_in_full(found) + uid
