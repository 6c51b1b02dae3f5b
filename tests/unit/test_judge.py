"""leaked and private-root: every topology is a few facts."""

import dataclasses
from collections.abc import Iterable

import pytest
from mountwarden.config.schema import Config
from mountwarden.judge import judge
from mountwarden.model import (
    Action,
    Answers,
    Copy,
    Evidence,
    Finding,
    Kind,
    Layout,
    Mount,
    Picture,
    Reach,
    RecordQuestion,
    RecordState,
    Root,
    Severity,
    Tier,
    finding_id,
)
from mountwarden.mounts.roots import Spots, root_state
from mountwarden.mounts.table import Table
from mountwarden.remedies.actions import describe
from mountwarden.remedies.plan import plan

from tests.unit.pictures import HOME, OTHER, ROOT, host_root, layer, mount, table


def copies(spots: Spots, namespace: int, held: Table) -> Iterable[Copy]:
    for found in held.mounts:
        spot = held.spot(found)
        match = spots.match(spot) if spot else None
        if match:
            yield Copy(namespace, found, held.get(found.parent), spot, match)


def picture(home: Table, elsewhere: dict[int, Table], root: Root = ROOT) -> Picture:
    state = root_state(root, home, HOME)
    spots = Spots([state])
    return Picture(
        boot_id="boot",
        tier=Tier.MOUNTINFO,
        roots=(state,),
        namespaces={},
        copies=tuple(copy for inode, held in elsewhere.items() for copy in copies(spots, inode, held)),
        mounts=0,
        home_identities=frozenset(m.identity for m in home.mounts),
    )


def judged(shown: Picture, answer: RecordState = RecordState.UNKNOWN) -> list[Finding]:
    wants = [want for want in judge(shown, Answers()).questions if isinstance(want, RecordQuestion)]
    return list(judge(shown, Answers(records=dict.fromkeys(wants, answer))).findings)


SLAVE = host_root(id=11, shared=0, master=1)


def private(held: Mount, *, parent: Mount = SLAVE) -> Table:
    return table(parent, dataclasses.replace(held, id=12, parent=parent.id, shared=0))


def test_a_copy_whose_original_is_gone_is_leaked() -> None:
    (finding,) = judged(picture(table(host_root()), {OTHER: private(layer(2, 1))}))
    assert (finding.kind, finding.severity) == (Kind.LEAKED, Severity.WARNING)
    assert (finding.evidence, finding.reach) == (Evidence.SPOT, Reach.RMDIR)
    assert finding.mountpoint == finding.seen_at == b"/var/lib/docker/overlay2/X/merged"
    assert (finding.layer, finding.namespace, finding.mount_id) == (b"X", OTHER, 12)


def test_a_copy_whose_original_lives_is_not() -> None:
    assert judged(picture(table(host_root(), layer(2, 1)), {OTHER: private(layer(2, 1))})) == []


def test_a_copy_under_another_path_is_on_the_same_spot() -> None:
    seen = dataclasses.replace(SLAVE, point=b"/rootfs")
    held = dataclasses.replace(layer(2, 1), point=b"/rootfs/var/lib/docker/overlay2/X/merged")
    top = mount(10, 0, "/", device="0:77")
    moved = table(top, dataclasses.replace(seen, parent=10), dataclasses.replace(held, id=12, parent=11))
    (finding,) = judged(picture(table(host_root()), {OTHER: moved}))
    assert finding.seen_at == b"/rootfs/var/lib/docker/overlay2/X/merged"
    assert finding.mountpoint == b"/var/lib/docker/overlay2/X/merged"


def test_the_same_path_on_another_file_system_is_not_the_same_spot() -> None:
    other = host_root(id=11, device="9:9")
    assert judged(picture(table(host_root()), {OTHER: private(layer(2, 1), parent=other)})) == []


def test_an_overmount_is_never_a_copy_by_spot() -> None:
    """A tmpfs that a container mounts over its volume sits on the root of the container's bind of the volume."""
    volumes = dataclasses.replace(ROOT, layout=(Layout(b"volumes/*/_data", None),))
    bind = mount(11, 10, "/data", device="8:1", root=b"/var/lib/docker/volumes/v/_data")
    own = table(mount(10, 0, "/", device="0:9"), bind, mount(12, 11, "/data"))
    assert judged(picture(table(host_root()), {OTHER: own}, volumes)) == []


def test_another_type_on_the_spot_is_no_copy() -> None:
    assert judged(picture(table(host_root()), {OTHER: private(layer(2, 1, fstype="tmpfs"))})) == []


@pytest.mark.parametrize(
    ("answer", "evidence"),
    [(RecordState.LIVE, None), (RecordState.UNMOUNTED, Evidence.RECORD), (RecordState.UNKNOWN, Evidence.SPOT)],
)
def test_the_engine_s_record_decides(answer: RecordState, evidence: Evidence | None) -> None:
    recorded = dataclasses.replace(ROOT, record=("/run/record",))
    shown = picture(table(host_root()), {OTHER: private(layer(2, 1))}, recorded)
    assert {type(want) for want in judge(shown, Answers()).questions} == {RecordQuestion}
    assert [finding.evidence for finding in judged(shown, answer)] == ([evidence] if evidence else [])


def test_no_record_is_asked_for_where_home_has_the_mount() -> None:
    recorded = dataclasses.replace(ROOT, record=("/run/record",))
    shown = picture(table(host_root(), layer(2, 1)), {OTHER: private(layer(2, 1))}, recorded)
    assert judge(shown, Answers()).questions == frozenset()


def test_the_same_upperdir_mounted_again_is_critical_and_out_of_rmdir_s_reach() -> None:
    again = layer(2, 1, device="0:41")
    (finding,) = judged(picture(table(host_root(), again), {OTHER: private(layer(2, 1))}))
    assert (finding.severity, finding.reach) == (Severity.CRITICAL, Reach.INSIDE)
    assert "two overlays" in finding.detail


def test_another_layer_on_the_same_spot_is_out_of_reach_but_not_critical() -> None:
    again = layer(2, 1, device="0:41", super_options=b"rw,upperdir=/elsewhere")
    (finding,) = judged(picture(table(host_root(), again), {OTHER: private(layer(2, 1))}))
    assert (finding.severity, finding.reach) == (Severity.WARNING, Reach.INSIDE)


def test_one_finding_for_each_spot_and_namespace() -> None:
    held = table(SLAVE, layer(12, 11), layer(13, 11, "Y", "0:41"), layer(14, 11, device="0:44"))
    found = judged(picture(table(host_root()), {OTHER: held, OTHER + 1: private(layer(2, 1))}))
    assert sorted((f.layer, f.namespace, f.count) for f in found) == [
        (b"X", OTHER, 2),
        (b"X", OTHER + 1, 1),
        (b"Y", OTHER, 1),
    ]
    assert len({finding.id for finding in found}) == 3
    (on_x,) = (f for f in found if f.namespace == OTHER + 1)
    assert on_x.target is not None
    assert len(on_x.target.copies) == 3, "one detach drops all copies on the spot"


def steps(finding: Finding) -> list[str]:
    return describe(finding, Action.DETACH)


def test_each_mount_that_would_go_with_the_directory_is_named_and_another_one_as_such() -> None:
    """Three namespaces have copies of one mount, and two have others on the same spot, one of which home has too."""
    elsewhere = {OTHER + n: private(layer(2, 1)) for n in (0, 1, 2)}
    elsewhere[OTHER + 3] = private(layer(2, 1, device="0:41"))
    elsewhere[OTHER + 4] = private(layer(2, 1, device="0:42"))
    found = judged(picture(table(host_root(), mount(9, 1, "/x", device="0:42", fstype="overlay")), elsewhere))
    first, _second, _third, another = sorted(found, key=lambda finding: finding.namespace or 0)
    names = {n: f"mount 12 in namespace {OTHER + n}" for n in range(5)}
    devices = {0: "0:40", 1: "0:40", 2: "0:40", 3: "0:41", 4: "0:42"}
    is_another = {
        n: f"{names[n]} is another one (overlay {devices[n]}) and would go too: declined while it is there"
        for n in range(5)
    }
    assert steps(first)[2:-2] == [is_another[n] for n in (3, 4)]
    assert steps(another)[2:-2] == [is_another[n] for n in (0, 1, 2, 4)]
    goes = f"{names[0]}, {names[1]}, {names[2]}"
    assert steps(first)[-1] == f"the kernel drops overlay 0:40 and what is mounted on it: {goes}; check again: gone"


@pytest.mark.parametrize("change", [{"device": "0:41"}, {"root": b"/sub"}, {"super_options": b"rw"}])
def test_what_differs_in_device_root_or_options_is_another_mount(change: dict[str, object]) -> None:
    held = {OTHER: private(layer(2, 1)), OTHER + 1: private(layer(2, 1, **change))}
    for finding in judged(picture(table(host_root()), held)):
        assert sum("is another one" in step for step in steps(finding)) == 1
    ro = private(layer(2, 1, options=b"ro"))
    for finding in judged(picture(table(host_root()), held | {OTHER + 1: ro})):
        assert not any("is another one" in step for step in steps(finding)), "a read-only view of it is none"


def bound_elsewhere(*, own_root: bool = False) -> Picture:
    shown = picture(table(host_root(), layer(2, 1)), {})
    (state,) = shown.roots
    (spot,) = state.live
    match = Spots([state]).match(spot)
    assert match is not None
    bind = layer(12, 11, point=b"/o")
    found = [Copy(OTHER, bind, SLAVE, None, None, history=match)]
    if own_root:
        found.append(Copy(OTHER, layer(13, 0, point=b"/"), None, None, None, history=match))
    home = root_state(ROOT, table(host_root()), HOME)
    return dataclasses.replace(shown, roots=(home,), copies=tuple(found), home_identities=frozenset())


def test_a_bind_elsewhere_is_known_by_history_only_and_reached_inside_only() -> None:
    (finding,) = judged(bound_elsewhere())
    assert (finding.evidence, finding.reach) == (Evidence.HISTORY, Reach.INSIDE)
    assert finding.seen_at == b"/o"


def test_a_container_s_own_root_is_not_leaked() -> None:
    assert judged(bound_elsewhere(own_root=True)) == []


def test_a_root_that_is_not_shared() -> None:
    (finding,) = judged(picture(table(host_root(shared=0)), {}))
    assert (finding.kind, finding.severity) == (Kind.PRIVATE_ROOT, Severity.WARNING)
    assert (finding.mountpoint, finding.seen_at, finding.namespace) == (b"/var/lib/docker", b"/", HOME)
    wanted = dataclasses.replace(ROOT, wants_private=True)
    (finding,) = judged(picture(table(host_root(shared=0)), {}, wanted))
    assert finding.severity is Severity.INFO


def test_an_engine_whose_own_namespace_is_a_slave_means_it() -> None:
    slave = table(host_root(), mount(2, 1, "/var/lib/docker", shared=0, master=7))
    (finding,) = judged(picture(slave, {}, dataclasses.replace(ROOT, home_pid=9)))
    assert (finding.kind, finding.severity) == (Kind.PRIVATE_ROOT, Severity.INFO)
    assert not any(remedy.automatic for remedy in plan(finding, Config()).remedies)
    (at_home,) = judged(picture(slave, {}))
    assert at_home.severity is Severity.WARNING
    assert any(remedy.automatic for remedy in plan(at_home, Config()).remedies)
    (cut,) = judged(picture(table(host_root(shared=0)), {}, dataclasses.replace(ROOT, home_pid=9)))
    assert cut.severity is Severity.WARNING, "a private one is no slave"


def test_a_slave_that_is_shared_too_is_shared() -> None:
    assert judged(picture(table(host_root(shared=3, master=1)), {})) == []


def test_ids_are_stable_and_no_part_runs_into_the_next() -> None:
    assert finding_id("b", Kind.LEAKED, b"/r", b"/s", 1) == finding_id("b", Kind.LEAKED, b"/r", b"/s", 1)
    assert finding_id("b", Kind.LEAKED, b"/r/", b"s", 1) != finding_id("b", Kind.LEAKED, b"/r", b"/s", 1)
    assert finding_id("b", Kind.LEAKED, b"/r", b"/s", 1).startswith("mw-")
    assert len(finding_id("b", Kind.LEAKED, b"/r", b"/s", 1)) == 13
