"""From a finding to its remedies, in the order of how little they disturb, with who decides on each. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..config.schema import Config, Mode, PolicyEntry
from ..ledger.entries import Decline
from ..model import Action, Finding, Kind, Policy, Remedy, Root
from .actions import ACTIONS, offered, others
from .default_policy import in_use_by_record, never_automatic, never_automatic_detach, why_no_rejoin
from .restart_advice import advice
from .steps import umount_command


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What decides on actions besides the finding: is everything paused, and which findings had their one attempt."""

    paused: bool = False
    attempted: frozenset[str] = frozenset()
    given_up: frozenset[bytes] = frozenset()
    """Roots whose attempts failed too often: left alone until an operator says so."""
    made_private_again: frozenset[bytes] = frozenset()
    """Roots that were shared and made private again so often that they are not shared any more."""
    limited: bool = False
    """So many incidents were acted on within the last minute that no action is taken now."""
    observing: bool = False
    """The running service takes no action, whatever the configuration says."""
    declined: Mapping[str, tuple[Decline, ...]] = field(default_factory=dict)
    """Actions that were declined and are not tried now, by the ids of their findings."""


def plan(finding: Finding, config: Config, circumstances: Circumstances = Circumstances()) -> Finding:
    """The finding with its remedies filled in."""
    return replace(finding, remedies=tuple(_remedies(finding, config, circumstances)))


def _remedies(finding: Finding, config: Config, circumstances: Circumstances) -> list[Remedy]:
    own = (_remedy(action, finding, config, circumstances) for action in offered(finding))
    return [*own, *advice(finding)]


def after(finding: Finding, action: Action, config: Config) -> Remedy | None:
    """The remedy to try once `action` was declined, one with a command if any has; None where none is left."""
    remedies = plan(finding, config).remedies
    before = next((at for at, one in enumerate(remedies) if one.action is action), -1)
    left = [one for one in remedies[before + 1 :] if not (one.action is Action.DETACH and others(finding))]
    return next((one for one in left if one.command), left[0] if left else None)


def _remedy(action: Action, finding: Finding, config: Config, circumstances: Circumstances) -> Remedy:
    if action is Action.REJOIN and (why_not := why_no_rejoin(finding)):
        return Remedy(action, False, why_not, None)
    if used := in_use_by_record(finding):
        return Remedy(action, False, used, None)
    why_ask = ACTIONS[action].ask(finding)
    policy = Policy.ASK if why_ask else Policy.AUTO
    reason = why_ask or "its kind, its evidence and its engine leave no doubt"
    if (said := _said(action, finding, config)) is not None:
        # A policy opens the gate of kind and engine; evidence and an unknown home can't be overruled.
        never = never_automatic_detach if action is Action.DETACH else never_automatic
        hard = never(finding) if said is Policy.AUTO else None
        policy = Policy.ASK if hard else said
        reason = hard or f"the policy for it is {said}"
    command = None if policy is Policy.OFF else f"mountwarden {action} {finding.id}"
    by_hand = umount_command(finding) if command and finding.kind is Kind.ABANDONED else None
    if policy is Policy.AUTO and (held := _held_back(action, finding, config, circumstances)):
        return Remedy(action, False, held, command, by_hand=by_hand)
    if policy is Policy.AUTO and (last := _declined(action, finding, circumstances)):
        why = f"{last.text}; the service goes on trying"
        return Remedy(action, False, why, command, declined=True, by_hand=by_hand)
    return Remedy(action, policy is Policy.AUTO, reason, command, by_hand=by_hand)


def _said(action: Action, finding: Finding, config: Config) -> Policy | None:
    """The last policy of the configuration that matches; else the root's own, which decides on share and detach.

    One with a unit that permits must hold for all copies, since they go together; one that does not, for any.
    """
    said = [entry.policy for entry in config.policies if _matches(entry, action, finding)]
    if not said and action in (Action.SHARE, Action.DETACH):
        said = [root.policy for root in config.roots if finding.root.is_called(root.path) and root.policy][:1]
    return said[-1] if said else None


def _matches(entry: PolicyEntry, action: Action, finding: Finding) -> bool:
    if action is Action.REJOIN and entry.policy is Policy.AUTO and entry.unit is None:
        return False  # it changes which mounts one service sees, so that service must be named
    if finding.kind is Kind.ABANDONED and entry.policy is Policy.AUTO and entry.kind is None:
        return False  # the host's own mounts go by no policy that was written for copies elsewhere
    return (
        entry.action is action
        and (entry.root is None or finding.root.is_called(entry.root))
        and entry.engine in (None, finding.root.engine)
        and entry.kind in (None, finding.kind)
        and (entry.unit is None or _is_of(entry.unit, finding, each=entry.policy is Policy.AUTO))
    )


def _is_of(unit: str, finding: Finding, *, each: bool) -> bool:
    if each:
        return finding.is_of(unit)
    return any(unit in (holder.unit, holder.user_unit) for holder in finding.holders)


def _declined(action: Action, finding: Finding, circumstances: Circumstances) -> Decline | None:
    """How it was declined, where it is not tried now."""
    return next((one for one in circumstances.declined.get(finding.id, ()) if one.action is action), None)


def _held_back(action: Action, finding: Finding, config: Config, circumstances: Circumstances) -> str | None:
    """Why an action that may be automatic is not taken now."""
    if config.mode is Mode.OBSERVE or circumstances.observing:
        return "the mode is observe"
    if circumstances.paused:
        return "actions are paused"
    if finding.silenced:
        return "it is silenced"
    if finding.id in circumstances.attempted:
        return "it was tried once already"
    if finding.root.path in circumstances.given_up:
        return "too many attempts failed under this root"
    if action is Action.SHARE and finding.root.path in circumstances.made_private_again:
        return f"it was made private again each time; {setting_that_ends(finding.root)}"
    if circumstances.limited:
        return f"{config.acts_per_minute} incidents were acted on within the last minute"
    return None


def setting_that_ends(root: Root) -> str:
    """The setting that keeps a root shared, or else keeps us from sharing it again."""
    match root.engine:
        case "containers-storage":
            return 'skip_mount_home = "true" below [storage.options.overlay] in storage.conf keeps it shared'
        case "docker":
            return "Docker 18.03 and newer leave it shared (moby commit 9803272f)"
    return 'a [[policy]] with action = "share" and policy = "off" keeps mountwarden from sharing it again'


def named_units(config: Config) -> frozenset[str]:
    """Units that a policy names for rejoin."""
    return frozenset(
        entry.unit
        for entry in config.policies
        if entry.action is Action.REJOIN and entry.unit is not None and entry.policy is not Policy.OFF
    )
