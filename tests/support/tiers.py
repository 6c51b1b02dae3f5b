"""The tiers that this kernel has, and a way to make every Looker of a test use one."""

import contextlib
from collections.abc import Iterator

from mountwarden.errors import MountwardenError
from mountwarden.model import Tier
from mountwarden.observe import tiers


def available() -> list[Tier]:
    """The tiers that work here, best first."""
    working = []
    for tier in Tier:
        with contextlib.suppress(MountwardenError):
            working.append(tiers.choose(tier)[0])
    return working


@contextlib.contextmanager
def forced(tier: Tier) -> Iterator[None]:
    """Each Looker that is made meanwhile, here and in forked children, uses this tier unless it is given another."""
    choose = tiers.choose
    tiers.choose = lambda asked=None, found=None: choose(asked or tier, found)
    try:
        yield
    finally:
        tiers.choose = choose
