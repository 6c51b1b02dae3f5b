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
    kind: Kind
    """The findings that it can be applied to."""
    reach: Reach | None
    """Those of them that it is offered for; None for all."""
    ask: Callable[[Finding], str | None]
    """The default's reason to leave it to a human; None: the default is to do it."""
    steps: Callable[[Finding], list[str]]

    def offered(self, finding: Finding) -> bool:
        """Whether it is a remedy for the finding."""
        if finding.kind is not self.kind or finding.evidence is Evidence.CLAIMED:
            return False
        return self.reach is None or finding.reached(self.reach)


ACTIONS: Mapping[Action, ActionSpec] = MappingProxyType(
    {
        Action.SHARE: ActionSpec("shared", Kind.PRIVATE_ROOT, None, default_policy.ask_share, steps.share),
        Action.DETACH: ActionSpec("detached", Kind.LEAKED, Reach.RMDIR, default_policy.ask_detach, steps.detach),
        Action.UNMOUNT: ActionSpec("unmounted", Kind.LEAKED, Reach.INSIDE, default_policy.ask_unmount, steps.unmount),
        Action.REJOIN: ActionSpec("rejoined", Kind.SEVERED, None, default_policy.ask_rejoin, steps.rejoin),
    }
)
"""All that mountwarden does itself. Every other remedy is advice."""


def describe(finding: Finding, action: Action) -> list[str]:
    """What an action would do, step by step; nothing for one that is not ours or can't be applied to the finding."""
    spec = ACTIONS.get(action)
    return spec.steps(finding) if spec and finding.kind is spec.kind else []
