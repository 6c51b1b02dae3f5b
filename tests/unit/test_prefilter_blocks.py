"""The filter of a text that is longer than a block, of which no more is in hand at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden.model import Candidate, Layout, Mount, MountClass, RootState, Spot
from mountwarden.mounts import mountinfo
from mountwarden.mounts.roots import Spots, copies_elsewhere, identities, root_state
from mountwarden.mounts.table import spot_of
from mountwarden.observe import mount_lines
from mountwarden.observe.mount_lines import LinesInHand, OpenMountinfo, ReadingLimits
from mountwarden.observe.tiers import needles as searched
from mountwarden.observe.tiers.live_at_home import LiveAtHome, key_of
from mountwarden.observe.tiers.needles import needle, needles
from mountwarden.observe.tiers.prefilter import Common, Filtered, filter_lines
from mountwarden.observe.tiers.unique_ids import UniqueIds

from tests.unit.pictures import HOME, ROOT, host_root, layer, mount, table

LAYERED = replace(
    ROOT,
    layout=(
        Layout(b"overlay2/*/merged", "overlay"),
        Layout(b"containers/*/mounts/shm", "tmpfs"),
        Layout(b"p/*", None),
        Layout(b"p/*/*/v", None, MountClass.VOLUME),
    ),
)
SHM = "/var/lib/docker/containers/c1/mounts/shm"
AT_HOME = table(
    host_root(),
    layer(20, 1),
    layer(21, 1, "Y", "0:41"),
    mount(22, 23, SHM, device="0:50"),
    mount(23, 1, "/var/lib/docker/containers", device="8:2"),
)
STATE = root_state(LAYERED, AT_HOME, HOME)
WATCHED = ("0:99", b"/old")
NEEDLES = needles(LAYERED.layout, (WATCHED, *identities((STATE,))))


def common(state: RootState = STATE, *watched: tuple[str, bytes]) -> Common:
    return Common(LiveAtHome((state,)), frozenset(map(key_of, (WATCHED, *watched))))


@contextmanager
def opened(text: bytes, block: int, limits: ReadingLimits) -> Iterator[OpenMountinfo]:
    """The text, of which `block` bytes are in hand."""
    fd = os.memfd_create("mountinfo")
    try:
        os.write(fd, text)

        def rewound() -> int:
            os.lseek(fd, 0, os.SEEK_SET)
            return fd

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mount_lines, "BLOCK", block)
            patch.setattr(mount_lines, "_READ", 64)
            yield OpenMountinfo(rewound, limits)
    finally:
        os.close(fd)


def in_blocks(text: bytes, block: int = 300, limits: ReadingLimits | None = None, ids: bytes = b"") -> Filtered:
    with opened(text, block, limits or ReadingLimits()) as lines:
        return filter_lines(lines, NEEDLES, common(), UniqueIds(listing=ids))


def in_one(text: bytes) -> Filtered:
    return filter_lines(LinesInHand(text), NEEDLES, common())


def found(told: Filtered) -> tuple[object, ...]:
    """What must be the same however the text was handed out."""
    order = sorted(zip(told.smalls, told.keys, strict=True))
    candidates = sorted(told.candidates, key=lambda one: one.mount.id)
    return order, candidates, sorted(told.parents), told.mounts, sorted(told.unreadable)


TOP = b"50 49 8:1 / / rw master:1 - ext4 /dev/root rw\n"
PRIVATE = b"60 49 8:1 / / rw - ext4 /dev/root rw\n"
LONE = b"0:77 / /far rw - tmpfs t rw\n"


def over(identity: int, parent: int, name: bytes = b"X", device: bytes = b"0:40", tags: bytes = b"master:7 ") -> bytes:
    """An overlay on a spot of the root."""
    rest = b"/ /var/lib/docker/overlay2/%s/merged rw %s- overlay overlay rw,lowerdir=l\n" % (name, tags)
    return b"%d %d %s %s" % (identity, parent, device, rest)


def filler(count: int, start: int = 1000) -> bytes:
    return b"".join(b"%d 50 %s" % (number, LONE) for number in range(start, start + count))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TOP + filler(20) + over(70, 50), id="the parent in an earlier block"),
        pytest.param(over(70, 50) + filler(20) + TOP, id="the parent in a later block"),
        pytest.param(over(70, 50) + over(71, 60, b"Z") + filler(20) + TOP + PRIVATE, id="candidates before the parent"),
        pytest.param(over(70, 50) + filler(20), id="no parent"),
        pytest.param(
            TOP + over(70, 50) + filler(20) + over(71, 70, tags=b"") + filler(20, 2000), id="a stack over blocks"
        ),
        pytest.param(over(71, 70, tags=b"") + filler(20) + over(70, 50) + filler(9, 2000) + TOP, id="backwards"),
        pytest.param(TOP + b"x 50 " + over(1, 1)[4:] + filler(20) + over(72, 50), id="an id that is no number"),
        pytest.param(TOP + filler(20) + b"73 50\n74 50 0:1 / /a rw - overlay \n" + over(75, 50), id="unreadable"),
    ],
)
def test_many_blocks_give_what_one_gives(text: bytes) -> None:
    assert found(in_blocks(text)) == found(in_one(text))


def test_what_lies_under_a_candidate_is_found_in_another_block() -> None:
    told = in_blocks(TOP + over(70, 50) + filler(20) + over(71, 70, tags=b"") + filler(20, 2000))
    assert sorted(one.mount.id for one in told.candidates) == [70, 71]
    assert (told.keys, told.smalls) == ([], [])


PLACED = b"0:77 / /shown/q rw - nfs4 s:/x rw\n"
SHOWN = b"80 49 8:1 /var/lib/docker/p /shown rw - ext4 d rw\n"


@pytest.mark.parametrize("few", [0, 16])
@pytest.mark.parametrize("text", [SHOWN + filler(20) + b"70 80 " + PLACED, b"70 80 " + PLACED + filler(20) + SHOWN])
def test_what_only_its_place_tells_is_found_by_what_shows_it(
    text: bytes, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searched, "_FEW", few)
    for told in (in_blocks(TOP + text), in_one(TOP + text)):
        assert [one.mount.id for one in told.candidates] == [70]
        assert told.views == {b"50": (b" /var/lib/docker/p/",), b"80": (b" /shown/",)}


def test_a_directory_that_holds_no_place_shows_none() -> None:
    """As a container has files and directories of the host's own file system."""
    shown = [b"/var/lib/docker/p/q/r/v", b"/var/lib/docker/overlay2", b"/var/lib/docker/p/q/r/v/w", b"/var/lib/dock"]
    text = b"".join(b"%d 49 8:1 %s /shown rw - ext4 d rw\n" % (80 + at, root) for at, root in enumerate(shown))
    assert in_one(text).views == {}
    assert in_one(text.replace(b"overlay2", b"p/q/r")).views == {b"81": (b" /shown/v ",)}


def test_unique_ids_go_on_from_block_to_block() -> None:
    text = TOP + filler(20) + over(70, 60) + filler(20, 2000) + PRIVATE
    uniques = {int(line.split(b" ")[0]): 5000 + place for place, line in enumerate(text.splitlines())}
    listing = b"".join(number.to_bytes(8, "little") for number in uniques.values())
    with opened(text, 300, ReadingLimits()) as lines:
        ids = UniqueIds(listing=listing)
        told = filter_lines(lines, NEEDLES, common(), ids)
    (one,) = told.candidates
    assert one.mount.unique == uniques[70]
    assert (ids.lines, ids.ends) == (43, (b"50", b"60"))
    assert {int(small): unique for small, unique in ids.items()} == uniques


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"0:77 / /home/u/x/merged rw - overlay o rw,upperdir=/home/u/d\n", id="an overlay elsewhere"),
        pytest.param(b"0:77 / /home/u/mounts/shm rw - tmpfs t rw\n", id="a path that ends like a layer's"),
        pytest.param(b"8:1 /var/lib/docke /home/shm rw - ext4 d rw\n", id="of home's file system, on no spot"),
        pytest.param(b"0:77 / /var/lib/docker/a/b/merged rw - overlay o rw,upperdir=/var/lib/docker/a/b\n", id="below"),
        pytest.param(b"0:77 / /home/u/shm rw - tmpfs t rw,upperdir=/var/lib/docker/overlay2/Z/diff\n", id="no overlay"),
        pytest.param(b"0:77 / /var/lib/docker/containers/c9/mounts/shm rw - tmpfs o rw\n", id="hidden at home"),
    ],
)
def test_what_has_to_do_with_no_root_is_dropped_and_not_kept(rest: bytes) -> None:
    told = in_blocks(TOP + b"70 50 " + rest)
    assert (told.candidates, told.keys, told.mounts) == ((), [], 2)
    assert told.kept == len(TOP) - 1


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"0:40 / /home/u rw - overlay o rw\n", id="live at home, elsewhere"),
        pytest.param(b"0:99 /old /home/u rw - tmpfs o rw\n", id="watched, elsewhere"),
        pytest.param(b"0:77 / /home/u rw - overlay o rw,upperdir=/var/lib/docker/overlay2/Z/diff\n", id="a claim"),
        pytest.param(b"0:77 / /var/lib/docker/overlay2/Z/merged rw - overlay o rw\n", id="on a spot"),
    ],
)
def test_what_may_have_to_do_with_a_root_is_a_candidate(rest: bytes) -> None:
    assert [one.mount.id for one in in_blocks(TOP + b"70 50 " + rest).candidates] == [70]
    assert [one.mount.id for one in in_one(TOP + b"70 50 " + rest).candidates] == [70]


def test_a_spot_of_a_mount_below_the_root_is_one() -> None:
    """Home has a file system of its own on the directory in which layers are."""
    inner = table(host_root(), mount(30, 1, "/var/lib/docker/overlay2", device="8:3"))
    state = root_state(LAYERED, inner, HOME)
    text = b"80 49 8:3 / /elsewhere rw - ext4 d rw\n70 80 0:77 / /elsewhere/Q/merged rw - overlay o rw\n"
    told = filter_lines(LinesInHand(text), NEEDLES, common(state))
    assert [one.mount.id for one in told.candidates] == [70]


def test_what_is_of_no_interest_is_judged_once_for_all_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may have hundreds of overlays that are on no spot, each in hundreds of namespaces."""
    asked: list[Spot] = []
    monkeypatch.setattr(Spots, "has", lambda _self, spot: asked.append(spot))
    shared = common()
    for number in range(70, 75):
        below = b"%d 50 0:77 / /var/lib/docker/a/b/merged rw - overlay o rw,upperdir=/var/lib/docker/a/b\n" % number
        assert filter_lines(LinesInHand(TOP + below), NEEDLES, shared).candidates == ()
    assert asked == [Spot("8:1", b"/var/lib/docker/a/b/merged")]


def test_a_mount_of_the_same_over_another_is_one() -> None:
    """A stack, of which the judge must know how deep it is."""
    text = PRIVATE + over(70, 60, b"gone", b"0:88", b"") + over(71, 70, b"gone", b"0:88", b"")
    assert [one.mount.id for one in in_blocks(text, 100).candidates] == [70, 71]


def test_what_is_kept_has_a_limit() -> None:
    text = PRIVATE + b"".join(over(number, 60) for number in range(70, 90))
    kept = in_blocks(text).kept
    assert kept == in_one(text).kept > 20 * 60
    assert len(in_blocks(text, limits=ReadingLimits(kept=kept)).candidates) == 20
    with pytest.raises(OSError, match="too large"):
        in_blocks(text, limits=ReadingLimits(kept=kept - 1))
    with pytest.raises(OSError, match="too large"):
        filter_lines(LinesInHand(text, limits=ReadingLimits(kept=kept - 1)), NEEDLES, common())


def test_no_more_is_kept_for_other_namespaces_than_there_is_room() -> None:
    text = PRIVATE + b"".join(over(number, 60, b"n%d" % number) for number in range(70, 90))
    shared, narrow = common(), common()
    narrow.room = 300
    results = [filter_lines(LinesInHand(text), NEEDLES, one) for one in (shared, narrow)]
    assert found(results[0]) == found(results[1])
    sizes = [
        sum(map(len, one.rests)) + sum(len(rest) for c in one.copy_of.values() for rest in c)
        for one in (shared, narrow)
    ]
    assert sizes[0] > 20 * 2 * 60
    assert sizes[1] <= 300


def test_a_line_that_was_cut_is_told_of() -> None:
    told = in_blocks(TOP + filler(20) + over(70, 50, b"n" * 500, b"0:77") + over(71, 50))
    assert told.unreadable == ((mount_lines.TOO_LONG, 1),)
    assert (told.mounts, told.smalls) == (23, [b"71"])


@pytest.mark.parametrize("before", [0, 20])
@pytest.mark.parametrize(
    ("line", "binds"),
    [
        (b"70 50 8:1 /var/lib/docker/overlay2 /shown rw - ext4 d rw\n", True),
        (b"70 50 8:1 /var/lib/docker /shown rw - ext4 d rw\n", False),
        (b"70 50 8:2 /x /shown rw - ext4 d rw\n", True),
        (b"70 50 8:1 /var/lib/dockers/x /shown rw - ext4 d rw\n", False),
        (b"70 50 0:1 /var/lib/docker/overlay2 /shown rw - tmpfs d rw\n", False),
    ],
)
def test_whether_a_part_of_a_root_is_mounted_elsewhere(line: bytes, before: int, *, binds: bool) -> None:
    """It is looked for where there is much to read; else it may be."""
    assert in_blocks(TOP + filler(before) + line + filler(20, 2000)).binds == binds
    assert in_one(TOP + line).binds


DEVICES = (b"0:40", b"0:41", b"0:50", b"0:99", b"0:77", b"8:1", b"8:2")
ROOTS = (b"/", b"/old", b"/var/lib/docker", b"/var/lib/docker/overlay2", b"/var/lib/docker/p", b"/var/lib/docker/p/q")
PLACES = (
    b"overlay2/X/merged",
    b"overlay2/Z/merged",
    b"containers/c1/mounts/shm",
    b"overlay2",
    b"p",
    b"p/q",
    b"p/q/r",
    b"p/q/r/v",
)
UPPERS = (b"", b",upperdir=/var/lib/docker/overlay2/Z/diff", b",upperdir=/home/u")
POINTS = (
    *(b"/var/lib/docker/" + place for place in PLACES),
    b"/",
    b"/other",
    b"/other/q",
    b"/other/p/q",
    b"/other/r/v",
    b"/home/u/mounts/shm",
)


@st.composite
def namespaces(draw: st.DrawFn) -> bytes:
    """Mounts of a namespace that are near to what the filter decides by."""
    lines = [b"1 0 8:1 / / rw %s- ext4 d rw" % draw(st.sampled_from((b"", b"master:1 ", b"shared:1 ", b"shared:9 ")))]
    for identity in range(2, draw(st.integers(2, 14))):
        device, root, point, upper = (draw(st.sampled_from(one)) for one in (DEVICES, ROOTS, POINTS, UPPERS))
        tags = draw(st.sampled_from((b"", b"master:7 ", b"shared:5 master:1 ", b"master:9 propagate_from:1 ")))
        fstype = draw(st.sampled_from((b"overlay", b"tmpfs", b"ext4")))
        parent = draw(st.integers(1, identity - 1))
        lines.append(b"%d %d %s %s %s rw %s- %s s rw%s" % (identity, parent, device, root, point, tags, fstype, upper))
    return b"".join(line + b"\n" for line in draw(st.permutations(lines)))


@pytest.mark.parametrize("few", [0, 16])
@given(text=namespaces(), block=st.sampled_from((170, 400, 1 << 20)))
def test_nothing_is_dropped_that_the_judge_would_look_at(text: bytes, block: int, few: int) -> None:
    """All lines parsed, with nothing left out before, are what the filter is measured against; none is cut."""
    mounts = {one.id: one for one in mountinfo.parse(text)[0]}
    known = [Candidate(one, mounts.get(one.parent), spot_of(one, mounts.get(one.parent))) for one in mounts.values()]
    spots = Spots((STATE,))
    places = [one.spot and spots.match(one.spot) for one in known]
    needed = [
        one
        for one, match in zip(known, places, strict=True)
        if NEEDLES.has(line_of(text, one.mount.id)) or (match and needle(match.layout) is None)
    ]
    watched = identities((STATE,)) | {WATCHED}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searched, "_FEW", few)
        told = in_blocks(text, block)

    def copies(candidates: list[Candidate]) -> dict[int, object]:
        return {copy.mount.id: copy for copy in copies_elsewhere(1, candidates, spots, watched)}

    expected, every, actual = copies(needed), copies(known), copies(list(told.candidates))
    reached = {int(small): key for small, key in zip(told.smalls, told.keys, strict=True)}
    assert expected.keys() <= actual.keys() | reached.keys()
    assert {identity: every[identity] for identity in actual} == actual
    assert not actual.keys() & reached.keys()
    for identity, key in reached.items():
        assert key_of(mounts[identity].identity) == key
        assert is_reached(mounts[identity].parent, identity, mounts)


def is_reached(parent: int, identity: int, mounts: dict[int, Mount]) -> bool:
    """Whether home has the same mounted on that spot, by a mount in a peer group that the parent's gets events of."""
    under, one = mounts[parent], mounts[identity]
    spot = spot_of(one, under)
    groups = {under.shared, under.master, under.propagate_from} - {0}
    live = STATE.live.get(spot, ()) if spot else ()
    return any(home.identity == one.identity and STATE.parents[home.id].shared in groups for home in live)


def line_of(text: bytes, identity: int) -> bytes:
    return next(line for line in text.split(b"\n") if line.startswith(b"%d " % identity))
