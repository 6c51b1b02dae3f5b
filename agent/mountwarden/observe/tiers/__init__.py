"""Which kernel interface a scan uses: the best that works here, or the one that is asked for.

What a tier does is described in observer.py."""

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
    """Try each kernel interface that a tier may need: whether it works here, and the error where it does not."""
    return probe().all()


def choose(asked: Tier | None = None, found: Abilities | None = None) -> tuple[Tier, str]:
    """The tier to use, and why: `asked`, or the best that works here where that is None.

    `found` is what `probe` returned, if it was called. Raises: MountwardenError where `asked` does not work here.
    """
    if asked is Tier.MOUNTINFO:
        return asked, "asked for"
    found = found or probe()
    best = next(tier for tier in BEST_FIRST if lacking(tier, found) is None)
    if asked is None:
        return best, _reason(found)
    missing = lacking(asked, found)
    if missing is not None:
        raise MountwardenError(f"the tier {asked} does not work here: {_why(missing)}", hint=f"--tier {best} does")
    return asked, "asked for"


def take(asked: Tier | None = None) -> tuple[Tier, str, Observer]:
    """The tier that `choose` gives, the reason, and a new observer of that tier.

    Raises: MountwardenError as `choose` does.
    """
    found = probe()
    tier, reason = choose(asked, found)
    try:
        return tier, reason, _observer(tier, found)
    except OSError as error:  # the last free fanotify groups went to others since they were tried
        name, meaning = explained(error)
        reason = _why(replace(found.events, errno=name, meaning=meaning))
        if asked is Tier.EVENTS:
            hint = f"--tier {Tier.STATMOUNT} does"
            raise MountwardenError(f"the tier {asked} does not work here: {reason}", hint=hint) from None
        return Tier.STATMOUNT, reason, _observer(Tier.STATMOUNT, found)


def _observer(tier: Tier, found: Abilities) -> Observer:
    if tier is Tier.MOUNTINFO:
        return TextObserver()
    of = EventsObserver if tier is Tier.EVENTS else StatmountObserver
    return of(fields=found.fields.available)


def lacking(tier: Tier, found: Abilities) -> Interface | None:
    """The first interface that keeps a tier from working; None where it works."""
    calls = (found.statmount, found.listmount, found.foreign)
    needs = {Tier.MOUNTINFO: (), Tier.STATMOUNT: calls, Tier.EVENTS: (*calls, found.events)}
    return next((one for one in needs[tier] if not one.available), None)


def _reason(found: Abilities) -> str:
    """What the best tier lacks, as the reason for a lower one."""
    missing = lacking(Tier.EVENTS, found)
    return "all that it needs works" if missing is None else _why(missing)


def _why(missing: Interface) -> str:
    return f"{missing.name}: {missing.errno}, {missing.meaning}"
