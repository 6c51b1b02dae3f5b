"""What is left of a text after what home's umounts reach, where the text is not as a kernel writes it."""

import pytest
from mountwarden.mounts.mountinfo import Unreadable, parse_line
from mountwarden.mounts.roots import root_state
from mountwarden.observe.mount_lines import LinesInHand
from mountwarden.observe.tiers.live_at_home import LiveAtHome
from mountwarden.observe.tiers.needles import needles
from mountwarden.observe.tiers.prefilter import Common, Filtered, ReachedIds, filter_lines

from tests.unit.pictures import HOME, ROOT, host_root, layer, table

STATE = root_state(ROOT, table(host_root(), layer(20, 1)), HOME)
PARENT = b"50 49 8:1 / / rw master:1 - ext4 /dev/root rw\n"
COPY = b" 50 0:40 / /var/lib/docker/overlay2/X/merged rw master:7 - overlay overlay rw,lowerdir=l\n"


def filtered(text: bytes) -> Filtered:
    return filter_lines(LinesInHand(text), needles(ROOT.layout, ()), Common(LiveAtHome((STATE,))))


def test_a_copy_that_an_umount_at_home_reaches_is_a_reached_copy() -> None:
    told = filtered(PARENT + b"70" + COPY)
    assert (told.keys, told.smalls) == ([(b"0:40", b"/")], [b"70"])
    assert told.candidates == ()


def test_ids_are_found_by_what_they_are_copies_of() -> None:
    common = Common(LiveAtHome((STATE,)))
    copies = [PARENT + b"70" + COPY + b"71" + COPY, PARENT + b"80" + COPY, PARENT + b"90" + COPY, PARENT]
    reached = [ReachedIds(filter_lines(LinesInHand(text), needles(ROOT.layout, ()), common), common) for text in copies]
    told = [[one.ids(("0:40", b"/")) for one in reached] for _ in range(2)]
    assert told == [[(70, 71), (80,), (90,), ()]] * 2
    assert [one.ids(("0:41", b"/")) for one in reached] == [()] * 4
    assert len(common.places) == 3, "the second and the third share what they are copies of"


@pytest.mark.parametrize("identity", [b"7x", b"", b"\xff70", b"7" * 5000], ids=["7x", "none", "byte", "long"])
def test_one_whose_id_is_no_number_is_an_unreadable_line(identity: bytes) -> None:
    told = filtered(PARENT + identity + COPY)
    assert (told.keys, told.smalls, told.candidates) == ([], [], ())
    assert told.unreadable == (("the mount id or its parent is not a number", 1),)


@pytest.mark.parametrize("number", [b"7" * 5000, b"+1", b"1_0"], ids=["long", "sign", "underscore"])
def test_what_python_alone_takes_for_a_number_or_for_none(number: bytes) -> None:
    with pytest.raises(Unreadable):
        parse_line(b"36 " + number + b" 98:0 / /m rw - ext3 d rw")
    with pytest.raises(Unreadable):
        parse_line(b"36 35 98:0 / /m rw shared:" + number + b" - ext3 d rw")
