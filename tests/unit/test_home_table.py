"""Home's table: what a user can mount there by FUSE takes no more of it than a mount does."""

from dataclasses import replace

import pytest
from mountwarden.model import Mount
from mountwarden.mounts import mountinfo
from mountwarden.observe.mount_lines import TOO_LONG, LinesInHand
from mountwarden.observe.tiers.home_table import home_table
from mountwarden.observe.tiers.unique_ids import UniqueIds

ROOTS = (b"/var/lib/docker", b"/srv/with space")
LINE = b"70 50 0:77 /sub %s rw,nosuid shared:5 master:1 - %s source rw,user_id=1000"


def read(line: bytes, paths: tuple[bytes, ...] = ROOTS) -> Mount:
    (one,) = home_table(LinesInHand(line + b"\n"), paths).mounts
    return one


@pytest.mark.parametrize("fstype", [b"fuse", b"fuse.sshfs", b"fuse."])
@pytest.mark.parametrize(
    "point",
    [b"/home/u/mnt", b"/var/lib/dockers", b"/var/lib/dock", b"/va", b"/srv/with", rb"/srv/with\040spaces"],
)
def test_a_fuse_mount_off_the_way_has_an_empty_point_and_its_identity(point: bytes, fstype: bytes) -> None:
    line = LINE % (point, fstype)
    whole, short = mountinfo.parse_line(line), read(line)
    assert short == replace(
        whole, point=b"", source=b"", super_options=b"rw", shared=0, master=0, fstype=fstype.decode()
    )
    assert short.identity == ("0:77", b"/sub")


@pytest.mark.parametrize(
    "point",
    [
        b"/",
        b"/var",
        b"/var/lib",
        b"/var/lib/docker",
        b"/var/lib/docker/overlay2/X/merged",
        b"/srv",
        rb"/srv/with\040space",
        rb"/srv/with\040space/x",
    ],
)
def test_one_on_the_way_to_a_root_or_below_it_is_kept_as_it_is(point: bytes) -> None:
    line = LINE % (point, b"fuse.sshfs")
    assert read(line) == mountinfo.parse_line(line)


def test_where_the_root_is_the_whole_host_each_is_kept() -> None:
    line = LINE % (b"/home/u/mnt", b"fuse")
    assert read(line, (b"/",)) == mountinfo.parse_line(line)


@pytest.mark.parametrize("fstype", [b"fuseblk", b"fusectl", b"ext4", b"overlay"])
def test_what_only_root_can_mount_is_kept_as_it_is(fstype: bytes) -> None:
    line = LINE % (b"/home/u/mnt", fstype)
    assert read(line) == mountinfo.parse_line(line)


@pytest.mark.parametrize("line", [b"7 5 0:1 / /a - fuse", b"x 5 0:7 / /a rw - fuse x rw"])
def test_one_that_is_unreadable_is_counted(line: bytes) -> None:
    told = home_table(LinesInHand(line + b"\n"), ROOTS)
    assert told.mounts == ()
    assert sum(told.unreadable.values()) == 1


def test_no_path_leads_to_a_shortened_one() -> None:
    text = b"50 1 8:1 / / rw - ext4 d rw\n" + LINE % (b"/home/u", b"fuse") + b"\n"
    told = home_table(LinesInHand(text), ROOTS)
    assert [told.containing(path) for path in (ROOTS[0], b"/home/u", b"/")] == [told.get(50)] * 3


def test_lines_that_were_cut_are_counted() -> None:
    assert home_table(LinesInHand(b"", too_long=3), ROOTS).unreadable == {TOO_LONG: 3}


def test_a_shortened_mount_has_its_unique_id_and_stands_in_its_place() -> None:
    text = b"".join(LINE.replace(b"70", b"%d" % number) % (b"/home", b"fuse") + b"\n" for number in (70, 71, 72))
    listing = b"".join(number.to_bytes(8, "little") for number in (900, 901, 902))
    told = home_table(LinesInHand(text), ROOTS, UniqueIds(listing=listing))
    assert [(one.id, one.unique, one.parent) for one in told.mounts] == [(70, 900, 50), (71, 901, 50), (72, 902, 50)]
