"""Which kernel interface looks use: the best that works here, or the one that is asked for."""

from ..errors import MountwardenError
from ..kernel.probe import Abilities, Interface, probe
from ..model import Tier
from .statmount import StatmountObserver
from .text import Observer, TextObserver

BEST_FIRST = (Tier.STATMOUNT, Tier.MOUNTINFO)


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
    if wanted not in BEST_FIRST:
        raise MountwardenError(f"the tier {wanted} is not in this version", hint=f"--tier {best}")
    return wanted, "asked for"


def observer(tier: Tier, found: Abilities | None = None) -> Observer:
    """A new observer of that tier, which must work here."""
    if tier is Tier.MOUNTINFO:
        return TextObserver()
    return StatmountObserver(fields=(found or probe()).fields.available)


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
