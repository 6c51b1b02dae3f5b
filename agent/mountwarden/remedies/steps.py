"""What each act would do, in words: for --dry-run, plan and explain. Pure."""

from dataclasses import dataclass

from ..escape import decoded
from ..model import Action, Copy, Finding, Kind, Reach, Target


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that an act does, in words."""

    text: str

    def describe(self) -> str:
        """For --dry-run and the plan."""
        return self.text


def describe(finding: Finding, action: Action) -> list[Step]:
    """What the act would do, step by step; nothing for an act that is not ours or does not apply."""
    if action is Action.SHARE and finding.kind is Kind.PRIVATE_ROOT:
        return _share(finding)
    if finding.target is None:
        return []
    if action is Action.DETACH and finding.kind is Kind.LEAKED and finding.reach is Reach.RMDIR:
        return _detach(finding, finding.target)
    if action is Action.UNMOUNT:
        return _unmount(finding, finding.target.here)
    if action is Action.REJOIN and finding.kind is Kind.SEVERED:
        return _rejoin(finding, finding.target.copies)
    return []


def _share(finding: Finding) -> list[Step]:
    return [
        Step(f"make the mount at {decoded(finding.seen_at or b'?')} shared at home, and none below it"),
        Step("look again: it must have a peer group"),
    ]


def _detach(finding: Finding, target: Target) -> list[Step]:
    judged = target.here[0].mount
    leaked = {(copy.namespace, copy.mount.id) for copy in target.copies if copy.mount.same_as(judged)}
    others = [copy for copy in target.there if (copy.namespace, copy.mount.id) not in leaked]
    goes = ", ".join(_named(*each) for each in sorted(leaked))
    return [
        Step("look again: still leaked, by the same mounts, with no home and no record using it"),
        Step("no namespace may have the directory itself bound or another mount on it, and no process may use it"),
        *map(_other, others),
        Step(f"rename an empty directory with the same attributes over {decoded(finding.mountpoint)} at home"),
        Step(f"the kernel drops {judged.fstype} {judged.device} and what is mounted on it: {goes}; look again: gone"),
    ]


def _named(namespace: int, mount: int) -> str:
    return f"mount {mount} in namespace {namespace}"


def _other(copy: Copy) -> Step:
    name, mount = _named(copy.namespace, copy.mount.id), copy.mount
    return Step(f"{name} is another one ({mount.fstype} {mount.device}) and would go too: declined while it is there")


def _unmount(finding: Finding, copies: tuple[Copy, ...]) -> list[Step]:
    told = [
        Step("look again: still leaked, by the same mounts"),
        Step("its parent may be in no peer group with other mounts, to which the umount would spread"),
    ]
    for copy in copies:
        where = decoded(copy.mount.point)
        told.append(
            Step(
                f"a child enters namespace {finding.namespace}, checks that {where} is mount {copy.mount.id}, and "
                "unmounts it; where it is in use there, lazily"
            )
        )
    return [*told, Step("look again: gone; and say what holds it open")]


def _rejoin(finding: Finding, copies: tuple[Copy, ...]) -> list[Step]:
    told = [Step("look again: still severed; the namespace is a service's, in the host's user namespace")]
    for point, identity in sorted({(c.parent.point, c.parent.id) for c in copies if c.parent is not None}):
        told.append(
            Step(
                f"make mount {identity} at {decoded(point)} in namespace {finding.namespace} a slave of home's "
                "mount, from outside (MOVE_MOUNT_SET_GROUP)"
            )
        )
    return [
        *told,
        Step("look again: umounts at home reach the copies"),
        Step("from then on the service gets new mounts of home, and a plain umount at home fails with EBUSY while the "
             "service is busy in its copy"),
    ]  # fmt: skip
