"""Why the default leaves an action to a human, by the finding alone. Pure.

None means that the default is to do it; a reason is a sentence for the plan.
"""

from ..model import Evidence, Finding, Kind, LeftBehind, MountClass, NamespaceKind, RootKind, Severity

AUTOMATIC_ENGINES = ("docker", "containerd", "custom")
"""Engines for whose layers the service acts by itself. containers/storage makes its root private on purpose."""

AUTOMATIC_LEFT = (LeftBehind.TASK, LeftBehind.TMPMOUNT)
"""What was left behind at home that a policy may have unmounted: only containerd mounted it, and for itself alone."""


def in_use_by_record(finding: Finding) -> str | None:
    """Why no action at all is taken: what the engine wrote, and what brings that up to date."""
    if not finding.recorded_live:
        return None
    ends = {"docker": "a start of dockerd", "containers-storage": "podman umount or podman rm of the container"}
    return f"the engine's record says that it is in use; {ends.get(finding.root.engine, 'the engine')} corrects that"


def never_automatic(finding: Finding) -> str | None:
    """What is in doubt about a finding: no policy makes an action on it automatic."""
    if not finding.root.home_known:
        return f"{finding.root.engine} is not running, so its view of the root is not known"
    if used := in_use_by_record(finding):
        return used
    if finding.kind is Kind.LEAKED and finding.evidence is Evidence.RECORD:
        return "the engine's record speaks of the container, not of this mount"
    if finding.kind is Kind.LEAKED and finding.evidence is not Evidence.HISTORY:
        return "nothing but the spot says that it is leaked"
    if finding.kind is Kind.ABANDONED and finding.left not in AUTOMATIC_LEFT:
        return "of what the host itself has mounted, only containerd's tasks and temporary mounts may go by a policy"
    return None


def never_automatic_detach(finding: Finding) -> str | None:
    """The same of a detach, with which all goes that is on the spot."""
    others = finding.target.others if finding.target else ()
    if others:
        return f"mounts of something else are on that spot ({len(others)}), and would go too"
    return never_automatic(finding)


def ask_detach(finding: Finding) -> str | None:
    """Automatic for the layers of engines that never need an unmounted copy."""
    if hard := never_automatic_detach(finding):
        return hard
    if finding.root.kind is not RootKind.GRAPH:
        return f"roots of kind {finding.root.kind} are left to a human by default"
    if finding.mount_class is not MountClass.LAYER:
        return f"{finding.mount_class} mounts are left to a human by default"
    return _ask_engine(finding)


def ask_share(finding: Finding) -> str | None:
    """Automatic for a mount of the root alone that its engine does not make private on purpose."""
    if hard := never_automatic(finding):
        return hard
    if finding.root.wants_private:
        return f"{finding.root.engine} makes it private on purpose; skip_mount_home in storage.conf keeps it shared"
    if finding.severity is Severity.INFO:
        return f"the mount namespace of {finding.root.engine} is a slave of the host's on purpose"
    if reason := _ask_engine(finding):
        return reason
    return "the mount that contains it reaches beyond it" if finding.first.seen_at != finding.mountpoint else None


def ask_unmount(finding: Finding) -> str | None:
    """Never automatic by default."""
    if finding.kind is Kind.ABANDONED:
        return "an umount on the host itself is left to a human by default"
    return "an umount in another namespace is left to a human by default"


def ask_rejoin(_finding: Finding) -> str | None:
    """Never automatic by default."""
    return (
        "it opens the service to new mounts, and makes a plain umount on the host fail with EBUSY while the "
        "service is busy in its copy"
    )


def _ask_engine(finding: Finding) -> str | None:
    known = finding.root.engine in AUTOMATIC_ENGINES
    return None if known else f"{finding.root.engine} is left to a human by default"


def why_no_rejoin(finding: Finding) -> str | None:
    """What the kernel, or we, would refuse in any case."""
    if finding.first.namespace_kind is not NamespaceKind.SERVICE:
        return f"only services are rejoined, and this is a {finding.first.namespace_kind or 'namespace'}"
    parents = [copy.parent for copy in (finding.target.copies if finding.target else ()) if copy.parent is not None]
    if any(parent.master for parent in parents):
        return "the copy has another master already, which it would lose"
    if finding.target is not None and not finding.target.match.base.mount.shared:
        return "the host's own mount is not shared: share it first"
    return None
