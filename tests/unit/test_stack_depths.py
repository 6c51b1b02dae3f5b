"""Which stacks grow: a table of depths, scan by scan."""

from dataclasses import replace

import pytest
from mountwarden.judge import judge
from mountwarden.model import Answers, Finding, Kind, Picture, RootState, Severity, Stack, Tier, grouped
from mountwarden.mounts.roots import root_state, stacks
from mountwarden.scan.stacks import StackDepths

from tests.unit.pictures import HOME, OTHER, ROOT, host_root, table
from tests.unit.test_stacks import LIVE, chain, copies


def at_home(depth: int) -> RootState:
    return root_state(ROOT, table(host_root(), *(chain(*range(2, 2 + depth)) if depth else ())), HOME)


def elsewhere(depth: int) -> tuple[Stack, ...]:
    return stacks(grouped(copies(chain(*range(2, 2 + depth)))))


def told(state: RootState, piled: tuple[Stack, ...]) -> list[Finding]:
    shown = Picture("boot", Tier.MOUNTINFO, (state,), {}, (), 0, stacks=piled)
    return [finding for finding in judge(shown, Answers()).findings if finding.kind is Kind.STACKED]


SEVERITIES = {
    "deep from the first scan on": ([6, 6, 6], [Severity.INFO] * 3),
    "it grows, and stays deep": ([4, 5, 5], [Severity.INFO, Severity.WARNING, Severity.WARNING]),
    "from a single mount": ([1, 4], [None, Severity.WARNING]),
    "it becomes less, and more again": ([6, 4, 5], [Severity.INFO, Severity.INFO, Severity.WARNING]),
    "it becomes less": ([5, 6, 5], [Severity.INFO, Severity.WARNING, Severity.INFO]),
    "it goes, and comes as deep": ([5, 6, 0, 6], [Severity.INFO, Severity.WARNING, None, Severity.INFO]),
}


@pytest.mark.parametrize("case", SEVERITIES)
def test_a_stack_of_home_by_its_depths(case: str) -> None:
    depths, expected = SEVERITIES[case]
    known = StackDepths()
    seen = []
    for depth in depths:
        state = at_home(depth)
        found = told(state, known.compare((state,), ()))
        seen.append(found[0].severity if found else None)
    assert seen == expected


def test_a_new_namespace_that_is_a_copy_of_a_deep_one_has_not_grown() -> None:
    known = StackDepths()
    for piled, severity in (((), None), (elsewhere(6), Severity.INFO), (elsewhere(7), Severity.WARNING)):
        found = told(LIVE, known.compare((LIVE,), piled))
        assert [one.severity for one in found] == ([severity] if severity else [])
    assert found[0].detail.endswith(
        "7 mounts of the same file system and root on top of each other, 6 when it was first seen"
    )


def test_what_home_has_is_told_of_home_alone() -> None:
    state = at_home(5)
    (finding,) = told(state, StackDepths().compare((state,), elsewhere(5)))
    assert finding.namespaces == (HOME,)
    (finding,) = told(LIVE, StackDepths().compare((LIVE,), elsewhere(5)))
    assert finding.namespaces == (OTHER,)


def test_another_mount_on_the_spot_is_another_stack() -> None:
    known, state = StackDepths(), at_home(4)
    known.compare((state,), ())
    (stack,) = at_home(5).stacks
    other = replace(stack, top=replace(stack.top, device="0:99"))
    (compared,) = known.compare((LIVE,), (replace(other, namespace=OTHER),))
    assert not compared.grew


@pytest.mark.parametrize(
    ("bottoms", "grew"), [((70, 70), True), ((70, 71), False), ((None, None), False), ((None, 70), False)]
)
def test_a_stack_that_grew_while_nobody_looked_has_grown(bottoms: tuple[int | None, int | None], grew: bool) -> None:
    """By the unique id of its lowest mount: a number of a namespace or device may be another's by then."""
    (before,), (after,) = elsewhere(4), elsewhere(5)
    first = StackDepths()
    first.compare((LIVE,), (replace(before, bottom=bottoms[0]),))
    (compared,) = StackDepths(first.saved).compare((LIVE,), (replace(after, bottom=bottoms[1]),))
    assert compared.grew == grew


def test_the_lowest_mount_is_that_of_the_stack() -> None:
    mounts = [replace(one, unique=100 + one.id) for one in chain(2, 3, 4, 5)]
    assert [stack.bottom for stack in stacks(grouped(copies(mounts)))] == [102]
