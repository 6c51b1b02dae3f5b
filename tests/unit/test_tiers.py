"""Which tier is taken, and what is said where one does not work."""

from dataclasses import fields, replace

import pytest
from mountwarden.errors import MountwardenError
from mountwarden.kernel.probe import Abilities, Interface
from mountwarden.model import Tier
from mountwarden.observe import tiers

ALL = Abilities(*(Interface(field.name, True, None, "works") for field in fields(Abilities)))


def without(name: str, errno: str = "ENOSYS", meaning: str = "this kernel does not have it") -> Abilities:
    return replace(ALL, **{name: Interface(name, False, errno, meaning)})


@pytest.mark.parametrize("name", ["statmount", "listmount", "foreign"])
def test_without_the_calls_the_text_is_read(name: str) -> None:
    assert tiers.choose(None, without(name)) == (Tier.MOUNTINFO, f"{name}: ENOSYS, this kernel does not have it")


def test_what_is_forbidden_is_told_apart_from_what_is_not_there() -> None:
    found = without("listmount", "EPERM", "forbidden")
    assert tiers.choose(None, found) == (Tier.MOUNTINFO, "listmount: EPERM, forbidden")


@pytest.mark.parametrize(("tier", "name"), [(Tier.STATMOUNT, "foreign"), (Tier.EVENTS, "events")])
def test_a_tier_that_does_not_work_is_refused_with_what_it_lacks(tier: Tier, name: str) -> None:
    with pytest.raises(MountwardenError) as caught:
        tiers.choose(tier, without(name))
    assert caught.value.message == f"the tier {tier} does not work here: {name}: ENOSYS, this kernel does not have it"
    assert caught.value.status == 2
    assert caught.value.hint


def test_the_text_can_always_be_asked_for() -> None:
    assert tiers.choose(Tier.MOUNTINFO, without("statmount")) == (Tier.MOUNTINFO, "asked for")


def test_without_a_mark_the_lists_are_compared() -> None:
    tier, reason = tiers.choose(None, without("events", "EMFILE", "too many groups"))
    assert (tier, reason) == (Tier.STATMOUNT, "events: EMFILE, too many groups")


def test_what_an_older_kernel_lacks_beside_does_not_change_the_tier() -> None:
    for name in ("fields", "counts", "walk"):
        assert tiers.choose(None, without(name)) == (Tier.EVENTS, "all that it needs works")
