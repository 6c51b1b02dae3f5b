"""Which kernel interface looks use: the best that works here, or the one that is asked for."""

from dataclasses import replace

from ...errors import MountwardenError
from ...kernel.probe import Abilities, Interface, explained, probe
from ...model import Tier
from .events import EventsObserver
from .mountinfo import TextObserver
from .observer import Observer
from .statmount import StatmountObserver

BEST_FIRST = tuple(Tier)


def interfaces() -> tuple[Interface, ...]:
    """What this kernel lets us use, by name, with the errno and its meaning where it does not. Tries each anew."""
    return probe().all()


def choose(wanted: Tier | None = None, found: Abilities | None = None) -> tuple[Tier, str]:
    """The tier for `wanted` (None: the best that works here), and why.

    `found` is what `probe` returned, if it was called. Raises: MountwardenError where the wanted one does not work.
    """
    if wanted is Tier.MOUNTINFO:
        return wanted, "asked for"
    found = found or probe()
    best = next(tier for tier in BEST_FIRST if lacking(tier, found) is None)
    if wanted is None:
        return best, _reason(found)
    missing = lacking(wanted, found)
    if missing is not None:
        raise MountwardenError(f"the tier {wanted} does not work here: {_why(missing)}", hint=f"--tier {best} does")
    return wanted, "asked for"


def take(wanted: Tier | None = None) -> tuple[Tier, str, Observer]:
    """The tier as `choose` has it, and why, with a new observer of it. Raises: MountwardenError as `choose` does."""
    found = probe()
    tier, reason = choose(wanted, found)
    try:
        return tier, reason, _observer(tier, found)
    except OSError as error:  # the last free fanotify groups went to others since they were tried
        name, meaning = explained(error)
        reason = _why(replace(found.events, errno=name, meaning=meaning))
        if wanted is Tier.EVENTS:
            hint = f"--tier {Tier.STATMOUNT} does"
            raise MountwardenError(f"the tier {wanted} does not work here: {reason}", hint=hint) from None
        return Tier.STATMOUNT, reason, _observer(Tier.STATMOUNT, found)


def _observer(tier: Tier, found: Abilities) -> Observer:
    if tier is Tier.MOUNTINFO:
        return TextObserver()
    of = EventsObserver if tier is Tier.EVENTS else StatmountObserver
    return of(fields=found.fields.available)


def lacking(tier: Tier, found: Abilities) -> Interface | None:
    """What keeps a tier from working; None where it works."""
    calls = (found.statmount, found.listmount, found.foreign)
    needs = {Tier.MOUNTINFO: (), Tier.STATMOUNT: calls, Tier.EVENTS: (*calls, found.events)}
    return next((one for one in needs[tier] if not one.available), None)


def _reason(found: Abilities) -> str:
    """Why no better one."""
    missing = lacking(Tier.EVENTS, found)
    return "all that it needs works" if missing is None else _why(missing)


def _why(missing: Interface) -> str:
    return f"{missing.name}: {missing.errno}, {missing.meaning}"
