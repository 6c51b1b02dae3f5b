"""Right before an action another scan must show what was judged: of the same, and one of the very mounts."""

from dataclasses import replace

import pytest
from mountwarden.errors import Declined
from mountwarden.model import Action, Copy, Evidence, Finding
from mountwarden.remedies.checks import judged_again

from tests.support.findings import finding
from tests.unit.pictures import layer
from tests.unit.test_plan import shared_spot


def judged(*mounts: tuple[int, int, str]) -> Finding:
    """A leak with these copies: namespace, mount id, device. The first one's mount is the finding's."""
    whole = shared_spot()
    target = whole.target
    assert target is not None
    copies = tuple(
        Copy(namespace, layer(identity, 5, device=device), None, target.match.spot, target.match, target.match)
        for namespace, identity, device in mounts
    )
    target = replace(target, mount=copies[0].mount, copies=copies, leaked=copies, there=copies)
    return replace(whole, target=target, device=copies[0].mount.device)


A, B, C = (42, 7, "0:40"), (43, 8, "0:40"), (44, 9, "0:40")


@pytest.mark.parametrize(
    "now",
    [
        (A,),
        (B,),
        (A, B, C),
        (C, A),
        (A, (45, 7, "0:41")),
    ],
    ids=["one left", "the other left", "copied", "copied, in another order", "another mount beside it"],
)
def test_what_is_the_same(now: tuple[tuple[int, int, str], ...]) -> None:
    assert judged_again(judged(A, B), judged(*now), Action.DETACH) == judged(*now)


@pytest.mark.parametrize(
    "now",
    [
        ((42, 7, "0:41"), (43, 8, "0:41")),
        (C,),
        ((42, 9, "0:40"),),
        ((43, 7, "0:40"),),
        ((45, 7, "0:41"), A),
    ],
    ids=[
        "ids reused",
        "copied, and the judged ones gone",
        "mounted again",
        "id reused elsewhere",
        "another one counts",
    ],
)
def test_what_is_another_one(now: tuple[tuple[int, int, str], ...]) -> None:
    with pytest.raises(Declined) as declined:
        judged_again(judged(A, B), judged(*now), Action.DETACH)
    assert declined.value.code == "changed"


def test_what_has_other_options_is_another_one() -> None:
    before, now = judged(A), judged(A)
    assert now.target is not None
    mount = replace(now.target.mount, super_options=b"rw,lowerdir=other")
    copies = tuple(replace(copy, mount=mount) for copy in now.target.leaked)
    now = replace(now, target=replace(now.target, mount=mount, copies=copies, leaked=copies))
    with pytest.raises(Declined):
        judged_again(before, now, Action.DETACH)


def test_what_is_gone_or_only_claimed_is_declined() -> None:
    for now, code in ((None, "gone"), (replace(judged(A), evidence=Evidence.CLAIMED), "claimed")):
        with pytest.raises(Declined) as declined:
            judged_again(judged(A), now, Action.DETACH)
        assert declined.value.code == code
    assert judged_again(finding(), finding(), Action.DETACH) == finding(), "without a target, by its ids"
