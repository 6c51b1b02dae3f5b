"""What ends a cause for good, as text for a person. Nothing here changes anything."""

import re

from . import cause as causes
from . import shown
from .circumstances import Circumstances, bind_above, container_of, source_of, system_service
from .model import Cause, Finding

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.service")


def lasting_fix(cause: Cause, finding: Finding, around: Circumstances) -> str | None:
    """The change after which this cause leaves no copies behind any more; None where none is known."""
    match cause.code:
        case causes.MOUNT_FLAGS:
            return _unit_fix(finding, around)
        case causes.PRIVATE_BIND | causes.SLAVE_NOT_EFFECTIVE:
            return _container_fix(cause, finding, around)
        case causes.ROOT_PRIVATE | causes.OTHER_GROUP:
            return _root_fix(finding)
        case causes.ENGINE:
            return 'Set skip_mount_home = "true" below [storage.options.overlay] in storage.conf.'
        case causes.OWN_NAMESPACE:
            return "Let the program make its mount namespace with slave propagation (unshare --propagation slave)."
    return None


def _unit_fix(finding: Finding, around: Circumstances) -> str | None:
    service = system_service(finding)
    if not service or not _UNIT.fullmatch(service):
        return None
    if around.unit and around.unit.transient:
        return f"Start {service} again without MountFlags=private; with MountFlags=slave umounts reach it."
    return mount_flags_fix(service)


def mount_flags_fix(service: str) -> str:
    """The drop-in that lets umounts reach a service with MountFlags=private."""
    return (
        f"Write /etc/systemd/system/{service}.d/90-propagation.conf:\n"
        "[Service]\n"
        "MountFlags=slave\n"
        f"then run: systemctl daemon-reload && systemctl restart {service}"
    )


def _container_fix(cause: Cause, finding: Finding, around: Circumstances) -> str | None:
    holder, bind = container_of(finding), bind_above(around.above)
    if not holder or not bind:
        return None
    if cause.code == causes.SLAVE_NOT_EFFECTIVE:
        return "See that the source of the bind is shared before the container starts, and that its runtime is current."
    source = source_of(finding, around, bind)
    volume = f"{shown.path(source) if source else 'SOURCE'}:{shown.path(bind.point)}"
    readonly = "ro," if b"ro" in bind.options.split(b",") else ""
    return (
        f"Create the container again with -v {volume}:{readonly}rslave "
        "(in Kubernetes, mountPropagation: HostToContainer)."
    )


def _root_fix(finding: Finding) -> str | None:
    if finding.root.wants_private:
        return (
            'Set skip_mount_home = "true" below [storage.options.overlay] in storage.conf, '
            "and restart what started before that."
        )
    root = shown.path(finding.root.path)
    return f"Keep {root} shared (remedy: share), and restart what started before that."
