"""severed, pinned, orphaned, claimed, and block devices: every topology is a few facts."""

import dataclasses

import pytest
from mountwarden.config.schema import Confirm
from mountwarden.judge import judge
from mountwarden.model import (
    Answers,
    Copy,
    Evidence,
    Finding,
    Gone,
    Holder,
    Kind,
    Layout,
    Match,
    Mount,
    MountClass,
    Namespace,
    PeerGroupQuestion,
    Picture,
    Reach,
    RecordQuestion,
    RecordState,
    Root,
    RootKind,
    RootState,
    Severity,
    Spot,
    Tier,
    Use,
    UsersQuestion,
    grouped,
)
from mountwarden.mounts.roots import Spots, root_state
from mountwarden.mounts.table import Table

from tests.support.findings import changed
from tests.unit.pictures import HOME, OTHER, ROOT, host_root, layer, mount, table

NOTHING = Answers()
SPOT = Spot("8:1", b"/var/lib/docker/overlay2/X/merged")
LIVE = root_state(ROOT, table(host_root(), layer(2, 1)), HOME)
EMPTY = root_state(ROOT, table(host_root()), HOME)


def match_of(state: RootState, spot: Spot = SPOT) -> Match:
    match = Spots([state]).match(spot)
    assert match is not None
    return match


def picture(state: RootState, *copies: Copy, **other: object) -> Picture:
    identities = frozenset(m.identity for mounts in state.live.values() for m in mounts)
    shown = Picture("boot", Tier.MOUNTINFO, (state,), {OTHER: Namespace(OTHER, (7,))}, copies, 0, identities)
    return dataclasses.replace(shown, **other)  # type: ignore[arg-type]


def found(shown: Picture, kind: Kind, answers: Answers = NOTHING) -> list[Finding]:
    return [finding for finding in judge(shown, answers).findings if finding.kind is kind]


def copy(parent: Mount, state: RootState = LIVE, identity: int = 12) -> Copy:
    return Copy(OTHER, layer(identity, parent.id), parent, SPOT, match_of(state))


def parent(**groups: int) -> Mount:
    return dataclasses.replace(host_root(id=11, shared=0), **groups)


def test_a_private_copy_of_a_live_mount_is_severed() -> None:
    (finding,) = found(picture(LIVE, copy(parent())), Kind.SEVERED)
    assert (finding.severity, finding.count, finding.first.namespace) == (Severity.INFO, 1, OTHER)
    assert finding.mountpoint == b"/var/lib/docker"


@pytest.mark.parametrize(
    ("groups"),
    [{"shared": 1}, {"master": 1}, {"master": 5, "propagate_from": 1}, {"shared": 9, "master": 1}],
)
def test_a_peer_or_slave_is_reached(groups: dict[str, int]) -> None:
    assert found(picture(LIVE, copy(parent(**groups))), Kind.SEVERED) == []


def test_a_chain_of_masters_is_followed_to_its_end() -> None:
    shown = picture(LIVE, copy(parent(master=5)))
    assert judge(shown, Answers()).questions == {PeerGroupQuestion(5)}
    assert found(shown, Kind.SEVERED, Answers(masters={PeerGroupQuestion(5): 1})) == [], "5 is a slave of home's group"
    assert len(found(shown, Kind.SEVERED, Answers(masters={PeerGroupQuestion(5): 0}))) == 1, "5 has no master"
    longer = Answers(masters={PeerGroupQuestion(5): 6, PeerGroupQuestion(6): 0})
    assert len(found(shown, Kind.SEVERED, longer)) == 1
    assert found(shown, Kind.SEVERED, Answers(masters={PeerGroupQuestion(5): None})) == [], "a gap accuses nobody"


def test_a_private_home_reaches_nobody() -> None:
    state = root_state(ROOT, table(host_root(shared=0), layer(2, 1)), HOME)
    assert len(found(picture(state, copy(parent(master=1), state)), Kind.SEVERED)) == 1


SAME = layer(2, 1)
"""One object in two tables, as where a mount of home is the same."""


@pytest.mark.parametrize(
    ("now", "count"),
    [
        pytest.param(table(host_root(), SAME), 1, id="as before"),
        pytest.param(table(host_root(), SAME, layer(3, 1, "Y", "0:41")), 1, id="another layer came"),
        pytest.param(table(host_root()), 0, id="unmounted at home"),
        pytest.param(table(host_root(), layer(2, 1, device="0:77")), 0, id="another mount on the spot"),
        pytest.param(table(host_root(shared=7), SAME), 0, id="below it is a mount that reaches it"),
    ],
)
def test_what_is_kept_of_a_namespace_s_copies_is_not_older_than_home(now: Table, count: int) -> None:
    """They are the same objects while it is not read again, whatever home mounts meanwhile."""
    before = table(host_root(), SAME)
    spaces = grouped([copy(parent(master=7), root_state(ROOT, before, HOME))])
    for home, expected in ((before, 1), (now, count), (before, 1)):
        shown = picture(root_state(ROOT, home, HOME)).by(spaces)
        assert len(found(shown, Kind.SEVERED, Answers(masters={PeerGroupQuestion(7): 0}))) == expected


def test_severed_is_one_finding_for_a_root_and_namespace() -> None:
    copies = (copy(parent()), copy(parent(), identity=13))
    (finding,) = found(picture(LIVE, *copies), Kind.SEVERED)
    assert finding.count == 2


def test_severed_is_one_for_each_namespace() -> None:
    """It is told with the settings that made that namespace, and ends with it."""
    there = copy(parent())
    both = found(picture(LIVE, there, dataclasses.replace(there, namespace=OTHER + 1)), Kind.SEVERED)
    assert [one.namespaces for one in both] == [(OTHER,), (OTHER + 1,)]
    assert len({one.id for one in both}) == 2


def test_a_layer_that_is_the_root_of_two_namespaces_is_one_orphan() -> None:
    there = own_root(match_of(EMPTY))
    namespaces = {inode: Namespace(inode, (7,)) for inode in (OTHER, OTHER + 1)}
    shown = picture(EMPTY, there, dataclasses.replace(there, namespace=OTHER + 1), namespaces=namespaces)
    (finding,) = found(shown, Kind.ORPHANED)
    assert (finding.namespaces, finding.count, finding.spaces) == ((OTHER, OTHER + 1), 2, 2)
    assert {copy.reach for copy in finding.copies} == {Reach.HOLDERS}


def test_severed_is_a_warning_where_the_engine_does_not_rmdir() -> None:
    root = dataclasses.replace(ROOT, rmdir_on_put=False)
    state = root_state(root, table(host_root(), layer(2, 1)), HOME)
    (finding,) = found(picture(state, copy(parent(), state)), Kind.SEVERED)
    assert finding.severity is Severity.WARNING


def test_what_home_does_not_have_is_not_severed() -> None:
    assert found(picture(EMPTY, copy(parent(), EMPTY)), Kind.SEVERED) == []


GONE = Gone(match_of(EMPTY), layer(2, 1), frozenset({2, 12}))


def test_what_somebody_holds_open_after_it_went_is_pinned() -> None:
    shown = picture(EMPTY, gone=(GONE,))
    want = UsersQuestion(frozenset({2, 12}))
    assert want in judge(shown, Answers()).questions
    assert found(shown, Kind.PINNED) == [], "not known yet"
    assert found(shown, Kind.PINNED, Answers(users={want: ()})) == []
    users = (Use(9, "tail", "fd 3"), Use(9, "tail", "cwd"), Use(8, "sh", "cwd"))
    (finding,) = found(shown, Kind.PINNED, Answers(users={want: users}))
    assert finding.holders == (Holder(8, "sh"), Holder(9, "tail"))
    assert (finding.first.reach, finding.namespaces, finding.count, finding.spaces) == (Reach.HOLDERS, (), 3, 0)


def own_root(history: Match | None) -> Copy:
    return Copy(OTHER, dataclasses.replace(layer(12, 0), point=b"/"), None, None, None, history=history)


def test_a_container_whose_layer_home_unmounted_is_orphaned() -> None:
    (finding,) = found(picture(EMPTY, own_root(match_of(EMPTY))), Kind.ORPHANED)
    assert (finding.evidence, finding.first.reach, finding.first.seen_at) == (Evidence.HISTORY, Reach.HOLDERS, b"/")


def test_a_container_whose_layer_home_has_or_never_had_is_not() -> None:
    assert found(picture(LIVE, own_root(match_of(LIVE))), Kind.ORPHANED) == []
    assert found(picture(EMPTY, own_root(None)), Kind.ORPHANED) == []


def test_a_namespace_that_no_process_is_in_is_no_orphan() -> None:
    """A file or descriptor keeps it: nothing lives on the layer, and there is nothing to end."""
    for namespaces in ({OTHER: Namespace(OTHER, ())}, {}):
        assert found(picture(EMPTY, own_root(match_of(EMPTY)), namespaces=namespaces), Kind.ORPHANED) == []


RECORDED = dataclasses.replace(ROOT, record=("/r",))


def claim() -> tuple[Picture, RecordQuestion]:
    state = root_state(RECORDED, table(host_root()), HOME)
    elsewhere = dataclasses.replace(layer(12, 11), point=b"/x")
    match = Spots([state]).claimed(elsewhere)
    assert match is not None
    assert (match.layer, match.mountpoint, match.spot) == (b"X", b"/var/lib/docker/overlay2/X/merged", SPOT)
    return picture(state, Copy(OTHER, elsewhere, parent(), Spot("8:1", b"/x"), claim=match)), RecordQuestion(match)


def test_a_claim_is_a_suspicion_only_where_the_record_knows_the_layer() -> None:
    shown, want = claim()
    (finding,) = found(shown, Kind.LEAKED, Answers(records={want: RecordState.UNMOUNTED}))
    assert (finding.severity, finding.evidence) == (Severity.INFO, Evidence.CLAIMED)
    for state in (RecordState.LIVE, RecordState.UNKNOWN):
        assert found(shown, Kind.LEAKED, Answers(records={want: state})) == []


def test_an_upperdir_outside_every_layout_claims_nothing() -> None:
    for upper in (b"upperdir=/srv/X/diff", b"upperdir=/var/lib/docker/X/diff", b"lowerdir=/var/lib/docker/overlay2/X"):
        assert Spots([EMPTY]).claimed(layer(12, 11, super_options=b"rw," + upper)) is None


def test_an_upperdir_is_searched_for_once_however_many_copies_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spots, asked = Spots([EMPTY]), list[bytes]()
    monkeypatch.setattr(Spots, "claimed_by", lambda _self, options: asked.append(options))
    for identity in range(12, 20):
        spots.claimed(layer(identity, 11, super_options=b"rw,upperdir=/srv/X/diff"))
    assert asked == [b"rw,upperdir=/srv/X/diff"]


HOST = Root(
    path=b"/",
    engine="host",
    kind=RootKind.VOLUME,
    layout=(Layout(b"**", None, MountClass.VOLUME, needs_history=True),),
    home=None,
)


def disk(identity: int, **other: object) -> Mount:
    held = mount(identity, 1, "/srv/data", device="7:0", fstype="ext4")
    return dataclasses.replace(held, **other)  # type: ignore[arg-type]


def test_a_block_device_is_guarded_wherever_home_mounts_it() -> None:
    inner = mount(3, 1, "/srv", device="0:30")
    state = root_state(HOST, table(host_root(), inner, disk(4, parent=3)), HOME)
    (spot,) = state.live
    assert spot == Spot("0:30", b"/data")
    assert state.matches[spot].mountpoint == b"/srv/data"


def test_other_file_systems_and_views_of_the_root_are_not() -> None:
    bind = mount(3, 1, "/srv/b", device="8:1", root=b"/home")
    assert root_state(HOST, table(host_root(), mount(2, 1, "/tmp"), bind), HOME).live == {}


def test_a_copy_of_an_unmounted_block_device_is_critical_with_a_history_only() -> None:
    state = root_state(HOST, table(host_root(), disk(2)), HOME)
    (match,) = state.matches.values()
    gone = root_state(HOST, table(host_root()), HOME)
    held = Copy(OTHER, disk(12), parent(), match.spot, history=match)
    (finding,) = found(picture(gone, held), Kind.LEAKED)
    assert (finding.severity, finding.detail) == (Severity.CRITICAL, "it keeps its block device busy")
    assert found(picture(gone, dataclasses.replace(held, history=None)), Kind.LEAKED) == []


def test_a_device_also_mounted_elsewhere_at_home_is_in_use() -> None:
    state = root_state(HOST, table(host_root(), disk(2)), HOME)
    (match,) = state.matches.values()
    moved = root_state(HOST, table(host_root()), HOME)
    held = Copy(OTHER, disk(12), parent(), match.spot, history=match)
    elsewhere = frozenset({("7:0", b"/sub")})
    assert found(picture(moved, held, home_identities=elsewhere), Kind.LEAKED) == []


def test_the_whole_host_s_root_is_not_told_to_be_private() -> None:
    state = root_state(HOST, table(host_root(shared=0)), HOME)
    assert found(picture(state), Kind.PRIVATE_ROOT) == []


def test_a_daemonless_engine_is_accused_only_by_its_record_or_by_what_was_seen() -> None:
    root = dataclasses.replace(RECORDED, daemonless=True)
    state = root_state(root, table(host_root()), HOME)
    held = Copy(OTHER, layer(12, 11), parent(), SPOT, match_of(state))
    want = RecordQuestion(match_of(state))
    assert found(picture(state, held), Kind.LEAKED) == []
    assert len(found(picture(state, held), Kind.LEAKED, Answers(records={want: RecordState.UNMOUNTED}))) == 1
    seen = dataclasses.replace(held, history=match_of(state))
    assert len(found(picture(state, seen), Kind.LEAKED)) == 1


@pytest.mark.parametrize(
    ("comms", "seconds"),
    [
        (["runc:[2:INIT]"], 30.0),
        (["runc:[1:CHILD]", "runc:[2:INIT]"], 30.0),
        (["crun"], 30.0),
        (["runc:[2:INIT]", "sleep"], 1.0),
        (["sleep"], 1.0),
        ([], 1.0),
    ],
)
def test_a_container_that_is_being_set_up_has_time(comms: list[str], seconds: float) -> None:
    state = root_state(ROOT, table(host_root()), HOME)
    (finding,) = found(picture(state, copy(parent(), state)), Kind.LEAKED)
    holders = tuple(Holder(number, comm) for number, comm in enumerate(comms))
    assert Confirm().needed(changed(finding, holders=holders)) == seconds
