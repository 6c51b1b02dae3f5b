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
    assert (finding.evidence, finding.first.reach) == (Evidence.SPOT, Reach.RMDIR)
    assert finding.mountpoint == finding.first.seen_at == b"/var/lib/docker/overlay2/X/merged"
    assert (finding.layer, finding.first.namespace, finding.first.mount_id) == (b"X", OTHER, 12)


def test_a_copy_whose_original_lives_is_not() -> None:
    assert judged(picture(table(host_root(), layer(2, 1)), {OTHER: private(layer(2, 1))})) == []


def test_a_copy_under_another_path_is_on_the_same_spot() -> None:
    seen = dataclasses.replace(SLAVE, point=b"/rootfs")
    held = dataclasses.replace(layer(2, 1), point=b"/rootfs/var/lib/docker/overlay2/X/merged")
    top = mount(10, 0, "/", device="0:77")
    moved = table(top, dataclasses.replace(seen, parent=10), dataclasses.replace(held, id=12, parent=11))
    (finding,) = judged(picture(table(host_root()), {OTHER: moved}))
    assert finding.first.seen_at == b"/rootfs/var/lib/docker/overlay2/X/merged"
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
    assert (finding.severity, finding.first.reach) == (Severity.CRITICAL, Reach.INSIDE)
    assert "two overlays" in finding.detail


def test_another_layer_on_the_same_spot_is_out_of_reach_but_not_critical() -> None:
    again = layer(2, 1, device="0:41", super_options=b"rw,upperdir=/elsewhere")
    (finding,) = judged(picture(table(host_root(), again), {OTHER: private(layer(2, 1))}))
    assert (finding.severity, finding.first.reach) == (Severity.WARNING, Reach.INSIDE)


def test_one_finding_for_each_spot() -> None:
    held = table(SLAVE, layer(12, 11), layer(13, 11, "Y", "0:41"), layer(14, 11, device="0:44"))
    found = judged(picture(table(host_root()), {OTHER: held, OTHER + 1: private(layer(2, 1))}))
    assert [(f.layer, f.namespaces, f.spaces, f.count) for f in found] == [
        (b"X", (OTHER, OTHER + 1), 2, 3),
        (b"Y", (OTHER,), 1, 1),
    ]
    assert len({finding.id for finding in found}) == 2
    on_x = found[0]
    assert on_x.target is not None
    assert len(on_x.target.copies) == 3, "one detach drops all copies on the spot"
    assert on_x.detail == "mounts of different file systems are on the same spot"
    assert [copy.mount_id for copy in on_x.copies] == [12, 12], "of several in one namespace the first is named"


def in_namespaces(count: int, held: Table | None = None) -> dict[int, Table]:
    """The same private copy in so many namespaces, in no order."""
    return {OTHER + at: held or private(layer(2, 1)) for at in reversed(range(count))}


def test_a_leak_in_three_namespaces_is_one_finding_with_three_copies() -> None:
    shown = picture(table(host_root()), in_namespaces(3))
    (finding,) = judged(shown)
    assert [(c.namespace, c.seen_at, c.mount_id, c.reach) for c in finding.copies] == [
        (OTHER + at, b"/var/lib/docker/overlay2/X/merged", 12, Reach.RMDIR) for at in range(3)
    ]
    assert (finding.count, finding.spaces, finding.first) == (3, 3, finding.copies[0])
    assert finding.target
    assert [copy.namespace for copy in finding.target.leaked] == [OTHER, OTHER + 1, OTHER + 2]


def test_the_best_evidence_of_all_copies_stands_for_them_and_its_copy_comes_first() -> None:
    shown = picture(table(host_root()), in_namespaces(3))
    seen = [
        dataclasses.replace(copy, history=copy.match) if copy.namespace == OTHER + 1 else copy for copy in shown.copies
    ]
    (finding,) = judged(dataclasses.replace(shown, copies=tuple(seen)))
    assert (finding.evidence, finding.namespaces) == (Evidence.HISTORY, (OTHER + 1, OTHER, OTHER + 2))
    assert (finding.count, finding.spaces) == (3, 3)


def test_a_copy_on_the_mountpoint_comes_before_one_that_is_bound_elsewhere() -> None:
    shown = picture(table(host_root()), {OTHER + 1: private(layer(2, 1))})
    (on_spot,) = (dataclasses.replace(copy, history=copy.match) for copy in shown.copies)
    bind = Copy(OTHER, layer(12, 11, point=b"/o"), SLAVE, None, None, history=on_spot.match)
    (finding,) = judged(dataclasses.replace(shown, copies=(bind, on_spot)))
    assert [(c.namespace, c.reach) for c in finding.copies] == [(OTHER + 1, Reach.RMDIR), (OTHER, Reach.INSIDE)]
    assert finding.target
    assert finding.target.copies == (on_spot,), "a detach ends those on the mountpoint"
    assert finding.target.leaked == (bind, on_spot)
    assert finding.detail == ""


def test_what_is_only_claimed_is_dropped_beside_what_is_proven() -> None:
    recorded = dataclasses.replace(ROOT, record=("/run/record",))
    shown = picture(table(host_root()), {OTHER: private(layer(2, 1))}, recorded)
    (proven,) = shown.copies
    elsewhere = layer(12, 11, point=b"/x")
    claim = Spots(list(shown.roots)).claimed(elsewhere)
    assert claim
    assert proven.match
    claimed = [Copy(OTHER + at, elsewhere, SLAVE, None, claim=claim) for at in (1, 2)]
    both = dataclasses.replace(shown, copies=(*claimed, proven))
    (finding,) = judged(both, RecordState.UNMOUNTED)
    assert (finding.evidence, finding.severity, finding.namespaces) == (Evidence.RECORD, Severity.WARNING, (OTHER,))
    assert (finding.count, finding.spaces) == (1, 1)
    (suspected,) = judged(dataclasses.replace(both, copies=tuple(claimed)), RecordState.UNMOUNTED)
    assert (suspected.evidence, suspected.count, suspected.id) == (Evidence.CLAIMED, 2, finding.id)


def test_twenty_namespaces_are_named_and_all_are_counted() -> None:
    (finding,) = judged(picture(table(host_root()), in_namespaces(25)))
    assert finding.namespaces == tuple(range(OTHER, OTHER + 20))
    assert (finding.count, finding.spaces) == (25, 25)
    assert finding.target
    assert len(finding.target.copies) == len(finding.target.leaked) == 25


def test_the_id_is_the_same_whichever_namespaces_have_it() -> None:
    shown = [in_namespaces(3), {OTHER + 7: private(layer(2, 1))}, {OTHER + 9: private(layer(2, 1, device="0:41"))}]
    assert len({judged(picture(table(host_root()), elsewhere))[0].id for elsewhere in shown}) == 1


def steps(finding: Finding) -> list[str]:
    return describe(finding, Action.DETACH)


def test_each_mount_that_would_go_with_the_directory_is_named_and_another_one_as_such() -> None:
    """Three namespaces have copies of one mount, and two have others on the same spot, one of which home has too."""
    elsewhere = {OTHER + n: private(layer(2, 1)) for n in (0, 1, 2)}
    elsewhere[OTHER + 3] = private(layer(2, 1, device="0:41"))
    elsewhere[OTHER + 4] = private(layer(2, 1, device="0:42"))
    (found,) = judged(picture(table(host_root(), mount(9, 1, "/x", device="0:42", fstype="overlay")), elsewhere))
    assert found.detail == "mounts of different file systems are on the same spot"
    names = {n: f"mount 12 in namespace {OTHER + n}" for n in range(5)}
    devices = {0: "0:40", 1: "0:40", 2: "0:40", 3: "0:41", 4: "0:42"}
    is_another = {
        n: f"{names[n]} is another one (overlay {devices[n]}) and would go too: declined while it is there"
        for n in range(5)
    }
    assert steps(found)[2:-2] == [is_another[n] for n in (3, 4)]
    goes = f"{names[0]}, {names[1]}, {names[2]}"
    assert steps(found)[-1] == f"the kernel drops overlay 0:40: {goes}; check again: gone"


@pytest.mark.parametrize("change", [{"device": "0:41"}, {"root": b"/sub"}, {"super_options": b"rw"}])
def test_what_differs_in_device_root_or_options_is_another_mount(change: dict[str, object]) -> None:
    held = {OTHER: private(layer(2, 1)), OTHER + 1: private(layer(2, 1, **change))}
    (finding,) = judged(picture(table(host_root()), held))
    assert sum("is another one" in step for step in steps(finding)) == 1
    ro = private(layer(2, 1, options=b"ro"))
    (finding,) = judged(picture(table(host_root()), held | {OTHER + 1: ro}))
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
    assert (finding.evidence, finding.first.reach) == (Evidence.HISTORY, Reach.INSIDE)
    assert finding.first.seen_at == b"/o"


def test_a_container_s_own_root_is_not_leaked() -> None:
    assert judged(bound_elsewhere(own_root=True)) == []


def test_a_root_that_is_not_shared() -> None:
    (finding,) = judged(picture(table(host_root(shared=0)), {}))
    assert (finding.kind, finding.severity) == (Kind.PRIVATE_ROOT, Severity.WARNING)
    assert (finding.mountpoint, finding.first.seen_at, finding.first.namespace) == (b"/var/lib/docker", b"/", HOME)
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
    assert finding_id("b", Kind.SEVERED, b"/r", b"/s", 1) == finding_id("b", Kind.SEVERED, b"/r", b"/t", 1)
    assert finding_id("b", Kind.SEVERED, b"/r", b"/s", 1) != finding_id("b", Kind.SEVERED, b"/r", b"/s", 2)
