"""What is left of a text beside what home's umounts reach, where the text is not as a kernel writes it."""

import pytest
from mountwarden.inventory import root_state
from mountwarden.observe.mountinfo import Unreadable, parse_line
from mountwarden.observe.sift import Common, Settled, Sifted, sift
from mountwarden.observe.text import needles

from tests.unit.facts import HOME, ROOT, host_root, layer, table

STATE = root_state(ROOT, table(host_root(), layer(20, 1)), HOME)
PARENT = b"50 49 8:1 / / rw master:1 - ext4 /dev/root rw\n"
COPY = b" 50 0:40 / /var/lib/docker/overlay2/X/merged rw master:7 - overlay overlay rw,lowerdir=l\n"


def sifted(text: bytes) -> Sifted:
    return sift(text, needles(ROOT.layout, ()), Common(Settled((STATE,))))


def test_a_copy_that_an_umount_at_home_reaches_is_settled() -> None:
    told = sifted(PARENT + b"70" + COPY)
    assert list(told.settled.values()) == [[b"70"]]
    assert told.candidates == ()


@pytest.mark.parametrize("identity", [b"7x", b"", b"\xff70", b"7" * 5000], ids=["7x", "none", "byte", "long"])
def test_one_whose_id_is_no_number_is_an_unreadable_line(identity: bytes) -> None:
    told = sifted(PARENT + identity + COPY)
    assert (told.settled, told.candidates) == ({}, ())
    assert told.unreadable == (("the mount id or its parent is not a number", 1),)


@pytest.mark.parametrize("number", [b"7" * 5000, b"+1", b"1_0"], ids=["long", "sign", "underscore"])
def test_what_python_alone_takes_for_a_number_or_for_none(number: bytes) -> None:
    with pytest.raises(Unreadable):
        parse_line(b"36 " + number + b" 98:0 / /m rw - ext3 d rw")
    with pytest.raises(Unreadable):
        parse_line(b"36 35 98:0 / /m rw shared:" + number + b" - ext3 d rw")
