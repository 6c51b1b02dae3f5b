"""One leak that a detach is asked for: what is checked of it by a scan, and what is said of it afterwards."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import Declined
from ..model import NAMED, Action, Copy, Evidence, Finding, Mount, Spot, Target, gets_own_superblock
from ..observe import directory_users
from ..observe.mount_lines import MountLines
from .checks import judged_again, who
from .replace import Mountpoint, Replaced
from .results import Performed, copies_in_words
from .unread import of_each_readable

if TYPE_CHECKING:
    from ..scan.result import Scan


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

    @property
    def copies(self) -> tuple[Copy, ...]:
        """Those that go with the directory."""
        return tuple(copy for copy in self.target.proven if copy.spot == self.spot)

    def performed(self, done: Replaced | str, overruled: str = "") -> Performed:
        """What was done: `done` is a text where the child gave no answer; `overruled` what an operator did not wait
        for, in words.
        """
        saw, answered = self._saw() + overruled, not isinstance(done, str)
        return Performed(self.finding, Action.DETACH, saw, self._did(done), self.copies, answered)

    def _saw(self) -> str:
        spaces = sorted({copy.namespace for copy in self.copies})
        more = f" and {len(spaces) - NAMED} more" if len(spaces) > NAMED else ""
        copies, finding = copies_in_words(len(self.copies)), self.finding
        return f"{copies} of {finding.device} in namespaces {spaces[:NAMED]}{more}, evidence {finding.evidence}"

    def _did(self, done: Replaced | str) -> str:
        where = os.fsdecode(self.finding.mountpoint)
        what = f"an empty {'file' if self.target.match.layout.is_file else 'directory'}"
        if isinstance(done, str):
            return f"started to rename {what} over {where}; {done}"
        return (
            f"renamed {what} (inode {done.new_inode}, mode {done.mode:o}, owner {done.uid}:{done.gid}) "
            f"over {where} (inode {done.old_inode})"
        )


def judged_leak(finding: Finding, seen: Finding | None) -> Detachable:
    """The finding as the scan shows it. Raises: Declined where it is not what was judged."""
    now = judged_again(finding, seen, Action.DETACH)
    if now.home != finding.home:
        raise Declined("changed", "its engine has another mount namespace than when it was judged")
    if now.target is None or not now.target.copies:
        raise Declined("changed", "no copy is on the mountpoint any more")
    return Detachable(now, now.target)


@dataclass(frozen=True, slots=True)
class _Other:
    """A mount that would go with a mountpoint's directory, and is none of the leaked copies."""

    namespace: int
    mount: Mount
    on_copy: bool = False
    """It is mounted on a copy, or below it."""


def others_there(
    leaks: Sequence[Detachable], scan: "Scan", unread: dict[int, str], but: Collection[int] = ()
) -> dict[Spot, Declined]:
    """Spots of which the directory itself is mounted, or with which another mount would go, with the refusal.

    The leaks are of one home. What counts is what is there now: namespaces that copied the leaked mount since the scan
    are fine. What can't be read now is added to `unread`, with the reason; `but` some, which are not read.
    """
    own = {leak.spot: leak.target.mount for leak in leaks}
    judged: dict[int, dict[int, Spot]] = {}
    for leak in leaks:
        for copy in leak.copies:
            judged.setdefault(copy.namespace, {})[copy.mount.id] = leak.spot
    refused: dict[Spot, Declined] = {}
    others: dict[Spot, list[_Other]] = {}
    directories = directory_users.Directories(own)

    def in_one(inode: int, lines: MountLines) -> tuple[list[tuple[Spot, bytes]], list[tuple[Spot, _Other]]]:
        bound, there = directories.concerned(lines)
        return bound, list(_others(inode, lines, there, judged.get(inode, {}), own))

    for inode, (bound, found) in of_each_readable(scan, in_one, unread, but) if leaks else ():
        for spot, point in bound:
            where = f"{os.fsdecode(point)} in namespace {inode} of {who(inode, scan)}"
            refused.setdefault(spot, Declined("bound", f"the directory itself is mounted at {where}"))
        for spot, other in found:
            if inode == leaks[0].finding.home:
                refused.setdefault(spot, Declined("live", "something is mounted on the mountpoint again"))
            others.setdefault(spot, []).append(other)
    return {spot: _mixed(found, scan) for spot, found in others.items()} | refused


def _others(
    inode: int,
    lines: MountLines,
    there: Iterable[tuple[Spot, Mount]],
    here: Mapping[int, Spot],
    own: Mapping[Spot, Mount],
) -> Iterator[tuple[Spot, _Other]]:
    """Of one namespace, with the copies that were judged there: mounts that are on a spot, on a copy or below it."""
    copies: dict[int, Spot] = {}
    for spot, mount in there:
        if not mount.same_as(own[spot]) or not (mount.id in here or gets_own_superblock(mount)):
            yield spot, _Other(inode, mount)
        copies[mount.id] = spot
    while copies:
        on_them = directory_users.mounted_on(lines, frozenset(copies))
        above = [(copies[mount.parent], mount) for mount in on_them if mount.id != mount.parent]
        yield from ((spot, _Other(inode, m, on_copy=True)) for spot, m in above if not m.same_as(own[spot]))
        copies = {mount.id: spot for spot, mount in above}


def _mixed(found: Sequence[_Other], scan: "Scan") -> Declined:
    named = "; ".join(_name(other, scan) for other in found[:NAMED])
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    what = "another mount" if len(found) == 1 else f"{len(found)} other mounts"
    return Declined("mixed", f"{what} on that spot would go too: {named}{more}")


def _name(other: _Other, scan: "Scan") -> str:
    mount, on = other.mount, ", on a copy" if other.on_copy else ""
    what = f"mount {mount.id} in namespace {other.namespace} ({mount.fstype} {mount.device}{on})"
    return f"{what} of {who(other.namespace, scan)}"
