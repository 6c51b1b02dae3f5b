"""What the umount of mounts of home would do in all mount namespaces, by what these have now: allowed, or why not."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import Declined, NoAnswer
from ..model import Action, Finding, Mount
from ..mounts.graph import Graph, PlacedMount
from ..mounts.propagation import Behaviour, Prediction, UmountResult, predict_umount
from ..mounts.table import Table
from ..observe.umount_probe import probe_behaviour
from ..observe.umount_spread import Spread
from .results import copies_in_words
from .umount_there import MountAtPath
from .unread import check_unread, of_each_readable

if TYPE_CHECKING:
    from ..scan.result import Scan


@dataclass(frozen=True, slots=True)
class Doomed:
    """A mount of home as the batch's own scan shows it."""

    finding: Finding
    mount: Mount
    parent: Mount

    @classmethod
    def of(cls, finding: Finding, scan: "Scan") -> "Doomed | None":
        """None where home does not have it on top of that spot."""
        for state in scan.picture.roots:
            if (state.root.path, state.home) == (finding.root.path, finding.home) and finding.spot:
                for mount in state.live.get(finding.spot, ())[-1:]:
                    if mount.id == finding.first.mount_id:
                        return cls(finding, mount, state.parents[mount.id])
        return None

    @property
    def mounted(self) -> MountAtPath:
        """As the child looks for it."""
        return MountAtPath(self.mount.point, self.mount.id, self.mount.parent, self.mount.unique)


class Spreading:
    """What umounts of home would do in all mount namespaces, by what these have now."""

    def __init__(self, doomed: Sequence[Doomed], scan: "Scan") -> None:
        self._scan = scan
        self.unread: dict[int, str] = {}
        """Namespaces that could not be read, with the reason."""
        spots = (one.finding.spot for one in doomed if one.finding.spot)
        spread = Spread.of([one.mount for one in doomed], [one.parent for one in doomed], spots)
        read = of_each_readable(scan, lambda _inode, lines: Table(spread.concerned(lines)), self.unread)
        self._graph = Graph(dict(read) if doomed else {})
        try:
            self._behaviour = probe_behaviour()
        except (OSError, NoAnswer):
            self._behaviour = Behaviour.SLIDES  # by which more goes

    def allowed(self, one: Doomed, also_unread: frozenset[int]) -> Prediction:
        """What the umount would do. Raises: Declined where that is more than to unmount this mount."""
        place = self._graph.places.get(one.mount.id)
        if place is None or not place.mount.same_as(one.mount):
            raise Declined("gone", "it is not there any more")
        found = self._predict(place)
        if found.answer is UmountResult.BUSY:
            raise Declined("mounted-on", f"{_named(found.because)} is mounted on it")
        others = [other for other in found.reached if not other.mount.same_as(one.mount)]
        if others:
            raise Declined("spreads", f"the umount would take {_named(others)} along, which is another mount")
        if one.parent.shared:
            unread = {inode: why for inode, why in self.unread.items() if inode not in also_unread}
            check_unread(one.finding, Action.UNMOUNT, unread, self._scan)
        return found

    def words(self, one: Doomed, also_unread: frozenset[int]) -> list[str]:
        """What would come of it."""
        try:
            found = self.allowed(one, also_unread)
        except Declined as error:
            return [f"predicted: declined, {error.message}"]
        reached, left = len(found.reached), len(found.left)
        gone = f"it goes from {_spaces(reached)} too" if reached else "no other mount namespace loses anything"
        stays = f"; {copies_in_words(left)} elsewhere would stay, out of reach of that umount" if left else ""
        return [f"predicted: {gone}{stays}"]

    def _predict(self, place: PlacedMount) -> Prediction:
        """Without locks, by which less goes, and without users, which the kernel itself sees."""
        nothing = frozenset[int]()
        return predict_umount(
            self._graph, place.mount, lazy=False, busy=nothing, locked=nothing, behaviour=self._behaviour
        )


def predicted(findings: Iterable[Finding], scan: "Scan", also_unread: frozenset[int]) -> dict[str, list[str]]:
    """By finding, in words: what its umount would do by what is mounted now, or why it would be declined.

    Raises: OSError and NoAnswer of reading.
    """
    seen = {finding.id: finding for finding in scan.findings}
    doomed = [Doomed.of(now, scan) for finding in findings if (now := seen.get(finding.id))]
    spread = Spreading([one for one in doomed if one], scan)
    return {one.finding.id: spread.words(one, also_unread) for one in doomed if one}


def _named(places: Sequence[PlacedMount]) -> str:
    first = places[0]
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f"{os.fsdecode(first.mount.point)} in namespace {first.namespace}{more}"


def _spaces(number: int) -> str:
    return "1 other mount namespace" if number == 1 else f"{number} other mount namespaces"
