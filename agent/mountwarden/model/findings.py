"""What is wrong, who holds it and why, and what was done about it."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .enums import Action, Evidence, Kind, MountClass, NamespaceKind, Reach, Severity
from .host import Copy, Given, Match, Mount, Root, Spot, gets_own_superblock
from .ownership import LeftBehind


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
    at_home: bool = False
    """It is in the mount namespace of a root's home, the host's or an engine's."""

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
    unit: str | None = None
    """The unit whose namespace it is, or whose process made it."""
    directive: str | None = None
    """The unit's setting that made the namespace so, such as `MountFlags`."""
    value: str | None = None
    file: str | None = None
    """Where that setting is in effect from, printable; None where no file of the unit shows it."""
    line: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether it says more than why it is not known."""
        return self.code != "not-known"


@dataclass(frozen=True, slots=True)
class Remedy:
    """One way to resolve a finding, and whether the service would take it by itself."""

    action: Action
    automatic: bool
    reason: str
    """Why it is automatic, or why it is not."""
    command: str | None
    """To be pasted into a shell; None where an id or name has characters that are special to one."""
    declined: bool = False
    """The service tried it last and declined, for the reason given: it goes on trying, and a human does the next."""
    by_hand: str | None = None
    """The same by a tool of the system, which checks less; to be pasted, too."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a remedy is applied to, as it was judged: all of it is checked again right before the action."""

    match: Match
    mount: Mount
    """The mount that the finding is about; what differs from it is another one."""
    copies: tuple[Copy, ...]
    """The leaked copies on that spot, in all namespaces; of a severed root, those that are cut off."""
    leaked: tuple[Copy, ...] = ()
    """All leaked copies, those bound elsewhere too, by namespace, bottom of a stack first."""
    there: tuple[Copy, ...] = ()
    """All mounts on that spot, leaked or not, in all namespaces: what goes with the mountpoint's directory."""

    @property
    def proven(self) -> tuple[Copy, ...]:
        """The leaked copies of the finding's own mount, to which its evidence applies: all else is another one.

        One in a namespace that was made after home's umount counts too: it is of the superblock that home unmounted,
        and of no use that home does not know. Where mounting the same again gives the same superblock, that is not
        known of it: where history proves the finding, each copy must have it.
        """
        same = tuple(copy for copy in self.leaked or self.copies if copy.mount.same_as(self.mount))
        by_history = tuple(copy for copy in same if copy.history is not None)
        return same if gets_own_superblock(self.mount) or not by_history else by_history

    @property
    def others(self) -> tuple[Copy, ...]:
        """Mounts on the spot that are not of the finding's mount, and would go with the mountpoint's directory."""
        own = {(copy.namespace, copy.mount.id) for copy in self.proven}
        alike = gets_own_superblock(self.mount)
        unproven = (copy for copy in self.there if (copy.namespace, copy.mount.id) not in own)
        return tuple(copy for copy in unproven if not (alike and copy.mount.same_as(self.mount)))


NAMED = 20
"""Namespaces that a finding names; it counts the copies of all."""


@dataclass(frozen=True, slots=True)
class FoundCopy:
    """What a finding is about in one mount namespace, and who keeps it there."""

    namespace: int | None
    """Inode; None where it is mounted nowhere."""
    seen_at: bytes | None = None
    """Path in that namespace."""
    mount_id: int | None = None
    unique_id: int | None = None
    reach: Reach | None = None
    namespace_kind: NamespaceKind | None = None
    namespace_id: int | None = None
    holders: tuple[Holder, ...] = ()
    given: Given | None = None
    """Who was given it on purpose, and so uses it: no action is for it."""


_NOWHERE = FoundCopy(None)


def _chief_of(copy: FoundCopy) -> object:
    """Two copies with the same one have the same name of their holder."""
    first = chief(copy.holders)
    if first is None:
        return copy.namespace
    if first.container or first.is_in_service:
        return first.container, first.is_in_service and (first.unit, first.user_unit)
    return first.pid


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
    fstype: str = ""
    device: str = "0:0"
    evidence: Evidence | None = None
    mount_class: MountClass = MountClass.LAYER
    copies: tuple[FoundCopy, ...] = ()
    """One for each namespace, of the first `NAMED`; of a private root, home's own mount."""
    count: int = 1
    """The number of mounts in all namespaces; of a pinned layer, of what keeps it open."""
    spaces: int = 1
    """The number of namespaces that have a copy; 0 where none has."""
    detail: str = ""
    """What the rule adds, such as a newer mount that hides the spot."""
    target: Target | None = None
    beside: tuple[FoundCopy, ...] = ()
    """The first `NAMED` of the target's others, with who is in their namespaces."""
    recorded_live: bool = False
    """The engine's record says that it is in use, though nothing of its container lives: no action is taken."""
    left: LeftBehind | None = None
    """What was left behind, of a mount that nobody owns."""
    frees: str = ""
    """What its end frees, as a noun phrase; empty: nothing is known."""
    asked: bool = True
    """Whether all that it depends on was asked for in this scan: by an answer of an earlier one it is not confirmed."""
    # Filled in after judgement:
    cause: Cause | None = None
    remedies: tuple[Remedy, ...] = ()
    confirmed: bool = False
    silenced: bool = False
    since: float | None = None
    """Seconds since the Epoch at which it was first seen."""
    due: float | None = None
    """Seconds since the Epoch at which it is confirmed at the earliest; None where it is, or that is not known."""

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
        layer: bytes | None = None,
        mount_class: MountClass = MountClass.LAYER,
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
            layer=layer,
            fstype=mount.fstype,
            device=mount.device,
            mount_class=mount_class,
            copies=(FoundCopy(namespace, mount.point, mount.id, mount.unique),),
        )

    @classmethod
    def of_match(
        cls, kind: Kind, match: Match, mount: Mount, *, namespace: int | None, home: int | None, boot_id: str
    ) -> "Finding":
        """The same about a mount of the layer that `match` names."""
        return cls.of(
            kind,
            match.root,
            mount,
            mountpoint=match.mountpoint,
            namespace=namespace,
            home=home,
            spot=match.spot,
            boot_id=boot_id,
            layer=match.layer,
            mount_class=match.layout.mount_class,
        )

    @property
    def first(self) -> FoundCopy:
        """The copy that stands for all of them, for what is said of one."""
        return self.copies[0] if self.copies else _NOWHERE

    def is_first(self, copy: Copy) -> bool:
        """Whether that is the copy that stands for all of them."""
        return (copy.namespace, copy.mount.id) == (self.first.namespace, self.first.mount_id)

    @property
    def namespaces(self) -> tuple[int, ...]:
        """Inodes of the namespaces that it names."""
        return tuple(copy.namespace for copy in self.copies if copy.namespace is not None)

    @property
    def holders(self) -> tuple[Holder, ...]:
        """The holders of all copies."""
        return tuple(holder for copy in self.copies for holder in copy.holders)

    @property
    def others(self) -> int:
        """How many hold copies besides who holds the first one: containers, services, processes."""
        named = {_chief_of(copy) for copy in self.copies}
        return max(0, len(named) - 1 + max(0, self.spaces - len(self.copies)))

    @property
    def mounts(self) -> frozenset[tuple[int | None, int | None]]:
        """What tells this very mount from a later one on its spot: namespaces and mount ids, unique ones if known."""
        return frozenset((copy.namespace, copy.unique_id or copy.mount_id) for copy in self.copies)

    def is_of(self, unit: str) -> bool:
        """Whether the unit, of PID 1's or of a user's own systemd, has a holder of each copy.

        False too where there are more copies than are named: who holds those is not known.
        """
        return self.spaces <= len(self.copies) > 0 and all(
            any(unit in (holder.unit, holder.user_unit) for holder in copy.holders) for copy in self.copies
        )

    def reached(self, reach: Reach) -> bool:
        """Whether one of its copies goes by `reach`."""
        return any(copy.reach is reach for copy in self.copies)

    @property
    def starting(self) -> bool:
        """Whether only a runtime that sets a container up holds its namespace, before it changes its root.

        A process chooses its own name; such a name only delays the report of a finding.
        """
        return bool(self.holders) and all(RUNTIME_INIT.fullmatch(holder.comm) for holder in self.holders)


def one_each(findings: Iterable[Finding]) -> list[Finding]:
    """Findings of one id as one, with the copies of all namespaces; what is said of it is what the first one says.

    Of several in one namespace the first counts.
    """
    found: dict[str, dict[int | None, Finding]] = {}
    for finding in findings:
        found.setdefault(finding.id, {}).setdefault(finding.first.namespace, finding)
    return [_together(list(same.values())) for same in found.values()]


def _together(same: list[Finding]) -> Finding:
    copies = [copy for finding in same for copy in finding.copies]
    return replace(same[0], copies=tuple(copies[:NAMED]), count=sum(one.count for one in same), spaces=len(same))


RUNTIME_INIT = re.compile(r"(runc|youki):\[[0-9]:[A-Z]+\]|runc|crun|youki")
"""Names of the processes in which runc (libcontainer/nsenter), crun and youki enter and prepare a container."""


def finding_id(boot_id: str, kind: Kind, root: bytes, spot: bytes, namespace: int | None) -> str:
    """The stable id of a finding: the same in each run, tier, journal and command.

    It is one for a spot, but for a severed root, which is one for a namespace.
    """
    what = b"%d" % (namespace or 0) if kind is Kind.SEVERED else spot
    parts = (boot_id.encode(), kind.encode(), root, what)
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
    unread: tuple[int, ...] = ()
    """Inodes of the mount namespaces that kept it back, since they could not be read."""
