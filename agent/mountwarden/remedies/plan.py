"""From a finding to its remedies, in the order of how little they disturb, with who decides on each. Pure."""

from dataclasses import dataclass, replace

from ..config.schema import Config, Mode
from ..model import (
    Action,
    Evidence,
    Finding,
    Kind,
    MountClass,
    NamespaceKind,
    Policy,
    Reach,
    Remedy,
    Root,
    RootKind,
    Severity,
)
from .restart_advice import advice

AUTOMATIC_ENGINES = ("docker", "containerd", "custom")
"""Engines for whose layers the service acts by itself. containers/storage makes its home private on purpose."""

REJOINS = (
    "it opens the service to new mounts, and makes a plain umount at home fail with EBUSY while the service is busy in "
    "its copy"
)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What decides on acts besides the finding: is everything paused, and which findings had their one attempt."""

    paused: bool = False
    attempted: frozenset[str] = frozenset()
    given_up: frozenset[bytes] = frozenset()
    """Roots whose attempts failed too often: left alone until an operator says so."""
    fought: frozenset[bytes] = frozenset()
    """Roots that were shared and made private again so often that they are not shared any more."""
    limited: bool = False
    """So many acts were made within the last minute that none is made now."""
    observing: bool = False
    """The running service acts on nothing, whatever the configuration says."""


def plan(finding: Finding, config: Config, circumstances: Circumstances = Circumstances()) -> Finding:
    """The finding with its remedies filled in."""
    return replace(finding, remedies=tuple(_remedies(finding, config, circumstances)))


def _remedies(finding: Finding, config: Config, circumstances: Circumstances) -> list[Remedy]:
    remedies: list[Remedy] = []
    if finding.kind is Kind.PRIVATE_ROOT:
        remedies.append(_remedy(Action.SHARE, finding, config, circumstances, _why_ask_share(finding)))
    if finding.kind is Kind.LEAKED and finding.evidence is not Evidence.CLAIMED:
        if finding.reach is Reach.RMDIR:
            remedies.append(_remedy(Action.DETACH, finding, config, circumstances, _why_ask_detach(finding)))
        if finding.reach is Reach.INSIDE:
            why = "an umount in another namespace is left to a human by default"
            remedies.append(_remedy(Action.UNMOUNT, finding, config, circumstances, why))
    if finding.kind is Kind.SEVERED:
        why_not = _why_no_rejoin(finding)
        offered = _remedy(Action.REJOIN, finding, config, circumstances, REJOINS)
        remedies.append(Remedy(Action.REJOIN, False, why_not, None) if why_not else offered)
    return remedies + advice(finding)


def _remedy(
    action: Action, finding: Finding, config: Config, circumstances: Circumstances, why_ask: str | None
) -> Remedy:
    """`why_ask` is the default's reason to leave the act to a human; None: the default is to act."""
    policy, reason = (
        (Policy.ASK, why_ask) if why_ask else (Policy.AUTO, "its kind, its evidence and its home leave no doubt")
    )
    if (said := _said(action, finding, config)) is not None:
        # A policy opens the gate of kind and engine; evidence and home are no matter of taste.
        hard = _never_automatic(finding)
        policy = Policy.ASK if said is Policy.AUTO and hard else said
        reason = hard if said is Policy.AUTO and hard else f"the policy for it is {said}"
    held = _held_back(action, finding, config, circumstances)
    if policy is Policy.AUTO and held:
        return Remedy(action, False, held, f"mountwarden {action} {finding.id}")
    command = None if policy is Policy.OFF else f"mountwarden {action} {finding.id}"
    return Remedy(action, policy is Policy.AUTO, reason or "", command)


def _said(action: Action, finding: Finding, config: Config) -> Policy | None:
    """The last policy of the configuration that matches."""
    units = {holder.unit for holder in finding.holders}
    said = None
    for entry in config.policies:
        if entry.action is not action:
            continue
        if action is Action.REJOIN and entry.policy is Policy.AUTO and entry.unit is None:
            continue  # it changes what one service is shown, so that service must be named
        if not (entry.root is None or finding.root.is_called(entry.root)):
            continue
        if entry.engine not in (None, finding.root.engine):
            continue
        if entry.kind not in (None, finding.kind) or (entry.unit is not None and entry.unit not in units):
            continue
        said = entry.policy
    for root in config.roots if action in (Action.SHARE, Action.DETACH) else ():
        if said is None and finding.root.is_called(root.path) and root.policy is not None:
            said = root.policy
    return said


def _never_automatic(finding: Finding) -> str | None:
    if not finding.root.home_known:
        return f"{finding.root.engine} is not running, so its view of the root is not known"
    if finding.kind is Kind.LEAKED and finding.evidence is Evidence.RECORD:
        return "the engine's record speaks of the container, not of this mount"
    if finding.kind is Kind.LEAKED and finding.evidence is not Evidence.HISTORY:
        return "nothing but the spot says that it is leaked"
    return None


def _why_ask_detach(finding: Finding) -> str | None:
    if hard := _never_automatic(finding):
        return hard
    if finding.root.kind is not RootKind.GRAPH:
        return f"roots of kind {finding.root.kind} are left to a human by default"
    if finding.mount_class is not MountClass.LAYER:
        return f"{finding.mount_class} mounts are left to a human by default"
    if finding.root.engine not in AUTOMATIC_ENGINES:
        return f"{finding.root.engine} is left to a human by default"
    return None


def _why_ask_share(finding: Finding) -> str | None:
    if hard := _never_automatic(finding):
        return hard
    if finding.root.wants_private:
        return f"{finding.root.engine} makes it private on purpose; skip_mount_home in storage.conf ends that"
    if finding.severity is Severity.INFO:
        return f"the mount namespace of {finding.root.engine} is a slave of the host's on purpose"
    if finding.root.engine not in AUTOMATIC_ENGINES:
        return f"{finding.root.engine} is left to a human by default"
    if finding.seen_at != finding.mountpoint:
        return "the mount that contains it reaches beyond it"
    return None


def _held_back(action: Action, finding: Finding, config: Config, circumstances: Circumstances) -> str | None:
    """Why an act that may be automatic is not done now."""
    if config.mode is Mode.OBSERVE or circumstances.observing:
        return "the mode is observe"
    if circumstances.paused:
        return "acts are paused"
    if finding.silenced:
        return "it is silenced"
    if finding.id in circumstances.attempted:
        return "it was tried once already"
    if finding.root.path in circumstances.given_up:
        return "too many attempts failed under this root"
    if action is Action.SHARE and finding.root.path in circumstances.fought:
        return f"it was made private again each time; {ends_that(finding.root)}"
    if circumstances.limited:
        return f"{config.acts_per_minute} acts were made within the last minute"
    return None


def ends_that(root: Root) -> str:
    """The setting that ends it, where a root that was shared is made private again."""
    match root.engine:
        case "containers-storage":
            return 'skip_mount_home = "true" below [storage.options.overlay] in storage.conf ends that'
        case "docker":
            return "Docker 18.03 and newer leave it shared (moby commit 9803272f)"
    return 'a [[policy]] with action = "share" and policy = "off" ends our part in it'


def _why_no_rejoin(finding: Finding) -> str | None:
    """What the kernel, or we, would refuse in any case."""
    if finding.namespace_kind is not NamespaceKind.SERVICE:
        return f"only services are rejoined, and this is a {finding.namespace_kind or 'namespace'}"
    parents = [copy.parent for copy in (finding.target.copies if finding.target else ()) if copy.parent is not None]
    if any(parent.master for parent in parents):
        return "the copy has another master already, which it would lose"
    if finding.target is not None and not finding.target.match.base.mount.shared:
        return "home's own mount is not shared: share it first"
    return None


def named_units(config: Config) -> frozenset[str]:
    """Units that a policy names for rejoin."""
    return frozenset(
        entry.unit
        for entry in config.policies
        if entry.action is Action.REJOIN and entry.unit is not None and entry.policy is not Policy.OFF
    )
