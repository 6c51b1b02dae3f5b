"""stacked: what is on top of each other on one mountpoint. Each case is a table, at home and in another namespace."""

from collections.abc import Sequence

import pytest
from mountwarden.judge import judge
from mountwarden.model import Answers, Copy, Finding, Kind, Mount, Picture, RootState, Stack, Tier, grouped
from mountwarden.mounts.roots import Spots, copies_elsewhere, identities, root_state, stacks
from mountwarden.observe.tiers.prefilter import Candidate

from tests.unit.pictures import HOME, OTHER, ROOT, host_root, layer, mount, table

POINT = "/var/lib/docker/overlay2/X/merged"
LIVE = root_state(ROOT, table(host_root(), layer(2, 1)), HOME)


def chain(*identities: int, at: str = POINT, on: int = 1) -> list[Mount]:
    """The layer at a path, and again on itself: each on the one before, the first of them on the mount `on`."""
    parents = (on, *identities[:-1])
    return [layer(one, beneath, point=at.encode()) for one, beneath in zip(identities, parents, strict=True)]


def view(identity: int, *within: int) -> list[Mount]:
    """All of the host's root file system, bound elsewhere; in it, on its own mountpoint, the layer in a chain."""
    bind = mount(identity, 1, f"/srv/{identity}", device="8:1", fstype="ext4")
    return [bind, *chain(*within, at=f"/srv/{identity}{POINT}", on=identity)]


def cover(identity: int, parent: int, *within: int) -> list[Mount]:
    """A directory above the mountpoint, bound on itself, which hides what was mounted below it; in it the layer."""
    above = "/var/lib/docker/overlay2"
    return [mount(identity, parent, above, device="8:1", root=above.encode()), *chain(*within, on=identity)]


def other(identity: int, parent: int) -> Mount:
    """Another file system on the layer's mountpoint."""
    return mount(identity, parent, POINT)


TALLEST = f"/srv/50{POINT}"
CASES: dict[str, tuple[list[Mount], list[tuple[int, int, str]]]] = {
    "bound on itself again and again": (chain(2, 3, 4, 5), [(4, 5, POINT)]),
    "tucked beneath by propagation: ids say nothing": (chain(2, 8, 4, 6, 3, 7), [(6, 7, POINT)]),
    "fewer than are told": (chain(2, 3, 4), []),
    "one spot, and a mountpoint in each of many views": ([*chain(2), *view(30, 31), *view(40, 41), *view(50, 51)], []),
    "two on each mountpoint": ([*chain(2, 3), *view(40, 41, 42), *view(50, 51, 52)], []),
    "many on the mountpoint of one view": ([*chain(2), *view(50, 51, 52, 53, 54)], [(4, 54, TALLEST)]),
    "the tallest of several stands for its spot": (
        [*chain(2, 3, 4, 5), *view(50, 51, 52, 53, 54, 55)],
        [(5, 55, TALLEST)],
    ),
    "one path, all but the last hidden": ([*chain(2), *cover(30, 1, 31), *cover(40, 30, 41), *cover(50, 40, 51)], []),
    "another file system among them": (
        [*chain(2, 3), other(4, 3), layer(5, 4), layer(6, 5)],
        [(4, 6, POINT)],
    ),
    "another file system on top": ([*chain(2, 3, 4, 5), other(6, 5)], [(4, 5, POINT)]),
    "another file system beneath": ([other(2, 1), *chain(3, 4, 5, 6, on=2)], [(4, 6, POINT)]),
    "another file system each time": ([*chain(2), *(other(n, n - 1) for n in range(3, 7))], []),
    "on no spot of the layout": (chain(2, 3, 4, 5, at="/srv/layer"), []),
    "in a circle, as in a text that was torn": ([*chain(2), layer(3, 4), layer(4, 5), layer(5, 6), layer(6, 3)], []),
}


def told(state: RootState, piled: Sequence[Stack] = ()) -> list[Finding]:
    shown = Picture("boot", Tier.MOUNTINFO, (state,), {}, (), 0, stacks=tuple(piled))
    return [finding for finding in judge(shown, Answers()).findings if finding.kind is Kind.STACKED]


def copies(mounts: Sequence[Mount], namespace: int = OTHER) -> list[Copy]:
    """What a look takes from that table of another namespace, while home has the layer once."""
    theirs = table(host_root(shared=0), *mounts)
    found = [Candidate(one, theirs.get(one.parent), theirs.spot(one)) for one in theirs.mounts]
    return list(copies_elsewhere(namespace, found, Spots([LIVE]), identities([LIVE])))


def summary(findings: Sequence[Finding], namespace: int) -> list[tuple[int, int | None, str]]:
    assert {finding.namespaces for finding in findings} <= {(namespace,)}
    firsts = [(finding.count, finding.first) for finding in findings]
    return [(count, first.mount_id, (first.seen_at or b"").decode()) for count, first in firsts]


@pytest.mark.parametrize("case", CASES)
def test_what_is_stacked_at_home(case: str) -> None:
    mounts, expected = CASES[case]
    state = root_state(ROOT, table(host_root(), *mounts), HOME)
    assert summary(told(state), HOME) == expected


@pytest.mark.parametrize("case", CASES)
def test_what_is_stacked_in_another_namespace_whatever_comes_first(case: str) -> None:
    mounts, expected = CASES[case]
    for ordered in (mounts, mounts[::-1]):
        assert summary(told(LIVE, stacks(grouped(copies(ordered)))), OTHER) == expected


def test_namespaces_are_not_taken_together() -> None:
    mounts = chain(2, 3)
    assert told(LIVE, stacks(grouped([*copies(mounts), *copies(mounts, OTHER + 1)]))) == []


def test_what_is_stacked_in_two_namespaces_is_one_finding_the_tallest_first() -> None:
    three = copies(chain(2, 3, 4, 5, 6), OTHER + 1)
    (found,) = told(LIVE, stacks(grouped([*copies(chain(2, 3, 4, 5)), *three])))
    assert [(one.namespace, one.mount_id) for one in found.copies] == [(OTHER + 1, 6), (OTHER, 5)]
    assert (found.count, found.spaces) == (9, 2)


def test_a_home_that_is_also_looked_at_for_another_root_is_told_once() -> None:
    mounts = chain(2, 3, 4, 5)
    state = root_state(ROOT, table(host_root(), *mounts), HOME)
    assert summary(told(state, stacks(grouped(copies(mounts, HOME)))), HOME) == [(4, 5, POINT)]
