"""Why an umount in home did not reach a copy, or would not: one exact sentence with a stable code. Pure.

Home is the mount namespace whose view counts: the host's, or that of an engine which lives in one of its own.

Configured is not effective: the `master:` and `shared:` of the mounts that hold the copy decide, and the configuration
only names what made them so. Two facts of systemd carry the rest (setup_namespace() of its src/core/namespace.c):

- A unit's mounts are made slaves of the host's, and then shared again, unless MountFlags= says otherwise. So a mount
  of the unit that is shared but has no master comes from one that is private on the host, or became so: a slave of a
  mount that leaves its peer group as the last of it has no master any more.
- With MountFlags=private nothing in the unit has a peer group or a master.

A sentence claims no more than that. Where the facts do not show it, it says that the cause is not known, and why.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..escape import printable, timestamp, unit_name
from ..model import (
    MS_PRIVATE,
    Cause,
    Directive,
    Finding,
    Kind,
    LeftBehind,
    Mount,
    NamespaceKind,
    Reach,
    Root,
    UnitFacts,
)
from . import naming
from .context import Context, bind_above, container_of, source_of, system_service
from .setting_origin import Origin, origin

MOUNT_FLAGS = "mount-flags"
ROOT_PRIVATE = "root-private"
OTHER_GROUP = "other-peer-group"
INSIDE = "made-private-inside"
OWN_NAMESPACE = "own-namespace"
PRIVATE_BIND = "private-bind"
SLAVE_NOT_EFFECTIVE = "slave-not-effective"
ENGINE = "engine-makes-private"
OWNER_GONE = "owner-gone"
NOT_KNOWN = "not-known"

_GONE = {
    LeftBehind.TASK: "The shim that was to unmount it has ended without doing so.",
    LeftBehind.TMPMOUNT: "The containerd that mounted it for a moment has ended before it unmounted it.",
    LeftBehind.EXECUTOR: "The BuildKit whose build step it was has ended before it unmounted it.",
    LeftBehind.LAYER: "Docker has no container for it any more, and has not unmounted it.",
    LeftBehind.CONTAINER: "The container for which podman mounted it is dead, and nothing has unmounted it since.",
    LeftBehind.POD: "kubelet does not know the pod any more whose volume it is, and has not unmounted it.",
    LeftBehind.STAGING: "The device that was mounted there is gone, or is another one by now.",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A finding with its context, and the phrases that sentences about it are made of."""

    finding: Finding
    around: Context

    @property
    def parent(self) -> Mount | None:
        """The mount that holds the copy: umounts go by its peers and master, not by the copy's own."""
        return self.around.above[0] if self.around.above else None

    @property
    def top(self) -> Mount | None:
        """The namespace's own "/"."""
        return next((mount for mount in self.around.above if mount.point == b"/"), None)

    @property
    def bind(self) -> Mount | None:
        """The mount right below a container's own "/" that holds the copy."""
        return bind_above(self.around.above)

    @property
    def home(self) -> Mount | None:
        """Home's mount that holds the mountpoint."""
        return self.around.home

    @property
    def root(self) -> str:
        """Home's mount that holds the mountpoint, by its path."""
        return printable(self.home.point if self.home else self.finding.root.path)

    @property
    def where(self) -> str:
        """Where home is."""
        return where_home_is(self.finding.root)

    @property
    def subject(self) -> str:
        """Whose namespace it is."""
        holders = self.finding.first.holders
        if not holders:
            return f"mount namespace {self.finding.first.namespace}"
        if service := system_service(self.finding):
            return unit_name(service)
        first = container_of(self.finding) or holders[0]
        if first.container:
            return naming.container_of(first)
        unit = first.user_unit or first.unit
        return f"process {first.pid} ({printable(first.comm)})" + (f" of {unit_name(unit)}" if unit else "")

    @property
    def space(self) -> str:
        """The same namespace as a place that umounts reach or do not reach."""
        if not self.finding.first.holders or container_of(self.finding):
            return self.subject
        return f"the mount namespace of {self.subject}"


def where_home_is(root: Root) -> str:
    """On the host, or in the namespace of an engine that lives in one of its own."""
    return "on the host" if root.home_pid is None else f"in the mount namespace of {root.engine}"


def explain(finding: Finding, around: Context) -> Cause | None:
    """The cause of an attributed finding; None for the kinds that are no matter of propagation."""
    if finding.kind is Kind.PRIVATE_ROOT:
        return _of_private_root(finding)
    if finding.kind is Kind.ABANDONED:
        return Cause(OWNER_GONE, _GONE[finding.left]) if finding.left else None
    if finding.kind not in (Kind.LEAKED, Kind.SEVERED):
        return None
    case = Case(finding, around)
    for rule in _RULES:
        if cause := rule(case):
            return cause
    return _not_known(f"{_seen(case)} has no master, and nothing shows why")


def _of_private_root(finding: Finding) -> Cause:
    root = printable(finding.mountpoint)
    if finding.root.wants_private:
        text = f"containers/storage makes {root} private each time it starts, as skip_mount_home is not set."
        return Cause(ENGINE, text)
    return _not_known(f"the kernel keeps no record of who made {root} private")


def _not_known(why: str) -> Cause:
    return Cause(NOT_KNOWN, f"The cause is not known: {why}.")


def _unseen(case: Case) -> Cause | None:
    if not case.finding.first.holders:
        inode = case.finding.first.namespace
        return _not_known(f"no process is in mount namespace {inode}, so nothing shows who made it")
    if case.parent is None:
        return _not_known("the mount that holds the copy was not seen")
    return None


def _reached(case: Case) -> Cause | None:
    parent, home = _sides(case)
    peers = home.shared if home else 0
    if case.finding.reached(Reach.PROPAGATION) or (peers and peers in (parent.shared, parent.master)):
        return _not_known(f"{_seen(case)} does receive umounts from {case.root} {case.where}")
    return None


def _has_master(case: Case) -> Cause | None:
    parent, home = _sides(case)
    if not parent.master:
        return None
    if home and not home.shared:
        return _root_private(case)
    group = f"{case.root} is not in peer group {parent.master}, of which {_seen(case)} is a slave"
    return Cause(OTHER_GROUP, f"{group}, so no umount there reaches it.")


def _container(case: Case) -> Cause | None:
    """Below a bind mount of a container; anything else in a container is not explained by its volumes."""
    if case.finding.first.namespace_kind is not NamespaceKind.CONTAINER:
        return None
    bind = case.bind
    if bind is None:
        return _not_known(f"the copy is not below a bind mount of {case.subject}")
    if bind.master:
        return _root_private(case)
    if bind.shared:
        return _not_known(f"{printable(bind.point)} in {case.subject} is in a peer group of its own")
    return _private_bind(case, bind)


def _private_bind(case: Case, bind: Mount) -> Cause:
    found, target = source_of(case.finding, case.around, bind), printable(bind.point)
    source = f"the host's {printable(found)}" if found else "a directory of the host"
    if case.around.asked in ("slave", "rslave", "shared", "rshared"):
        text = (
            f"{_upper(case.subject)} was to bind-mount {source} at {target} with {case.around.asked} propagation, but "
            f"that mount is private, so umounts {case.where} do not reach it."
        )
        return Cause(SLAVE_NOT_EFFECTIVE, text)
    text = (
        f"{_upper(case.subject)} bind-mounts {source} at {target} with private propagation, "
        f"so umounts {case.where} do not reach it."
    )
    return Cause(PRIVATE_BIND, text)


def _inside(case: Case) -> Cause | None:
    """systemd shares all of a unit's mounts again, so one that is not shared beside a "/" that is was changed later."""
    parent, top, unit = case.parent, case.top, case.around.unit
    if not unit or not unit.directives or not parent or not top or parent.shared or not top.shared:
        return None
    made = f"A process made {printable(parent.point)} private in {case.space}"
    text = f"{made}, so umounts {case.where} do not reach it there."
    return Cause(INSIDE, text, unit.id)


def _mount_flags(case: Case) -> Cause | None:
    parent, top, unit = case.parent, case.top, case.around.unit
    if not unit or not parent or not top or not unit.mount_flags & MS_PRIVATE:
        return None
    if parent.shared or top.shared or top.master:
        return _not_known(f"{case.subject} has MountFlags=private, but / in its mount namespace is not private")
    setting = Directive("MountFlags", "private")
    found = origin(unit, case.around.files, setting)
    if found.changed:
        return _not_known(f"{found.file} was changed after {case.subject} started")
    text = f"{case.subject} has MountFlags=private{f' ({found.place})' if found.place else ''}, "
    text += f"so umounts {case.where} do not reach its mount namespace."
    return _of_setting(MOUNT_FLAGS, text, unit, setting, found)


def _own_namespace(case: Case) -> Cause | None:
    """A namespace that no unit's settings made, all private: unshare(1), a sandbox, a runtime."""
    parent, top, unit = case.parent, case.top, case.around.unit
    if system_service(case.finding):
        if unit is None:
            return _not_known(f"PID 1 did not say how {case.subject} is set up")
        if unit.directives or unit.perhaps:
            return None
    if not parent or not top or top.master:
        return None
    made = "that none of its unit's settings made" if system_service(case.finding) else "of its own"
    first = case.finding.first.holders[0]
    process = f"Process {first.pid} ({printable(first.comm)})"
    owner = first.user_unit or first.unit
    of_unit = f" of {unit_name(owner)}" if owner else ""
    text = (
        f"{process}{of_unit} is in a mount namespace {made}, in which {printable(parent.point)} has no master, "
        f"so umounts {case.where} do not reach it."
    )
    return Cause(OWN_NAMESPACE, text, owner)


def _cut_off(case: Case) -> Cause | None:
    """The parent has no master though its namespace was made with one: home's mount is private, or was."""
    parent, top = case.parent, case.top
    if not parent or not top:
        return _not_known(f"/ of {case.space} was not seen")
    if top.master or parent.shared:
        return _root_private(case)
    text = f"/ in the mount namespace of {case.subject} is private, and none of its settings now makes it so"
    return _not_known(text)


def _root_private(case: Case) -> Cause:
    made_by = _made_by(case)
    if case.home and not case.home.shared:
        state = "a slave" if case.home.master else "private"
        text = f"{case.root} is {state} {case.where}, so no umount there reaches {case.space}{_listed(made_by)}."
        return _of_settings(case, text, made_by)
    unit, when, it = case.around.unit, f"when {case.space} was made", "it"
    if container_of(case.finding):
        when = f"when {case.subject} started"
    elif unit and unit.directives:
        when = f"when {case.subject} started" + (f" at {timestamp(unit.started, 'seconds')}" if unit.started else "")
        it = "its mount namespace"
    made = _listed(made_by)
    text = f"{case.root} was private {when} or became private later, so no umount there reaches {it}{made}."
    return _of_settings(case, text, made_by)


def _of_settings(case: Case, text: str, made_by: list[tuple[Directive, Origin]]) -> Cause:
    """A private root as the cause; of the settings that gave the unit its namespace, the first."""
    unit = case.around.unit
    return _of_setting(ROOT_PRIVATE, text, unit, *made_by[0]) if unit and made_by else Cause(ROOT_PRIVATE, text)


def _of_setting(code: str, text: str, unit: UnitFacts, setting: Directive, found: Origin) -> Cause:
    file, line = (found.file, found.line) if found.unknown is None else (None, None)
    return Cause(code, text, unit.id, setting.name, setting.value, file, line)


def _made_by(case: Case) -> list[tuple[Directive, Origin]]:
    """The settings that gave a unit its namespace, each with its place: those that are written down, if any is."""
    unit = case.around.unit
    if not unit:
        return []
    origins = [(item, origin(unit, case.around.files, item)) for item in unit.directives]
    known = [(item, found) for item, found in origins if not found.changed]
    return [(item, found) for item, found in known if found.place] or known


def _listed(made_by: list[tuple[Directive, Origin]]) -> str:
    words = [
        f"{item.name}={unit_name(item.value)}" + (f", {found.place}" if found.place else "") for item, found in made_by
    ]
    return f" ({'; '.join(words)})" if words else ""


def _seen(case: Case) -> str:
    return f"{printable(case.parent.point) if case.parent else 'its parent'} in {case.space}"


def _sides(case: Case) -> tuple[Mount, Mount | None]:
    assert case.parent  # _unseen comes first
    return case.parent, case.home


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


_RULES: tuple[Callable[[Case], Cause | None], ...] = (
    _unseen,
    _reached,
    _has_master,
    _container,
    _inside,
    _mount_flags,
    _own_namespace,
    _cut_off,
)
