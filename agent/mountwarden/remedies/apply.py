"""The door to what changes the host. Each act looks again, checks every precondition, acts, and verifies."""

from collections.abc import Callable

from .. import forked
from ..errors import Declined, MountwardenError, NoAnswer
from ..look import Looker
from ..model import Action, Finding, Outcome, Root
from ..observe.enter import own_namespace
from . import common, leftovers
from .detach import detach
from .rejoin import rejoin
from .share import share
from .steps import Step, describe
from .unmount import unmount

__all__ = ["Step", "carry_out", "describe", "detach", "rejoin", "remove_leftovers", "share", "unmount"]

_ACTS: dict[Action, Callable[[Finding, Looker], Outcome]] = {
    Action.SHARE: share,
    Action.DETACH: detach,
    Action.UNMOUNT: unmount,
}


def carry_out(finding: Finding, looker: Looker, action: Action, *, named: frozenset[str] = frozenset()) -> Outcome:
    """Do one remedy for one finding. A refusal or failure is an Outcome that says why, never an exception.

    `named` are units that the operator, or a policy, names for this act.
    """
    try:
        if action is Action.REJOIN:
            return rejoin(finding, looker, named=named)
        if action not in _ACTS:
            raise Declined("not-applicable", f"{action} is advice; nothing here does it")
        return _ACTS[action](finding, looker)
    except Declined as error:
        return Outcome(finding, action, False, error.code, f"declined: {error.message}")
    except NoAnswer as error:
        return Outcome(finding, action, False, "no-answer", f"failed: {error.message}")
    except OSError as error:
        return Outcome(finding, action, False, "failed", f"failed: {error.strerror or error}")
    except MountwardenError as error:
        return Outcome(finding, action, False, "failed", f"failed: {error.message}")


def remove_leftovers(looker: Looker) -> list[bytes]:
    """At the agent's start: remove what an act that was killed left beside a mountpoint; returns the paths at home."""
    look = looker.look()

    def at_home(root: Root, home: int | None, function: Callable[[], list[bytes]]) -> list[bytes]:
        if home == own_namespace():
            return forked.ask(function, deadline=common.DEADLINE, what="the child that tidies up")
        gone = Declined("home-gone", f"the home of {root.engine}'s root has no process any more")
        return common.inside(home, look, function, gone=gone)

    return leftovers.remove(look, at_home)
