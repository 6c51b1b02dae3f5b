"""The one way to what changes the host. Each action scans again, checks each precondition, changes, and verifies."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping

from ..errors import Declined, MountwardenError
from ..model import Action, Finding, Outcome
from ..scan.scanner import Scanner
from . import leftovers
from .actions import ACTIONS, describe
from .detach import detach, detach_all
from .rejoin import rejoin
from .results import refused
from .share import share
from .unmount import unmount

__all__ = ["carry_out", "carry_out_all", "describe", "remove_leftovers"]


def carry_out(
    finding: Finding,
    scanner: Scanner,
    action: Action,
    *,
    named: frozenset[str] = frozenset(),
    lazy: bool = False,
) -> Outcome:
    """Apply one action to one finding. A refusal or failure is an Outcome that says why, never an exception.

    `named` are units that the operator, or a policy, names for this action. `lazy`: an unmount is to end what is in
    use too, which only an operator asks for.
    """
    try:
        if action not in ACTIONS:
            raise Declined("not-applicable", f"{action} is advice: mountwarden never does it itself")
        return _functions(named, lazy)[action](finding, scanner)
    except (OSError, MountwardenError) as error:
        return refused(finding, action, error)


def _functions(named: frozenset[str], lazy: bool = False) -> Mapping[Action, Callable[[Finding, Scanner], Outcome]]:
    """What carries out each action."""
    return {
        Action.SHARE: share,
        Action.DETACH: detach,
        Action.UNMOUNT: functools.partial(unmount, lazy=lazy),
        Action.REJOIN: functools.partial(rejoin, named=named),
    }


def carry_out_all(
    findings: Iterable[Finding],
    scanner: Scanner,
    action: Action,
    *,
    named: frozenset[str] = frozenset(),
    lazy: bool = False,
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[Outcome]:
    """The same for many, each outcome as it is known: detaches in batches, all else one by one.

    `go_on` is asked before each batch; when it says no, what is left has no outcome.
    """
    if action is Action.DETACH:
        return detach_all(findings, scanner, go_on)
    return (carry_out(finding, scanner, action, named=named, lazy=lazy) for finding in findings if go_on())


def remove_leftovers(scanner: Scanner) -> list[bytes]:
    """At the agent's start: remove what a killed detach left beside a mountpoint; returns their paths in home."""
    return leftovers.remove(scanner.scan())
