"""statmount's answers, well made and hostile, and the difference of two lists of mount ids."""

from array import array

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mountwarden.kernel import abi
from mountwarden.kernel.abi import StatmountMask
from mountwarden.kernel.probe import FIELDS
from mountwarden.mounts import mountinfo
from mountwarden.observe.tiers import delta, listing
from mountwarden.observe.tiers.listing import MountLine, NotAsText, Vanished


def answer(
    *,
    mask: int = FIELDS,
    unique: int = 1 << 31,
    parent: int = 7,
    attributes: int = 0,
    propagation: int = abi.MS_PRIVATE,
    group: int = 0,
    master: int = 0,
    root: bytes = b"/",
    point: bytes = b"/mnt",
    fstype: bytes = b"tmpfs",
    subtype: bytes = b"",
    source: bytes = b"none",
    options: bytes = b"",
    super_flags: int = 0,
) -> bytes:
    """An answer as the kernel lays it out."""
    offsets, strings = [], b""
    for text in (options, fstype, root, point, subtype, source):
        offsets.append(len(strings))
        strings += text + b"\0"
    at_options, at_type, at_root, at_point, at_subtype, at_source = offsets
    head = (abi.STATMOUNT_STRINGS + len(strings), at_options, mask, 0, 41, 0, super_flags, at_type, unique, parent)
    body = (36, 35, attributes, propagation, group, master, 0, at_root, at_point, 0, at_subtype, at_source)
    return abi.STATMOUNT.pack(*head, *body).ljust(abi.STATMOUNT_STRINGS, b"\0") + strings


def text(data: bytes, masters: dict[int, int] | None = None) -> bytes:
    return listing.line(data, 1 << 31, masters or {}).text


def test_sizes_are_the_headers() -> None:
    assert abi.STATMOUNT.size == 128  # offsetof(struct statmount, opt_num)
    assert abi.FAN_METADATA.size == 24
    assert abi.FAN_INFO_MNT.size == 16


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ({}, b"36 35 0:41 / /mnt rw,relatime - tmpfs none rw"),
        ({"group": 5}, b"36 35 0:41 / /mnt rw,relatime shared:5 - tmpfs none rw"),
        ({"propagation": abi.MS_UNBINDABLE}, b"36 35 0:41 / /mnt rw,relatime unbindable - tmpfs none rw"),
        ({"attributes": 0x1 | 0x2 | 0x8 | 0x20}, b"36 35 0:41 / /mnt ro,nosuid,noexec - tmpfs none rw"),
        ({"attributes": 0x10 | 0x200000}, b"36 35 0:41 / /mnt rw,noatime,nosymfollow - tmpfs none rw"),
        ({"attributes": 0x80 | 0x100000}, b"36 35 0:41 / /mnt rw,nodiratime,relatime,idmapped - tmpfs none rw"),
        (
            {"super_flags": 0x1 | 0x10, "options": b"size=4k"},
            b"36 35 0:41 / /mnt rw,relatime - tmpfs none ro,sync,size=4k",
        ),
        ({"root": b"/a b", "point": b"/c\\d\n"}, rb"36 35 0:41 /a\040b /c\134d\012 rw,relatime - tmpfs none rw"),
        ({"fstype": b"fuse", "subtype": b"sshfs"}, b"36 35 0:41 / /mnt rw,relatime - fuse.sshfs none rw"),
        ({"mask": FIELDS & ~StatmountMask.SB_SOURCE}, b"36 35 0:41 / /mnt rw,relatime - tmpfs  rw"),
    ],
)
def test_an_answer_is_the_line_of_mountinfo(made: dict[str, object], wanted: bytes) -> None:
    assert text(answer(**made)) == wanted  # type: ignore[arg-type]


def test_a_master_is_told_only_where_no_propagate_from_can_follow() -> None:
    """statmount tells propagate_from by the caller's root, mountinfo by the namespace's."""
    slave = answer(master=5)
    assert b" master:5 - " in text(slave, {5: 0})
    for masters in ({}, {5: 4}, {4: 0}):
        with pytest.raises(NotAsText):
            text(slave, masters)


@pytest.mark.parametrize("lacking", [StatmountMask.SB_BASIC, StatmountMask.MNT_BASIC, StatmountMask.MNT_ROOT])
def test_a_field_is_read_only_if_its_bit_is_set(lacking: StatmountMask) -> None:
    with pytest.raises(NotAsText):
        text(answer(mask=FIELDS & ~lacking))
    if lacking is StatmountMask.MNT_BASIC:
        with pytest.raises(Vanished):
            listing.small_id(answer(mask=FIELDS & ~lacking))


def test_an_answer_for_another_mount_is_not_taken() -> None:
    with pytest.raises(NotAsText):
        text(answer(unique=9))


@given(st.binary(max_size=1200))
@example(answer()[: abi.STATMOUNT_STRINGS])
@example(answer()[: abi.STATMOUNT_STRINGS + 3])
@example(answer()[:64])
def test_any_bytes_are_a_line_or_no_text(data: bytes) -> None:
    masters = dict.fromkeys(range(10), 0)
    try:
        assert isinstance(listing.line(data, 1 << 31, masters), MountLine)
    except NotAsText:
        pass


@given(st.data())
def test_a_damaged_answer_never_breaks_the_reader(data: st.DataObject) -> None:
    good = bytearray(answer(options=b"size=4k", group=3))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(16, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(good[: data.draw(st.integers(0, len(good)))])
    try:
        line = listing.line(cut, 1 << 31, {})
    except NotAsText:
        return
    assert b"\n" not in line.text.rpartition(b" ")[0], "what is escaped in a text is escaped here"


paths = st.binary(min_size=1, max_size=30).filter(lambda path: b"\0" not in path)


@given(paths, paths, paths)
def test_what_is_escaped_comes_back(root: bytes, point: bytes, source: bytes) -> None:
    mount = mountinfo.parse_line(text(answer(root=b"/" + root, point=b"/" + point, source=source)))
    assert (mount.root, mount.point, mount.source) == (b"/" + root, b"/" + point, source)


ids = st.lists(st.integers(1, 60), unique=True).map(sorted)


@given(ids, ids)
def test_the_difference_of_two_lists_is_that_of_their_sets(old: list[int], new: list[int]) -> None:
    before, after = (array("Q", numbers).tobytes() for numbers in (old, new))
    assert delta.difference(before, after) == (set(old) - set(new), set(new) - set(old))
