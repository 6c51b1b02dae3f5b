"""The only code that changes the host. Each act looks again, checks every precondition, acts, and verifies."""

import functools
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from .. import forked
from ..errors import Declined, MountwardenError, NoAnswer
from ..kernel import abi, calls
from ..look import Look, Looker
from ..model import Action, Evidence, Finding, Kind, Outcome, Reach, Use
from ..observe import namespaces, uses
from ..observe.enter import in_namespace, own_namespace
from . import replace

T = TypeVar("T")

DEADLINE = 5.0
"""Seconds for the child that acts: it reads /proc and one directory."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that an act does, in words."""

    text: str

    def describe(self) -> str:
        """For --dry-run and the plan."""
        return self.text


def carry_out(finding: Finding, looker: Looker, action: Action) -> Outcome:
    """Do one remedy for one finding. A refusal or failure is an Outcome that says why, never an exception."""
    try:
        return _ACTS[action](finding, looker)
    except Declined as error:
        return Outcome(finding, action, False, error.code, f"declined: {error.message}")
    except NoAnswer as error:
        return Outcome(finding, action, False, "no-answer", f"failed: {error.message}")
    except OSError as error:
        return Outcome(finding, action, False, "failed", f"failed: {error.strerror or error}")
    except MountwardenError as error:
        return Outcome(finding, action, False, "failed", f"failed: {error.message}")


def describe(finding: Finding, action: Action) -> list[Step]:
    """What the act would do, step by step."""
    where = os.fsdecode(finding.mountpoint)
    if action is Action.SHARE:
        return [
            Step(f"make the mount at {os.fsdecode(finding.seen_at or b'?')} shared at home, and none below it"),
            Step("look again: it must have a peer group"),
        ]
    if action is Action.DETACH and finding.target is not None:
        seen = len({copy.namespace for copy in finding.target.copies})
        return [
            Step("look again: still leaked, by the same mounts, with no home and no record using it"),
            Step("no namespace may have the directory itself bound, and no process may use it"),
            Step(f"rename an empty directory with the same attributes over {where} at home"),
            Step(f"the kernel drops the copies on it in {seen} namespace{'s' if seen != 1 else ''}; look again: gone"),
        ]
    return []


def detach(finding: Finding, looker: Looker) -> Outcome:
    """rmdir-on-put: replace the mountpoint at home, so that the kernel drops the copies of every namespace."""
    _check_kind(finding)
    look = looker.look(resync=True)
    now = _still_there(finding, look)
    _check_judged(now, look)
    assert now.target is not None
    match = now.target.match
    _check_unbound(match.base.spot.device, match.spot.path, look)
    spot = replace.Spot(
        base=match.root.path if not match.base.rel else match.base.mount.point,
        base_mount=match.base.mount.id,
        rel=_below_base(match.rel, match.base.rel),
        is_file=match.layout.is_file,
    )
    proc = uses.open_proc()
    try:
        done = _at_home(now, look, functools.partial(replace.replace, spot, proc))
        left = looker.look(resync=True)
        users = uses.mount_users(proc, frozenset(copy.mount.id for copy in now.target.copies))
    finally:
        os.close(proc)
    return _outcome(now, left, done, users)


def share(finding: Finding, looker: Looker) -> Outcome:
    """Make the mount that contains a root shared in its home: that one mount, never what is mounted below it."""
    if finding.kind is not Kind.PRIVATE_ROOT:
        raise Declined("not-applicable", f"a {finding.kind} finding is not ended by sharing a mount")
    look = looker.look(resync=True)
    now = _still_there(finding, look)
    assert now.seen_at is not None
    assert now.mount_id is not None
    _at_home(now, look, functools.partial(_make_shared, now.seen_at, now.mount_id))
    after = looker.look(resync=True)
    if any(other.id == finding.id for other in after.findings):
        raise Declined("not-shared", "the mount is still not shared")
    where = os.fsdecode(now.seen_at)
    return Outcome(
        now,
        Action.SHARE,
        True,
        "done",
        f"the mount at {where} is shared",
        saw=f"mount {now.mount_id} at {where}: {now.detail}",
        did="made it shared at home (MS_SHARED on that mount alone)",
        verified="it has a peer group now",
    )


def _check_kind(finding: Finding) -> None:
    if finding.kind is not Kind.LEAKED:
        raise Declined("not-applicable", f"a {finding.kind} finding is not ended by a detach")
    if finding.evidence is Evidence.CLAIMED:
        raise Declined("claimed", "only the mount's own text says that it is leaked; nobody acts on that")
    if finding.reach is not Reach.RMDIR:
        raise Declined("out-of-reach", finding.detail or "the copy is not on the mountpoint")


def _still_there(finding: Finding, look: Look) -> Finding:
    now = next((other for other in look.findings if other.id == finding.id), None)
    if now is None:
        raise Declined("gone", "it is not there any more")
    if (now.mount_id, now.device) != (finding.mount_id, finding.device):
        raise Declined("changed", "another mount is on that spot than the one that was judged")
    return now


def _check_judged(now: Finding, look: Look) -> None:
    _check_kind(now)
    if now.evidence is Evidence.SPOT and not now.root.home_known:
        raise Declined("home-unknown", f"{now.root.engine} is not running, so nobody can say what it uses")
    unread = [gap for gap in look.gaps if gap.namespace is not None]
    if unread:
        raise Declined("unread", f"a namespace could not be read ({unread[0].reason}): it may use the layer")


def _check_unbound(device: str, path: bytes, look: Look) -> None:
    """No mount anywhere may show the directory itself: somebody uses it as such."""
    for inode, namespace in look.picture.namespaces.items():
        text = namespaces.read_mountinfo(inode, namespace.pids, namespace.door)
        for point in uses.bound_at(text or b"", device, path):
            raise Declined("bound", f"the directory itself is mounted at {os.fsdecode(point)} in namespace {inode}")


def _below_base(rel: bytes, base: bytes) -> bytes:
    return rel[len(base) + 1 :] if base else rel


def _at_home(finding: Finding, look: Look, function: Callable[[], T]) -> T:
    """Run in a child in the finding's home, where the kernel itself refuses a live mountpoint."""
    if finding.home == own_namespace():
        return forked.ask(function, deadline=DEADLINE, what="the child that acts")
    for pid in look.picture.namespaces[finding.home or 0].pids:
        try:
            return in_namespace(pid, function, inode=finding.home, deadline=DEADLINE)
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise Declined("home-gone", "the root's home has no process any more")


def _make_shared(point: bytes, mount: int) -> None:
    fd = os.open(point, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if calls.mount_id(fd) != mount or not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise Declined("changed", "something else is mounted there than what was judged")
        # Through the descriptor, so that no path is walked twice; mount_setattr(2) would need Linux 5.12.
        calls.mount(None, b"/proc/self/fd/%d" % fd, None, abi.MS_SHARED)
    finally:
        os.close(fd)


def _outcome(now: Finding, left: Look, done: replace.Replaced, users: Iterable[Use]) -> Outcome:
    assert now.target is not None
    where = os.fsdecode(now.mountpoint)
    spaces = sorted({copy.namespace for copy in now.target.copies})
    still = {(c.namespace, c.mount.id) for c in left.picture.copies} & {
        (c.namespace, c.mount.id) for c in now.target.copies
    }
    saw = f"{len(now.target.copies)} copies of {now.device} in namespaces {spaces}, evidence {now.evidence}"
    did = (
        f"renamed an empty directory (inode {done.new_inode}, mode {done.mode:o}, owner {done.uid}:{done.gid}) "
        f"over {where} (inode {done.old_inode})"
    )
    if still:
        return Outcome(now, Action.DETACH, False, "still-there", f"failed: {len(still)} copies remain", saw, did)
    pinned = [str(use) for use in users]
    verified = "no namespace has a copy any more"
    verified += f"; still held open by {', '.join(pinned[:3])}" if pinned else "; nothing holds it open"
    return Outcome(now, Action.DETACH, True, "done", f"detached: {verified}", saw, did, verified)


_ACTS: dict[Action, Callable[[Finding, Looker], Outcome]] = {Action.DETACH: detach, Action.SHARE: share}
