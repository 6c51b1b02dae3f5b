"""detach: rmdir-on-put. Scan again, check everything that is on the mountpoint anywhere, replace it in home, verify.

Home is the mount namespace of the root's engine: its view of the root counts. A scan of a whole host costs a hundred
times what a rename does, so leaks of one home are detached in batches. A batch shares a scan, one reading of all
namespaces, one search for processes that use a mountpoint's directory itself, and the scan that verifies, which is the
first of the next batch. It has at most `MOST` leaks and begins no detach later after the last reading of all namespaces
than `SECONDS`, or where that is longer, than the reading itself took: so much, and `LONGEST` at most, what it shares is
older than for a single detach, and as long as it takes to compare them with what was read (20 ms for a thousand).

What protects a layer that is used again does not age. It is asked for each leak right before its rename: by the kernel
itself whether home has mounted on it (EBUSY), of the engine's record whether it is live; the way to the directory, the
mount it is on, its inode, its emptiness and its change time. Last, before the first rename and each eighth after it,
whether any mount was made on the host since all namespaces were read (Linux 6.8); these are then read again, once for a
batch and thrice for a few leaks. What may be missed for that little longer is a process that begins to use the empty
directory itself, which then has a removed one; where mounts are made all the time, or on an older kernel, also one that
another namespace makes on it or of it, and on any a mount that is moved there. A single detach has the same gap, only
shorter; the record and the confirm time stand against it.
"""

import functools
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from mmap import mmap
from typing import TYPE_CHECKING

from ..errors import Declined, MountwardenError, NoAnswer
from ..model import Action, Finding, Outcome, Spot
from ..observe import directory_users
from ..observe.entrants import Entrants
from . import leftovers, newer_mounts, replace
from .children import at_home
from .detachable import Detachable, judged_leak, others_there
from .results import Performed, refused, verified
from .unread import all_unread, harmless, kept_back, read_in_part

if TYPE_CHECKING:
    from ..scan.result import Scan
    from ..scan.scanner import Scanner

SECONDS, LONGEST = 0.25, 2.0
"""For so many seconds a batch begins detaches, and so old the scan may be that it starts with; at most for so many,
where reading all namespaces takes longer than the first: else nearly all of its time would be spent on that.
"""
MOST = 1000
"""Leaks in a batch."""
LOOKS, FEW = 4, 8
"""How often all namespaces are read for a few leaks, and twice for more, where mounts are made meanwhile: from the last
time on, that is not asked any more."""


def detach(finding: Finding, scanner: "Scanner", *, also_unread: frozenset[int] = frozenset()) -> Outcome:
    """Replace the mountpoint in home, so that the kernel drops the copies of every namespace.

    `also_unread` are mount namespaces, by inode, that do not keep it back though they can't be read.
    """
    return next(detach_all((finding,), scanner, also_unread=also_unread))


def detach_all(
    findings: Iterable[Finding],
    scanner: "Scanner",
    go_on: Callable[[], bool] = lambda: True,
    *,
    also_unread: frozenset[int] = frozenset(),
) -> Iterator[Outcome]:
    """The same for many, in batches, before each of which `go_on` is asked: each outcome as soon as it is known.

    Raises nothing of the kernel's.
    """
    left = {finding.id: finding for finding in findings}
    scan, ended, newest = None, 0.0, None
    while left and go_on():
        home = next(iter(left.values())).home
        batch = list(itertools.islice((finding for finding in left.values() if finding.home == home), MOST))
        try:
            if scan is None or time.monotonic() - ended > SECONDS:
                newest = newer_mounts.newest()
                scan = scanner.scan(resync=True)
            outcomes, scan = _Batch(scan, scanner, also_unread, newest).detach(batch)
            ended, newest = time.monotonic(), None
        except (OSError, MountwardenError) as error:
            outcomes, scan = [refused(finding, Action.DETACH, error) for finding in batch], None
        outcomes += _together(outcomes, left)
        for outcome in outcomes:
            del left[outcome.finding.id]
        yield from outcomes


def _together(outcomes: Iterable[Outcome], left: Mapping[str, Finding]) -> list[Outcome]:
    """Those of other findings on the same spots: one detach ends, and verifies, the copies of all namespaces."""
    known = {outcome.finding.id for outcome in outcomes}
    done: dict[Spot | None, Outcome] = {o.finding.spot: o for o in outcomes if o.done and o.finding.spot}
    found = []
    for finding in left.values():
        first = done.get(finding.spot)
        if first is not None and finding.id not in known:
            text = f"done together with {first.finding.id}"
            found.append(Outcome(finding, Action.DETACH, True, "together", text, verified=first.verified))
    return found


class _Batch:
    """Leaks that are checked by one scan, replaced by one child, and verified by another scan."""

    def __init__(
        self, scan: "Scan", scanner: "Scanner", also_unread: frozenset[int], newest: int | None = None
    ) -> None:
        """`newest` is the unique id of the newest mount before the scan, where that is known."""
        self._scan, self._scanner, self._also_unread, self._newest = scan, scanner, also_unread, newest
        self._outcomes: list[Outcome] = []
        self._unread = all_unread(scan)
        """By inode, with the reason: namespaces that could not be read by the scan, or since."""
        self._overruled: dict[Spot, str] = {}
        """By spot, in words: namespaces that could have to do with it, and that an operator did not wait for."""

    def detach(self, findings: Sequence[Finding]) -> tuple[list[Outcome], "Scan | None"]:
        """The outcomes of those that the batch came to, of one at least; and the scan that verified what was done."""
        leaks: dict[Spot, Detachable] = {}
        for leak in self._judged(findings):
            leaks.setdefault(leak.spot, leak)
        proc = directory_users.open_proc()
        try:
            performed = self._replaced(list(leaks.values()), proc)
            done, scan = verified(performed, self._scanner, proc) if performed else ([], None)
        finally:
            os.close(proc)
        ended = {outcome.finding.id: outcome for outcome in self._outcomes + done}
        return [ended[one.id] for one in findings if one.id in ended], scan  # in turn: failures in a row are counted

    def _judged(self, findings: Iterable[Finding]) -> list[Detachable]:
        seen = {finding.id: finding for finding in self._scan.findings}
        judged = []
        for finding in findings:
            try:
                judged.append(judged_leak(finding, seen.get(finding.id)))
            except Declined as error:
                self._outcomes.append(refused(finding, Action.DETACH, error))
        return judged

    def _unshared(self, leaks: Sequence[Detachable], *, as_scanned: bool) -> list[Detachable]:
        """Those whose spots nothing else is on or shows, and no namespace that can't be read could either.

        `as_scanned`: no mount was made since the scan, or it will be seen that one was, so that what it saw stands.
        """
        entrants = Entrants()
        but = harmless(leaks, self._unread, self._scan, entrants)
        unread = {inode: self._unread[inode] for inode in but} | read_in_part(self._scan)
        others = others_there(leaks, self._scan, unread, but | self._unconcerned(leaks) if as_scanned else but)
        self._unread |= unread
        left = [leak for leak in leaks if leak.spot not in others]
        kept = kept_back(left, unread, self._scan, entrants, self._also_unread)
        others |= {leak.spot: why for leak in left if (why := kept.refusal(leak))}
        self._overruled |= {leak.spot: kept.overrule(leak.spot) for leak in left}
        for leak in leaks:
            if leak.spot in others:
                self._outcomes.append(refused(leak.finding, Action.DETACH, others[leak.spot]))
        return [leak for leak in leaks if leak.spot not in others]

    def _unconcerned(self, leaks: Sequence[Detachable]) -> frozenset[int]:
        """Namespaces with much to read in which the scan saw nothing that has to do with the leaks' mountpoints."""
        spots = {leak.spot for leak in leaks}
        concerned = {copy.namespace for copy in self._scan.picture.copies if copy.spot is None or copy.spot in spots}
        return self._scan.unbound - concerned - self._unread.keys()

    def _replaced(self, leaks: Sequence[Detachable], proc: int) -> list[Performed]:
        """What was done. All is searched and read anew, a few times, where a mount was made before a rename."""
        answered: list[tuple[Detachable, replace.Replaced | Declined | str]] = []
        for looks_left in reversed(range(LOOKS if len(leaks) <= FEW else 2)):
            began = time.monotonic()
            as_scanned = self._newest is not None and looks_left > 0
            newest = self._newest if as_scanned else newer_mounts.newest() if looks_left else None
            in_use = directory_users.directories_in_use(proc, frozenset(leak.mountpoint.name for leak in leaks))
            leaks, self._newest = self._unshared(leaks, as_scanned=as_scanned), None
            seconds = min(max(SECONDS, time.monotonic() - began), LONGEST)
            until = time.monotonic() + seconds
            answers = self._answers(leaks, in_use, newest, seconds)
            answered += zip(leaks, answers, strict=False)  # shorter where the time was up, or a mount was made
            leaks = leaks[len(answers) :]
            gave_none = any(isinstance(what, str) for what in answers)  # what it hangs at may keep the next one too
            if not leaks or gave_none or replace.failing(answers) or (answered and time.monotonic() >= until):
                break
        for leak, what in answered:
            if isinstance(what, Declined):
                self._outcomes.append(refused(leak.finding, Action.DETACH, what))
        done = ((leak, what) for leak, what in answered if not isinstance(what, Declined))
        return [leak.performed(what, self._overruled.get(leak.spot, "")) for leak, what in done]

    def _answers(
        self, leaks: Sequence[Detachable], in_use: replace.InUse, newest: int | None, seconds: float
    ) -> Sequence[replace.Replaced | Declined | str]:
        """What the child says of each that it came to; of one that gave no answer, why, as often as it has begun."""
        if not leaks:
            return []
        home, points = leaks[0].finding.home, [leak.mountpoint for leak in leaks]
        with mmap(-1, replace.BEGUN.size) as begun:
            try:
                function = functools.partial(replace.replace_all, points, in_use, newest, seconds, begun)
                return at_home(home, self._scan, function)
            except NoAnswer as error:
                (count,) = replace.BEGUN.unpack_from(begun)
                if not count:
                    raise
                self._tidy(home, points[:count])  # the scan afterwards shows what it has done
                return [error.message] * count

    def _tidy(self, home: int | None, points: Sequence[replace.Mountpoint]) -> None:
        """The killed child's sibling, which is all that it can have left."""
        try:
            at_home(home, self._scan, functools.partial(leftovers.remove_beside, points))
        except (Declined, NoAnswer, OSError):
            return
