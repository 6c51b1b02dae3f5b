"""What is wrong, who holds it and why, and what was done about it."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .enums import Action, Evidence, Kind, MountClass, NamespaceKind, Reach, Severity
from .host import Copy, Match, Mount, Root, Spot


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that keeps a namespace or a superblock alive."""

    pid: int
    comm: str
    unit: str | None = None
    container: str | None = None
    user: int | None = None
    """Real uid."""
    user_unit: str | None = None
    """The unit of a user's own systemd, below `unit`."""

    @property
    def is_in_service(self) -> bool:
        """Whether it belongs to a service, of PID 1's or of a user's own systemd."""
        return (self.user_unit or self.unit or "").endswith(".service")


def chief(holders: Iterable[Holder]) -> Holder | None:
    """The one by which all are named: in a container, else in a service, else in another unit; None of none."""
    return min(holders, key=lambda one: (not one.container, not one.is_in_service, not one.unit), default=None)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a copy was left behind: a stable code, and one exact sentence."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Remedy:
    """One way to resolve a finding, and whether the service would take it by itself."""

    action: Action
    automatic: bool
    reason: str
    """Why it is automatic, or why it is not."""
    command: str | None
    """To be pasted into a shell; None where an id or name has characters that are special to one."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a remedy is applied to, as it was judged: all of it is checked again right before the action."""

    match: Match
    copies: tuple[Copy, ...]
    """The leaked copies on that spot, in all namespaces; of a severed root, those that are cut off."""
    here: tuple[Copy, ...] = ()
    """The leaked copies of the finding's own namespace, those bound elsewhere too; bottom of a stack first."""
    there: tuple[Copy, ...] = ()
    """All mounts on that spot, leaked or not, in all namespaces: what goes with the mountpoint's directory."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong."""

    id: str
    kind: Kind
    severity: Severity
    root: Root
    mountpoint: bytes
    """Path in home."""
    home: int | None = None
    spot: Spot | None = None
    layer: bytes | None = None
    seen_at: bytes | None = None
    """Path in the holder's namespace."""
    namespace: int | None = None
    """Inode of the holder's namespace; home's own for private-root."""
    fstype: str = ""
    device: str = "0:0"
    mount_id: int | None = None
    unique_id: int | None = None
    evidence: Evidence | None = None
    reach: Reach | None = None
    mount_class: MountClass = MountClass.LAYER
    count: int = 1
    detail: str = ""
    """What the rule adds, such as a newer mount that hides the spot."""
    target: Target | None = None
    # Filled in after judgement:
    namespace_kind: NamespaceKind | None = None
    namespace_id: int | None = None
    holders: tuple[Holder, ...] = ()
    cause: Cause | None = None
    remedies: tuple[Remedy, ...] = ()
    confirmed: bool = False
    silenced: bool = False
    since: float | None = None
    """Seconds since the Epoch at which it was first seen."""

    @classmethod
    def of(
        cls,
        kind: Kind,
        root: Root,
        mount: Mount,
        *,
        mountpoint: bytes,
        namespace: int | None,
        home: int | None,
        spot: Spot | None = None,
        boot_id: str = "",
    ) -> "Finding":
        """A warning about one mount, as `namespace` has it. Without `spot` and `boot_id` it has no id."""
        return cls(
            id=finding_id(boot_id, kind, root.path, spot.path, namespace) if spot and boot_id else "",
            kind=kind,
            severity=Severity.WARNING,
            root=root,
            mountpoint=mountpoint,
            home=home,
            spot=spot,
            seen_at=mount.point,
            namespace=namespace,
            fstype=mount.fstype,
            device=mount.device,
            mount_id=mount.id,
            unique_id=mount.unique,
        )

    @classmethod
    def of_match(
        cls, kind: Kind, match: Match, mount: Mount, *, namespace: int | None, home: int | None, boot_id: str
    ) -> "Finding":
        """The same about a mount of the layer that `match` names."""
        found = cls.of(
            kind,
            match.root,
            mount,
            mountpoint=match.mountpoint,
            namespace=namespace,
            home=home,
            spot=match.spot,
            boot_id=boot_id,
        )
        return replace(found, layer=match.layer, mount_class=match.layout.mount_class)

    @property
    def starting(self) -> bool:
        """Whether only a runtime that sets a container up holds its namespace, before it changes its root.

        A process chooses its own name; such a name only delays the report of a finding.
        """
        return bool(self.holders) and all(RUNTIME_INIT.fullmatch(holder.comm) for holder in self.holders)


RUNTIME_INIT = re.compile(r"(runc|youki):\[[0-9]:[A-Z]+\]|runc|crun|youki")
"""Names of the processes in which runc (libcontainer/nsenter), crun and youki enter and prepare a container."""


def finding_id(boot_id: str, kind: Kind, root: bytes, spot: bytes, namespace: int | None) -> str:
    """The stable id of a finding: the same in each run, tier, journal and command."""
    parts = (boot_id.encode(), kind.encode(), root, spot, b"%d" % (namespace or 0))
    digest = hashlib.sha256(b"\0".join(b"%d:%s" % (len(part), part) for part in parts))
    return "mw-" + digest.hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one action, enough to reconstruct it."""

    finding: Finding
    action: Action
    done: bool
    code: str
    """done, or why not: the code of the refusal."""
    text: str
    """One line for the operator."""
    saw: str = ""
    did: str = ""
    verified: str = ""
