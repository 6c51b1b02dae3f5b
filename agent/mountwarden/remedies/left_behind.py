"""unmount, of what home itself has mounted and nobody owns: plainly, from its parent directory, in batches.

A batch shares a scan, in which the engines are asked once more for the owner of each, one reading of what the umounts
could spread to, and the scan that verifies, which is the first of the next batch. Each umount is predicted before
(mounts/propagation.py), and declined where anything would go with it but copies of the same mount. None is lazy: what
is in use the kernel itself refuses.
"""

import functools
import itertools
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from mmap import mmap
from typing import TYPE_CHECKING

from ..errors import Declined, MountwardenError, NoAnswer
from ..model import Action, Finding, Outcome, Use
from ..mounts.propagation import Prediction
from ..observe import directory_users
from .checks import judged_again
from .children import at_home
from .results import Performed, copies_in_words, refused
from .umount_at_home import Doomed, Spreading
from .umount_there import MountAtPath, check_on, check_top, parent_directory, umount

if TYPE_CHECKING:
    from ..scan.result import Scan
    from ..scan.scanner import Scanner

MOST = 500
"""Umounts in a batch."""
SECONDS = 2.0
"""For so many seconds a batch begins umounts: one of an overlay may write what it has not written yet."""
FRESH = 0.25
"""Seconds for which the scan that verified a batch does for the next one."""

_BEGUN = struct.Struct("=Q")
"""How many were begun, in memory that a child shares with its parent."""


def unmount_at_home(
    findings: Iterable[Finding],
    scanner: "Scanner",
    go_on: Callable[[], bool] = lambda: True,
    *,
    also_unread: frozenset[int] = frozenset(),
) -> Iterator[Outcome]:
    """Unmount what nobody owns, each outcome as soon as it is known; before each batch `go_on` is asked.

    `also_unread` are mount namespaces, by inode, that do not keep it back though they can't be read. Raises nothing of
    the kernel's.
    """
    left = {finding.id: finding for finding in findings}
    scan, ended = None, 0.0
    while left and go_on():
        home = next(iter(left.values())).home
        batch = list(itertools.islice((finding for finding in left.values() if finding.home == home), MOST))
        try:
            if scan is None or time.monotonic() - ended > FRESH:
                scan = scanner.scan(resync=True)
            outcomes, scan = _UmountBatch(scan, scanner, also_unread).unmount(batch)
            ended = time.monotonic()
        except (OSError, MountwardenError) as error:
            outcomes, scan = [refused(finding, Action.UNMOUNT, error) for finding in batch], None
        for outcome in outcomes:
            del left[outcome.finding.id]
        yield from outcomes


class _UmountBatch:
    """Mounts that are checked by one scan, unmounted by one child, and verified by another scan."""

    def __init__(self, scan: "Scan", scanner: "Scanner", also_unread: frozenset[int]) -> None:
        self._scan, self._scanner, self._also_unread = scan, scanner, also_unread
        self._outcomes: list[Outcome] = []

    def unmount(self, findings: Sequence[Finding]) -> tuple[list[Outcome], "Scan | None"]:
        """The outcomes of those that the batch came to, of one at least; and the scan that verified what was done."""
        judged = self._judged(findings)
        allowed = self._allowed(judged)
        performed = self._performed(allowed)
        scan = self._verified(performed, allowed) if performed else None
        ended = {outcome.finding.id: outcome for outcome in self._outcomes}
        return [ended[one.id] for one in findings if one.id in ended], scan

    def _refuse(self, finding: Finding, error: OSError | MountwardenError) -> None:
        self._outcomes.append(refused(finding, Action.UNMOUNT, error))

    def _judged(self, findings: Iterable[Finding]) -> list[Doomed]:
        seen = {finding.id: finding for finding in self._scan.findings}
        judged = []
        for finding in findings:
            try:
                now = judged_again(finding, seen.get(finding.id), Action.UNMOUNT)
                found = Doomed.of(now, self._scan)
                if found is None or not now.asked or now.home != finding.home:
                    raise Declined("changed", "another mount is on that spot than the one that was judged")
                judged.append(found)
            except Declined as error:
                self._refuse(finding, error)
        return judged

    def _allowed(self, judged: Sequence[Doomed]) -> dict[str, tuple[Doomed, Prediction]]:
        """Those whose umount takes nothing else along, by their findings."""
        spreading = Spreading(judged, self._scan)
        allowed = {}
        for one in judged:
            try:
                allowed[one.finding.id] = one, spreading.allowed(one, self._also_unread)
            except Declined as error:
                self._refuse(one.finding, error)
        return allowed

    def _performed(self, allowed: Mapping[str, tuple[Doomed, Prediction]]) -> list[Performed]:
        doomed = [one for one, _found in allowed.values()]
        performed = []
        answers = self._answers(doomed)
        late = [one for one, what in zip(doomed, answers, strict=False) if _is_busy(what)]
        users = _users(frozenset(mount for one in late for mount in _ids(*allowed[one.finding.id])))
        for one, what in zip(doomed, answers, strict=False):  # shorter where the time was up
            if isinstance(what, Declined):
                uses = [use for mount in _ids(*allowed[one.finding.id]) for use in users.get(mount, ())]
                self._refuse(one.finding, _busy(uses) if _is_busy(what) else what)
            else:
                saw = f"mount {one.mount.id} of {one.mount.device} {one.finding.root.where}, {one.finding.detail}"
                did = f"{os.fsdecode(one.mount.point)}: {what}"
                performed.append(Performed(one.finding, Action.UNMOUNT, saw, did))
        return performed

    def _answers(self, doomed: Sequence[Doomed]) -> Sequence[str | Declined]:
        """What the child says of each that it came to; where it gave no answer, that, of each that it has begun."""
        if not doomed:
            return []
        with mmap(-1, _BEGUN.size) as begun:
            act = functools.partial(_act, [one.mounted for one in doomed], begun)
            try:
                return at_home(doomed[0].finding.home, self._scan, act)
            except NoAnswer as error:
                (count,) = _BEGUN.unpack_from(begun)
                if not count:
                    raise
                return ["unmounted"] * (count - 1) + [f"started to unmount; {error.message}"]

    def _verified(
        self, performed: Sequence[Performed], allowed: Mapping[str, tuple[Doomed, Prediction]]
    ) -> "Scan | None":
        try:
            scan = self._scanner.scan(resync=True)
        except (OSError, NoAnswer) as error:
            self._outcomes += [one.unverified(error) for one in performed]
            return None
        homes = {state.home for state in scan.picture.roots if state.status == "ok"}
        live = (mount for state in scan.picture.roots for some in state.live.values() for mount in some)
        there = {(mount.id, mount.unique, mount.device) for mount in live}
        for one in performed:
            doomed, found = allowed[one.finding.id]
            if one.finding.home not in homes:
                self._outcomes.append(one.unverified("the mounts of its home"))
            elif (doomed.mount.id, doomed.mount.unique, doomed.mount.device) in there:
                self._outcomes.append(one.failed("still-there", "it is still mounted"))
            else:
                self._outcomes.append(one.done(f"unmounted: {_freed(one.finding, found)}", _freed(one.finding, found)))
        return scan


def _users(mounts: frozenset[int]) -> dict[int, list[Use]]:
    """Processes that use one of the mounts (small ids), by it."""
    if not mounts:
        return {}
    proc = directory_users.open_proc()
    try:
        return directory_users.users_by_mount(proc, mounts)
    finally:
        os.close(proc)


def _ids(one: Doomed, found: Prediction) -> Iterator[int]:
    yield one.mount.id
    yield from (place.mount.id for place in found.reached)


def _is_busy(what: str | Declined) -> bool:
    return isinstance(what, Declined) and what.code == "busy"


def _busy(uses: Sequence[Use]) -> Declined:
    named = ", ".join(map(str, uses[:3])) + (f" and {len(uses) - 3} more" if len(uses) > 3 else "")
    by = named or "no process that has a file open: by what is mounted from it, a loop device or swap"
    return Declined("busy", f"it is in use by {by}")


def _freed(finding: Finding, found: Prediction) -> str:
    freed = f"; that frees {finding.frees}" if finding.frees else ""
    left = f"; {copies_in_words(len(found.left))} left in other mount namespaces" if found.left else ""
    return f"it is gone {finding.root.where}{freed}{left}"


def _act(mounts: Sequence[MountAtPath], begun: mmap) -> list[str | Declined]:
    """In the child, at home: what became of each that it came to within its time."""
    until, done = time.monotonic() + SECONDS, list[str | Declined]()
    for mount in mounts:
        if done and time.monotonic() >= until:
            break
        _BEGUN.pack_into(begun, 0, len(done) + 1)
        try:
            done.append(_unmounted(mount))
        except Declined as error:
            done.append(error)
        except OSError as error:
            done.append(Declined("failed", f"the kernel refused it: {error.strerror}"))
    return done


def _unmounted(mount: MountAtPath) -> str:
    fd = parent_directory(mount)
    try:
        check_on(fd, mount)
        check_top(fd, mount)
        return umount(fd, mount, lazy=False)
    finally:
        os.close(fd)
