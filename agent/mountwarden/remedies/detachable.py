"""One leak that a detach is asked for: what is checked of it by a scan, and what is said of it afterwards."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import Declined
from ..model import Action, Evidence, Finding, Mount, Spot, Target
from ..observe import directory_users
from .checks import judged_again, texts
from .replace import Mountpoint, Replaced
from .results import Performed, copies_in_words

if TYPE_CHECKING:
    from ..scan.scanner import Scan


@dataclass(frozen=True, slots=True)
class Detachable:
    """A leak as the batch's own scan shows it."""

    finding: Finding
    target: Target

    @property
    def spot(self) -> Spot:
        """Where it is."""
        return self.target.match.spot

    @property
    def mountpoint(self) -> Mountpoint:
        """What is to be replaced."""
        match = self.target.match
        return Mountpoint(
            base=match.root.path if not match.base.rel else match.base.mount.point,
            base_mount=match.base.mount.id,
            rel=match.rel[len(match.base.rel) + 1 :] if match.base.rel else match.rel,
            is_file=match.layout.is_file,
            match=match,
            recorded=self.finding.evidence is Evidence.RECORD,
        )

    def performed(self, over: int, done: Replaced | str) -> Performed:
        """What was done: `done` is a text where the child gave no answer. `over` mounts lay on the copies."""
        return Performed(self.finding, Action.DETACH, self._saw(over), self._did(done), self.target.copies)

    def _saw(self, over: int) -> str:
        spaces = sorted({copy.namespace for copy in self.target.copies})
        copies, finding = copies_in_words(len(self.target.copies)), self.finding
        saw = f"{copies} of {finding.device} in namespaces {spaces}, evidence {finding.evidence}"
        return f"{saw}; mounted on them, and gone with them: {over}" if over else saw

    def _did(self, done: Replaced | str) -> str:
        where = os.fsdecode(self.finding.mountpoint)
        what = f"an empty {'file' if self.target.match.layout.is_file else 'directory'}"
        if isinstance(done, str):
            return f"started to rename {what} over {where}; {done}"
        return (
            f"renamed {what} (inode {done.new_inode}, mode {done.mode:o}, owner {done.uid}:{done.gid}) "
            f"over {where} (inode {done.old_inode})"
        )


def judged_leak(finding: Finding, seen: Finding | None, scan: "Scan") -> Detachable:
    """The finding as the scan shows it. Raises: Declined where it is not what was judged, or the scan is not whole."""
    now = judged_again(finding, seen, Action.DETACH)
    unread = [gap for gap in scan.gaps if gap.namespace is not None]
    if unread:
        raise Declined("unread", f"a namespace could not be read ({unread[0].reason}): it may use the layer")
    if now.home != finding.home:
        raise Declined("changed", "its engine has another mount namespace than when it was judged")
    if now.target is None or not now.target.copies:
        raise Declined("changed", "no copy is on the mountpoint any more")
    return Detachable(now, now.target)


def others_there(leaks: Sequence[Detachable], scan: "Scan") -> tuple[dict[Spot, Declined], Counter[Spot]]:
    """Spots that something else is on or shows, with the refusal; and how many mounts lie on the copies of each spot.

    Raises: Declined where a namespace can't be read.
    """
    own = {leak.spot: leak.target.mount for leak in leaks}
    judged: dict[int, dict[int, Spot]] = {}
    for leak in leaks:
        for copy in leak.target.copies:
            judged.setdefault(copy.namespace, {})[copy.mount.id] = leak.spot
    others: dict[Spot, Declined] = {}
    over: Counter[Spot] = Counter()
    for inode, text in texts(scan) if leaks else ():
        here = judged.get(inode, {})
        for spot, why in _others(inode, text, here, own):
            others.setdefault(spot, why)
        above = directory_users.mounted_on(text, frozenset(here))
        over.update(here[mount.parent] for mount in above if mount.id not in here)
    return others, over


def _others(
    inode: int, text: bytes, here: Mapping[int, Spot], own: Mapping[Spot, Mount]
) -> Iterator[tuple[Spot, Declined]]:
    """Of one namespace: mounts of a spot's directory itself, and mounts on a spot that are not those judged, `here`."""
    for spot, point in directory_users.bound(text, own.keys()):
        where = f"{os.fsdecode(point)} in namespace {inode}"
        yield spot, Declined("bound", f"the directory itself is mounted at {where}")
    for spot, mount in directory_users.on_spots(text, own.keys()):
        if mount.id not in here:
            yield spot, Declined("shared-spot", f"namespace {inode} has another mount ({mount.fstype}) on that spot")
        elif not mount.same_as(own[spot]):
            which = f"mount {mount.id} in namespace {inode} ({mount.fstype} {mount.device})"
            yield spot, Declined("mixed", f"another mount on that spot would go too: {which}")
