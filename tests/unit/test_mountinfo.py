"""The parser of mountinfo: each odd line is a case with its reason."""

from dataclasses import replace

import pytest
from mountwarden.model import Layout
from mountwarden.mounts import mountinfo
from mountwarden.mounts.mountinfo import Lines, Unreadable, parse, parse_line
from mountwarden.mounts.roots import root_state
from mountwarden.mounts.table import Table, below, join

from tests.unit.pictures import HOME, ROOT

PLAIN = b"36 35 98:0 /mnt1 /mnt2 rw,noatime shared:7 master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue"


def test_every_field_of_the_manual_page_s_example() -> None:
    mount = parse_line(PLAIN)
    assert (mount.id, mount.parent, mount.device) == (36, 35, "98:0")
    assert (mount.root, mount.point, mount.options) == (b"/mnt1", b"/mnt2", b"rw,noatime")
    assert (mount.shared, mount.master, mount.propagate_from, mount.unbindable) == (7, 1, 2, False)
    assert (mount.fstype, mount.source, mount.super_options) == ("ext3", b"/dev/root", b"rw,errors=continue")
    assert mount.identity == ("98:0", b"/mnt1")


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        pytest.param(rb"1 1 0:1 / /a\040b rw - tmpfs x rw", "point", b"/a b", id="space"),
        pytest.param(rb"1 1 0:1 / /a\011b rw - tmpfs x rw", "point", b"/a\tb", id="tab"),
        pytest.param(rb"1 1 0:1 / /a\012b rw - tmpfs x rw", "point", b"/a\nb", id="newline"),
        pytest.param(rb"1 1 0:1 / /a\134040b rw - tmpfs x rw", "point", rb"/a\040b", id="a backslash before digits"),
        pytest.param(rb"1 1 0:1 /\040- /a rw - tmpfs x rw", "root", b"/ -", id="an escaped separator"),
        pytest.param(b"1 1 0:1 / /\xff\xfe rw - tmpfs x rw", "point", b"/\xff\xfe", id="no UTF-8"),
        pytest.param("1 1 0:1 / /日本 rw - tmpfs x rw".encode(), "point", "/日本".encode(), id="UTF-8"),
        pytest.param(b"1 1 0:1 / /a rw - tmpfs  rw", "source", b"", id="an empty source"),
        pytest.param(rb"1 1 0:1 / /a rw - tmpfs a\043b rw", "source", b"a#b", id="a source with a hash"),
        pytest.param(b"1 1 0:1 / /a rw - fuse.sshfs h:/ rw,user_id=0", "fstype", "fuse.sshfs", id="a subtype"),
        pytest.param(b"1 1 0:1 / /a rw future:3 - tmpfs x rw", "shared", 0, id="a tag of a newer kernel"),
        pytest.param(b"1 1 0:1 / /a rw unbindable - tmpfs x rw", "unbindable", True, id="unbindable"),
        pytest.param(b"1 1 0:1 / /a rw shared:2147483647 - tmpfs x rw", "shared", 2147483647, id="a large group"),
        pytest.param(b"1 1 0:4 net:[4026531840] /n rw - nsfs nsfs rw", "root", b"net:[4026531840]", id="nsfs"),
        pytest.param(b"1 1 0:1 / /a rw - x y a=1 b", "super_options", b"a=1 b", id="a bare space in the last field"),
        pytest.param(b"1 1 0:1 / /" + b"a" * 4094 + b" rw - t x rw", "point", b"/" + b"a" * 4094, id="4095 bytes"),
    ],
)
def test_an_odd_line(line: bytes, field: str, value: object) -> None:
    assert getattr(parse_line(line), field) == value


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "fewer fields than an id, a parent and a mount"),
        (b"1 1", "fewer fields than an id, a parent and a mount"),
        (b"x 1 0:1 / /a rw - tmpfs x rw", "the mount id or its parent is not a number"),
        (b"1 -1 0:1 / /a rw - tmpfs x rw", "the mount id or its parent is not a number"),
        (b"1 1 0:1 / /a rw tmpfs x rw", "no separator"),
        (b"1 1 01 / /a rw - tmpfs x rw", "the device is not major:minor"),
        (b"1 1 0:1 / /a - tmpfs x rw", "fewer fields than device, root, mount point and options"),
        (b"1 1 0:1 / /a rw shared:x - tmpfs x rw", "a peer group is not a number"),
        (b"1 1 0:1 / /a rw - tmpfs x", "fewer fields than type, source and super options"),
    ],
)
def test_an_unreadable_line_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        parse_line(line)


def test_unreadable_lines_are_counted_by_reason_and_cost_only_themselves() -> None:
    mounts, unreadable = parse(PLAIN + b"\nrubbish\n1 1\n\n" + PLAIN + b"\n")
    assert len(mounts) == 2
    assert unreadable == {"fewer fields than an id, a parent and a mount": 2}


def test_escape_is_the_inverse_of_unescape() -> None:
    path = b"/a b\tc\nd\\e\\040f\xff"
    assert mountinfo.escape(path) == rb"/a\040b\011c\012d\134e\134040f" + b"\xff"
    assert mountinfo.unescape(mountinfo.escape(path)) == path


@pytest.mark.parametrize(
    ("parent", "path", "rest"),
    [
        (b"/", b"/a/b", b"a/b"),
        (b"/", b"/", b""),
        (b"/a", b"/a", b""),
        (b"/a", b"/a/b", b"b"),
        (b"/a", b"/ab", None),
        (b"/a/b", b"/a", None),
        (b"/", b"net:[1]", None),
    ],
)
def test_below_goes_by_components(parent: bytes, path: bytes, rest: bytes | None) -> None:
    assert below(parent, path) == rest
    if rest is not None:
        assert join(parent, rest) == path


def line(identity: int, parent: int, point: str, device: str = "0:1", root: str = "/") -> bytes:
    return f"{identity} {parent} {device} {root} {point} rw - tmpfs x rw\n".encode()


STACK = (
    line(1, 0, "/", "8:1")
    + line(2, 1, "/a", "0:2", "/sub")
    + line(3, 2, "/a/b", "0:3")
    + line(4, 3, "/a/b", "0:4")  # an overmount of 3
    + line(5, 4, "/a/b/c", "0:5")
    + line(6, 1, "/ab", "0:6")
)


def test_a_spot_is_the_parent_s_directory_whatever_the_path() -> None:
    table = Table.from_text(STACK)
    third, fourth = table.get(3), table.get(4)
    assert third is not None
    assert fourth is not None
    spot = table.spot(third)
    assert spot is not None
    assert (spot.device, spot.path) == ("0:2", b"/sub/b")
    assert table.spot(fourth) is None, "an overmount is on no spot"


@pytest.mark.parametrize(
    ("path", "identity"),
    [(b"/", 1), (b"/a", 2), (b"/a/x", 2), (b"/a/b", 4), (b"/a/b/c/d", 5), (b"/ab/x", 6), (b"/abc", 1)],
)
def test_the_mount_that_a_walk_ends_on(path: bytes, identity: int) -> None:
    mount = Table.from_text(STACK).containing(path)
    assert mount is not None
    assert mount.id == identity


def test_a_covered_mount_is_not_visible() -> None:
    table = Table.from_text(STACK)
    visible = {mount.id for mount in table.mounts if table.visible(mount)}
    assert visible == {1, 2, 4, 5, 6}


CIRCLES = {
    "on each other": line(1, 0, "/") + line(2, 3, "/a") + line(3, 2, "/a") + line(4, 1, "/a"),
    "below each other": line(1, 0, "/") + line(2, 3, "/a") + line(3, 2, "/a/b") + line(4, 1, "/a"),
    "an id twice": line(1, 0, "/") + line(2, 1, "/a") + line(1, 2, "/a") + line(1, 0, "/"),
    "upwards": line(1, 0, "/") + line(2, 1, "/a") + line(2, 1, "/") + line(2, 2, "/"),
}


@pytest.mark.parametrize("name", CIRCLES)
@pytest.mark.timeout(5)
def test_a_text_that_was_torn_while_it_was_read_ends_every_walk(name: str) -> None:
    """Small ids are used again at once: between two reads of one text, a parent may become another mount."""
    table = Table.from_text(CIRCLES[name])
    for mount in table.mounts:
        assert table.top(mount).point == mount.point
        table.visible(mount)
    table.containing(b"/a/b/c")
    state = root_state(replace(ROOT, path=b"/a", layout=(Layout(b"*", None),)), table, HOME)
    assert len(state.live) <= len(table.mounts)


def test_a_deleted_mountpoint_is_on_no_spot() -> None:
    table = Table.from_text(line(1, 0, "/") + line(2, 1, "/a//deleted"))
    mount = table.get(2)
    assert mount is not None
    assert table.spot(mount) is None


def test_lines_are_found_without_parsing_each_once() -> None:
    found = list(Lines(STACK).holding([b" 0:4 ", b"/a/b ", b"nowhere"]))
    assert sorted(found) == sorted(STACK.splitlines()[2:4])
    assert Lines(STACK).by_id(1) == STACK.splitlines()[0]
    assert Lines(STACK).by_id(6) == STACK.splitlines()[5]
    assert Lines(STACK).by_id(7) is None
    assert Lines(b"12 1 x").by_id(2) is None, "an id is a whole field"
