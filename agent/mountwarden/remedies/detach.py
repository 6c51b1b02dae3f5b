"""detach: rmdir-on-put. Look again, check everything that is on the mountpoint anywhere, replace it at home, verify."""

import functools
import os
from typing import TYPE_CHECKING

from ..errors import Declined, NoAnswer
from ..model import Action, Copy, Evidence, Finding, Outcome, Reach, Target
from ..observe import uses
from . import leftovers, replace
from .common import at_home, check_leaked, removed, still_there, texts

if TYPE_CHECKING:
    from ..look import Look, Looker


def detach(finding: Finding, looker: "Looker") -> Outcome:
    """Replace the mountpoint at home, so that the kernel drops the copies of every namespace."""
    _check_kind(finding)
    look = looker.look(resync=True)
    now = still_there(finding, look)
    target = _judged(now, look)
    _check_evidence(now, target)
    over = _check_others(target, look)
    spot = _spot(target)
    proc = uses.open_proc()
    try:
        did = _replaced(now, look, spot, proc)
        return removed(now, target.copies, looker, proc, Action.DETACH, _saw(now, target, over), did)
    finally:
        os.close(proc)


def _check_kind(finding: Finding) -> None:
    check_leaked(finding, Action.DETACH)
    if finding.reach is not Reach.RMDIR:
        raise Declined("out-of-reach", finding.detail or "the copy is not on the mountpoint")


def _judged(now: Finding, look: "Look") -> Target:
    _check_kind(now)
    if now.evidence is Evidence.SPOT and not now.root.home_known:
        raise Declined("home-unknown", f"{now.root.engine} is not running, so nobody can say what it uses")
    unread = [gap for gap in look.gaps if gap.namespace is not None]
    if unread:
        raise Declined("unread", f"a namespace could not be read ({unread[0].reason}): it may use the layer")
    if now.target is None or not now.target.copies:
        raise Declined("changed", "no copy is on the mountpoint any more")
    return now.target


def _check_evidence(now: Finding, target: Target) -> None:
    """A replaced directory drops all copies on it: what is known of one must hold for each."""
    if now.evidence is not Evidence.HISTORY:
        return  # the record speaks of the layer, and the spot of itself
    known = {copy.mount.identity for copy in target.copies if copy.history is not None}
    for copy in target.copies:
        if copy.mount.identity not in known:
            raise Declined("mixed", f"namespace {copy.namespace} has another mount on that spot, of unknown history")


def _check_others(target: Target, look: "Look") -> int:
    """No mount anywhere may show the directory itself, or be on it without being judged. How many lie on the copies."""
    spot, over = target.match.spot, 0
    for inode, text in texts(look):
        for point in uses.bound_at(text, spot.device, spot.path):
            raise Declined("bound", f"the directory itself is mounted at {os.fsdecode(point)} in namespace {inode}")
        here = {copy.mount.id for copy in target.copies if copy.namespace == inode}
        for mount in uses.on_spot(text, spot.device, spot.path):
            if mount.id not in here:
                raise Declined("shared-spot", f"namespace {inode} has another mount ({mount.fstype}) on that spot")
        over += sum(1 for mount in uses.mounted_on(text, frozenset(here)) if mount.id not in here)
    return over


def _spot(target: Target) -> replace.Spot:
    match = target.match
    return replace.Spot(
        base=match.root.path if not match.base.rel else match.base.mount.point,
        base_mount=match.base.mount.id,
        rel=match.rel[len(match.base.rel) + 1 :] if match.base.rel else match.rel,
        is_file=match.layout.is_file,
    )


def _saw(now: Finding, target: Target, over: int) -> str:
    spaces = sorted({copy.namespace for copy in target.copies})
    saw = f"{_counted(target.copies)} of {now.device} in namespaces {spaces}, evidence {now.evidence}"
    return f"{saw}; mounted on them, and gone with them: {over}" if over else saw


def _counted(copies: tuple[Copy, ...]) -> str:
    return f"{len(copies)} cop{'y' if len(copies) == 1 else 'ies'}"


def _replaced(now: Finding, look: "Look", spot: replace.Spot, proc: int) -> str:
    """What was done. A child that missed its deadline may have done it: the look afterwards tells."""
    where = os.fsdecode(now.mountpoint)
    try:
        done = at_home(now, look, functools.partial(replace.replace, spot, proc))
    except NoAnswer as error:
        _tidy(now, look, spot)
        return f"started to rename an empty directory over {where}; {error.message}"
    return (
        f"renamed an empty directory (inode {done.new_inode}, mode {done.mode:o}, owner {done.uid}:{done.gid}) "
        f"over {where} (inode {done.old_inode})"
    )


def _tidy(now: Finding, look: "Look", spot: replace.Spot) -> None:
    """The killed child's sibling, which is all that it can have left."""
    try:
        at_home(now, look, functools.partial(leftovers.remove_beside, spot))
    except (Declined, NoAnswer, OSError):
        return
