"""The actions: which findings each is for, why the default asks a human, and what it does, step by step. Pure.

What carries them out is in `apply`; what their commands take, in the command line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..model import Action, Evidence, Finding, Kind, Reach
from . import default_policy, steps


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """What is known of one action."""

    past: str
    """Its past participle."""
    kinds: tuple[Kind, ...]
    """The findings that it can be applied to."""
    reach: frozenset[Reach]
    """Leaks that it is offered for, by what reaches one of their copies; empty: all."""
    ask: Callable[[Finding], str | None]
    """The default's reason to leave it to a human; None: the default is to do it."""
    steps: Callable[[Finding], list[str]]

    def offered(self, finding: Finding) -> bool:
        """Whether it is a remedy for the finding."""
        if finding.kind not in self.kinds or finding.evidence is Evidence.CLAIMED:
            return False
        return not self.reach or finding.kind is not Kind.LEAKED or any(map(finding.reached, self.reach))


_ANY = frozenset[Reach]()
_ON_SPOT = frozenset({Reach.RMDIR})
_SOMEWHERE = frozenset({Reach.RMDIR, Reach.INSIDE})

ACTIONS: Mapping[Action, ActionSpec] = MappingProxyType(
    {
        Action.SHARE: ActionSpec("shared", (Kind.PRIVATE_ROOT,), _ANY, default_policy.ask_share, steps.share),
        Action.DETACH: ActionSpec("detached", (Kind.LEAKED,), _ON_SPOT, default_policy.ask_detach, steps.detach),
        Action.UNMOUNT: ActionSpec(
            "unmounted", (Kind.LEAKED, Kind.ABANDONED), _SOMEWHERE, default_policy.ask_unmount, steps.unmount
        ),
        Action.REJOIN: ActionSpec("rejoined", (Kind.SEVERED,), _ANY, default_policy.ask_rejoin, steps.rejoin),
    }
)
"""All that mountwarden does itself, in the order of how little it disturbs. Every other remedy is advice."""


def offered(finding: Finding) -> list[Action]:
    """The actions that are remedies for the finding, the one to try first at the start.

    An umount inside comes before a detach where other mounts are on the spot, which would go with the directory.
    """
    actions = [action for action, spec in ACTIONS.items() if spec.offered(finding)]
    both = len(actions) > 1 and others(finding)  # it looks at all copies, of which a severed root has hundreds
    return sorted(actions, key=lambda action: action is Action.DETACH) if both else actions


def others(finding: Finding) -> bool:
    """Whether mounts of something else are on the spot of a leak."""
    return finding.target is not None and bool(finding.target.others)


def describe(finding: Finding, action: Action) -> list[str]:
    """What an action would do, step by step; nothing for one that is not ours or can't be applied to the finding."""
    spec = ACTIONS.get(action)
    return spec.steps(finding) if spec and finding.kind in spec.kinds else []
