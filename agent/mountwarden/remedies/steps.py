"""What each action does, step by step, in words: for --dry-run, plan and explain. Pure."""

import re
from collections.abc import Callable, Sequence

from ..escape import decoded
from ..explain import naming
from ..model import NAMED, Action, Copy, Finding, Kind, Reach

_REJOINED = (
    "from then on the service gets new mounts of the host, and a plain umount on the host fails with EBUSY while "
    "the service is busy in its copy"
)


def share(finding: Finding) -> list[str]:
    """The steps of a share."""
    return [
        f"make the mount at {decoded(finding.first.seen_at or b'?')} shared on the host, and none below it",
        "check again: it must have a peer group",
    ]


def detach(finding: Finding) -> list[str]:
    """The steps of a detach; none where it does not reach the copies."""
    target = finding.target
    if target is None or not finding.reached(Reach.RMDIR):
        return []
    spot, mount, who = target.match.spot, target.mount, _who(finding)
    goes = [f"{_named(copy)}{who(copy)}" for copy in target.proven if copy.spot == spot]
    return [
        "check again: still leaked, by the same mounts; neither the host nor the engine's record uses it",
        "no namespace may have the directory itself bound, another mount on it or on a copy; no process may use it",
        *_listed([f"{_named(copy)}{who(copy)} {_other(copy)}" for copy in target.others], "others"),
        f"rename an empty directory with the same attributes over {decoded(finding.mountpoint)} on the host",
        f"the kernel drops {mount.fstype} {mount.device}: {', '.join(_listed(goes, 'mounts'))}; check again: gone",
    ]


def _who(finding: Finding) -> Callable[[Copy], str]:
    """Who is in the namespace of a copy, as far as the finding names it: ` of process 4711 (sleep, foo.service)`."""
    named = (copy for copy in (*finding.beside, *finding.copies) if copy.holders)
    known = {copy.namespace: f" of {naming.first_in_full(copy.holders)}" for copy in named}
    return lambda copy: known.get(copy.namespace, "")


def _listed(named: Sequence[str], what: str) -> list[str]:
    return [*named[:NAMED], f"and {len(named) - NAMED} {what} more"] if len(named) > NAMED else list(named)


def _named(copy: Copy) -> str:
    return f"mount {copy.mount.id} in namespace {copy.namespace}"


def _other(copy: Copy) -> str:
    what = f"is another one ({copy.mount.fstype} {copy.mount.device})"
    return f"{what} and would go too: declined while it is there"


_PASTEABLE = re.compile(rb"/[A-Za-z0-9/._:@%+=,-]*")


def umount_command(finding: Finding) -> str | None:
    """umount(8) of a mount of home, to be pasted; None where its path has characters that are special to a shell."""
    point = finding.first.seen_at or b""
    if not _PASTEABLE.fullmatch(point):
        return None
    pid = finding.root.home_pid
    return f"{'' if pid is None else f'nsenter -t {pid} -m '}umount {point.decode()}"


def _unmount_at_home(finding: Finding) -> list[str]:
    point, where = decoded(finding.first.seen_at or b"?"), finding.root.where
    how = umount_command(finding) or "umount2(2), from its parent directory"
    return [
        "check again: the same mount, and its engine proves once more that nobody owns it",
        "nothing may be mounted on it, and nothing else may go with it in any mount namespace; no process may use it",
        f"a child checks that {point} is mount {finding.first.mount_id}, and unmounts it {where}, never lazily: {how}",
        "check again: gone" + (f"; that frees {finding.frees}" if finding.frees else ""),
    ]


def unmount(finding: Finding) -> list[str]:
    """The steps of an unmount."""
    if finding.kind is Kind.ABANDONED:
        return _unmount_at_home(finding)
    if finding.target is None:
        return []
    who = _who(finding)
    return [
        "check again: still leaked, by the same mounts",
        "its parent may be in no peer group with other mounts, to which the umount would spread",
        *_listed([_umount(copy) + who(copy) for copy in finding.target.proven], "mounts"),
        "declined where it is in use there, unless --lazy is given; check again: gone; and say what holds it open",
    ]


def _umount(copy: Copy) -> str:
    point, inode = decoded(copy.mount.point), copy.namespace
    return f"a child checks that {point} is mount {copy.mount.id}, and unmounts it, in namespace {inode}"


def rejoin(finding: Finding) -> list[str]:
    """The steps of a rejoin."""
    if finding.target is None:
        return []
    inode = finding.first.namespace
    parents = sorted({(copy.parent.point, copy.parent.id) for copy in finding.target.copies if copy.parent is not None})
    return [
        "check again: still severed; the namespace is a service's, in the host's user namespace",
        *(
            f"make mount {mount} at {decoded(point)} in namespace {inode} a slave of the host's mount, "
            "from outside (MOVE_MOUNT_SET_GROUP)"
            for point, mount in parents
        ),
        "check again: umounts on the host reach the copies",
        _REJOINED,
    ]


def overruling(finding: Finding, action: Action, unread: Sequence[int]) -> str:
    """The command by which an operator has it done though these mount namespaces, by inode, can't be read."""
    named = (f"--also-unread {inode}" for inode in unread[:NAMED])
    more = [f"(and so on, for {len(unread) - NAMED} more)"] if len(unread) > NAMED else []
    return " ".join([f"mountwarden {action} {finding.id}", *named, *more])
