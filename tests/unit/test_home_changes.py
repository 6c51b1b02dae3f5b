"""A root's state that is brought up to date is the one that the whole table gives."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
from mountwarden.model import Layout, Mount, RootKind, RootState
from mountwarden.mounts import home_changes
from mountwarden.mounts.home_changes import HomeChange, state_after
from mountwarden.mounts.roots import ANYWHERE, root_state
from mountwarden.mounts.table import Table

from tests.unit.pictures import HOME, ROOT, host_root, layer, mount

HOST = dataclasses.replace(
    ROOT, path=b"/", engine="volumes", kind=RootKind.VOLUME, layout=(Layout(ANYWHERE, None, needs_history=True),)
)
POINTS = (
    "/var/lib/docker/overlay2/X/merged",
    "/var/lib/docker/overlay2/Y/merged",
    "/var/lib/docker/overlay2/X",
    "/var/lib/docker/overlay2",
    "/var/lib/docker",
    "/var",
    "/srv",
    "/srv/data",
)
STEPS = st.lists(
    st.tuples(st.sampled_from(("mount", "umount", "share", "remount")), st.integers(0, 7), st.booleans()), max_size=12
)


def done(mounts: tuple[Mount, ...], step: tuple[str, int, bool], number: int) -> tuple[Mount, ...]:
    """What is mounted after one step: on the topmost mount of a path, or off it."""
    what, place, device = step
    table, point = Table(mounts), POINTS[place]
    top = table.containing(point.encode())
    assert top is not None
    if what == "mount":
        on = f"8:{number}" if device else f"0:{50 + place}"
        return (*mounts, mount(number, top.id, point, device=on, fstype="ext4" if device else "overlay"))
    if top.point == b"/" or (what == "umount" and table.children(top.id)):
        return mounts
    if what == "umount":
        return tuple(one for one in mounts if one is not top)
    change = {"shared": 0 if top.shared else number} if what == "share" else {"options": b"ro%d" % number}
    return tuple(dataclasses.replace(one, **change) if one is top else one for one in mounts)


def sorted_out(state: RootState) -> tuple[object, ...]:
    """All that a state says; what is stacked where, in any order."""
    stacks = frozenset((one.match.spot, one.top.id, one.depth) for one in state.stacks)
    rest = (state.mount, state.bases, dict(state.live), dict(state.matches), dict(state.parents), state.status)
    return (*rest, stacks)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_step_by_step_it_is_that_of_the_whole_table(steps: list[tuple[str, int, bool]]) -> None:
    before = Table((host_root(), layer(2, 1)))
    states = [root_state(root, before, HOME) for root in (ROOT, HOST)]
    for number, step in enumerate(steps, 10):
        now = Table(done(before.mounts, step, number))
        change = HomeChange.between(before, now)
        states = [state_after(state, now, change) for state in states]
        for state in states:
            assert sorted_out(state) == sorted_out(root_state(state.root, now, HOME))
        before = now


def test_what_has_nothing_to_do_with_a_root_leaves_the_same_object() -> None:
    before = Table((host_root(), layer(2, 1)))
    state = root_state(ROOT, before, HOME)
    now = Table((*before.mounts, mount(3, 1, "/srv")))
    assert state_after(state, now, HomeChange.between(before, now)) is state


def test_a_layer_more_is_no_reason_to_look_at_the_whole_table() -> None:
    before = Table((host_root(), layer(2, 1)))
    state = root_state(ROOT, before, HOME)
    now = Table((*before.mounts, layer(3, 1, "Y", device="0:41")))
    whole, home_changes.root_state = home_changes.root_state, None  # type: ignore[assignment]
    try:
        assert len(state_after(state, now, HomeChange.between(before, now)).live) == 2
    finally:
        home_changes.root_state = whole


def test_what_is_stacked_on_a_layer_is_seen() -> None:
    before = Table((host_root(), layer(2, 1)))
    state = root_state(ROOT, before, HOME)
    now = Table((*before.mounts, layer(3, 2)))
    after = state_after(state, now, HomeChange.between(before, now))
    assert [one.depth for one in after.stacks] == [2]
    assert state_after(after, before, HomeChange.between(now, before)).stacks == ()
