"""What each action does, step by step, in words: for --dry-run, plan and explain. Pure."""

from ..escape import decoded
from ..model import Copy, Finding, Reach

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
    judged = target.mount
    leaked = {(copy.namespace, copy.mount.id) for copy in target.copies if copy.mount.same_as(judged)}
    others = [copy for copy in target.there if (copy.namespace, copy.mount.id) not in leaked]
    goes = ", ".join(_named(*each) for each in sorted(leaked))
    return [
        "check again: still leaked, by the same mounts; neither the host nor the engine's record uses it",
        "no namespace may have the directory itself bound or another mount on it, and no process may use it",
        *map(_other, others),
        f"rename an empty directory with the same attributes over {decoded(finding.mountpoint)} on the host",
        f"the kernel drops {judged.fstype} {judged.device} and what is mounted on it: {goes}; check again: gone",
    ]


def _named(namespace: int, mount: int) -> str:
    return f"mount {mount} in namespace {namespace}"


def _other(copy: Copy) -> str:
    name, mount = _named(copy.namespace, copy.mount.id), copy.mount
    return f"{name} is another one ({mount.fstype} {mount.device}) and would go too: declined while it is there"


def unmount(finding: Finding) -> list[str]:
    """The steps of an unmount."""
    if finding.target is None:
        return []
    return [
        "check again: still leaked, by the same mounts",
        "its parent may be in no peer group with other mounts, to which the umount would spread",
        *map(_umount, finding.target.leaked),
        "check again: gone; and say what holds it open",
    ]


def _umount(copy: Copy) -> str:
    return (
        f"a child enters namespace {copy.namespace}, checks that {decoded(copy.mount.point)} is mount {copy.mount.id}, "
        "and unmounts it; where it is in use there, lazily"
    )


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
