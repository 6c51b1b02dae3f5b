"""Archives that want out, or up, or in too deep: nothing outside the layer changes, and the error says why."""

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from mountwarden.graphdriver.beneath import RootDirectory
from mountwarden.graphdriver.driver import GraphdriverError
from mountwarden.graphdriver.tar.extract import Devices, Options, apply_layer

from tests.kernel.graphdriver import tars

OUTSIDE = Path("/mnt/outside")
LAYER = Path("/mnt/layer")


@pytest.fixture(params=["openat2", "walk"], autouse=True)
def lookup(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def prepare(lookup: str) -> dict[str, str]:
    """The layer, and beside it a directory that must stay as it is."""
    RootDirectory.openat2_works = lookup == "openat2"
    LAYER.mkdir()
    OUTSIDE.mkdir()
    (OUTSIDE / "secret").write_text("secret")
    (OUTSIDE / "dir").mkdir()
    (OUTSIDE / "dir/inner").write_text("inner")
    return tars.tree(str(OUTSIDE))


def apply(*entries: tars.Entry, options: Options | None = None) -> int:
    return apply_layer(bytes(LAYER), tars.tar(*entries), options)


def refused(lookup: str, what: str, *entries: tars.Entry) -> None:
    before = prepare(lookup)
    with pytest.raises(GraphdriverError, match=what):
        apply(*entries)
    assert tars.tree(str(OUTSIDE)) == before
    assert sorted(os.listdir("/mnt")) == ["layer", "outside"]


@pytest.mark.parametrize("name", ["../outside/secret", "a/../../outside/x", "..", "/../x", "./../../x"])
def test_dots_in_a_name(lookup: str, name: str) -> None:
    refused(lookup, "leads out of the layer", (name, b"evil"))


def test_a_name_with_dots_that_stays_inside_is_taken(lookup: str) -> None:
    prepare(lookup)
    apply(("./a/../b/./c", b"1"))
    assert tars.contents(str(LAYER)) == {"b/c": b"1"}


def test_an_absolute_name_is_meant_from_the_layers_root(lookup: str) -> None:
    before = prepare(lookup)
    apply(("/mnt/outside/secret", b"evil"), ("//etc/passwd", b"x"))
    assert tars.tree(str(OUTSIDE)) == before
    assert tars.contents(str(LAYER)) == {"mnt/outside/secret": b"evil", "etc/passwd": b"x"}


def test_through_a_link_that_climbs(lookup: str) -> None:
    refused(lookup, "leads out of the layer", tars.symlink("link", "../outside"), ("link/secret", b"evil"))


def test_through_a_chain_of_links_that_climbs(lookup: str) -> None:
    refused(
        lookup, "leads out of the layer",
        tars.directory("a"), tars.symlink("a/b", ".."), tars.symlink("c", "a/b/.."), ("c/outside/secret", b"evil"),
    )  # fmt: skip


def test_through_an_absolute_link_lands_inside(lookup: str) -> None:
    before = prepare(lookup)
    apply(tars.directory("mnt/outside"), tars.symlink("link", "/mnt/outside"), ("link/secret", b"evil"))
    assert tars.tree(str(OUTSIDE)) == before
    assert (LAYER / "mnt/outside/secret").read_bytes() == b"evil"


def test_through_an_absolute_link_to_what_only_the_host_has(lookup: str) -> None:
    refused(lookup, "link to nothing", tars.symlink("link", "/mnt/outside"), ("link/secret", b"evil"))


def test_through_a_loop_of_links(lookup: str) -> None:
    refused(lookup, "symbolic links", tars.symlink("a", "b"), tars.symlink("b", "a"), ("a/x", b""))


def test_a_link_is_replaced_not_followed(lookup: str) -> None:
    before = prepare(lookup)
    apply(tars.symlink("link", "/mnt/outside/secret"), ("link", b"evil"))
    assert tars.tree(str(OUTSIDE)) == before
    assert stat.S_ISREG((LAYER / "link").lstat().st_mode)


def test_a_directory_over_a_link_is_a_directory(lookup: str) -> None:
    before = prepare(lookup)
    apply(tars.symlink("link", "../outside"), tars.directory("link", mode=0o777), ("link/secret", b"evil"))
    assert tars.tree(str(OUTSIDE)) == before
    assert (LAYER / "link/secret").read_bytes() == b"evil"


def test_a_remembered_directory_that_becomes_a_link(lookup: str) -> None:
    """The second name goes through the link, not through the directory that was open."""
    refused(
        lookup, "leads out of the layer",
        tars.directory("d"), ("d/one", b""), tars.symlink("d", "../outside"), ("d/secret", b"evil"),
    )  # fmt: skip


def test_a_remembered_link_that_becomes_a_directory(lookup: str) -> None:
    prepare(lookup)
    apply(tars.directory("d"), tars.symlink("l", "d"), ("l/one", b""), tars.directory("l"), ("l/two", b""))
    assert set(tars.contents(str(LAYER))) == {"d/one", "l/two"}


@pytest.mark.parametrize("target", ["../outside/secret", "/../outside/secret", "link/../../outside/secret"])
def test_a_hard_link_to_outside(lookup: str, target: str) -> None:
    refused(lookup, "leads out of the layer", tars.hardlink("hard", target))


def test_a_hard_link_through_a_link_that_climbs(lookup: str) -> None:
    refused(lookup, "leads out of the layer", tars.symlink("l", "../outside"), tars.hardlink("hard", "l/secret"))


def test_a_hard_link_to_an_absolute_path_is_meant_inside(lookup: str) -> None:
    refused(lookup, "cannot apply the hard link", tars.hardlink("hard", "/mnt/outside/secret"))


def test_a_hard_link_to_a_link_does_not_follow_it(lookup: str) -> None:
    before = prepare(lookup)
    apply(tars.symlink("l", "/mnt/outside/secret"), tars.hardlink("hard", "l"), ("hard", b"evil"))
    assert tars.tree(str(OUTSIDE)) == before
    assert os.readlink(LAYER / "l") == "/mnt/outside/secret"


def test_a_hard_link_does_not_set_its_targets_mode(lookup: str) -> None:
    """The target may be a file of the image below, which shares its inode."""
    prepare(lookup)
    apply(("file", b"1"))
    apply(tars.hardlink("hard", "file", mode=0o4777, uid=5))
    assert (LAYER / "file").stat().st_mode & 0o7777 == 0o644
    assert (LAYER / "file").stat().st_uid == 0


def test_a_file_over_a_hard_link_is_a_new_file(lookup: str) -> None:
    prepare(lookup)
    os.link(OUTSIDE / "secret", LAYER / "shared")
    apply(("shared", b"evil"))
    assert (OUTSIDE / "secret").read_text() == "secret"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("../.wh.outside", "leads out of the layer"),
        (".wh...", "whiteout of no name"),
        ("a/.wh...", "whiteout of no name"),
        (".wh..", "whiteout of no name"),
        (".wh.", "whiteout of no name"),
        ("link/.wh.secret", "leads out of the layer"),
        ("link/.wh..wh..opq", "leads out of the layer"),
    ],
)
def test_a_whiteout_of_what_is_outside(lookup: str, name: str, what: str) -> None:
    refused(lookup, what, tars.directory("a"), tars.symlink("link", "../outside"), (name, b""))


def test_a_whiteout_of_a_link_takes_the_link(lookup: str) -> None:
    before = prepare(lookup)
    os.symlink("/mnt/outside", LAYER / "link")
    os.symlink("/mnt/outside/dir", LAYER / "dir")
    apply((".wh.link", b""), (".wh.dir", b""))
    assert tars.tree(str(OUTSIDE)) == before
    assert os.listdir(LAYER) == []


def test_an_opaque_directory_does_not_empty_a_links_target(lookup: str) -> None:
    before = prepare(lookup)
    (LAYER / "d").mkdir()
    os.symlink("/mnt/outside", LAYER / "d/link")
    apply(("d/.wh..wh..opq", b""))
    assert tars.tree(str(OUTSIDE)) == before
    assert os.listdir(LAYER / "d") == []


def test_another_mount_inside_the_layer_is_not_entered(lookup: str) -> None:
    from mountwarden.kernel import syscalls

    before = prepare(lookup)
    (LAYER / "mnt").mkdir()
    syscalls.mount(b"tmpfs", bytes(LAYER / "mnt"), b"tmpfs")
    with pytest.raises(GraphdriverError, match=r"another file system|link"):
        apply(("mnt/x", b"evil"))
    assert os.listdir(LAYER / "mnt") == []
    assert tars.tree(str(OUTSIDE)) == before


DEVICE = tars.entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)


def test_device_nodes_by_policy(lookup: str) -> None:
    prepare(lookup)
    apply(DEVICE, tars.entry("disk", tarfile.BLKTYPE, devmajor=7, devminor=1, mode=0o600, uid=3, gid=4))
    assert tars.tree(str(LAYER)) == {"disk": "brw------- 3:4 7:1", "null": "crw-rw-rw- 0:0 1:3"}
    apply((".wh.null", b""), (".wh.disk", b""))
    apply(DEVICE, options=Options(devices=Devices.SKIP))
    assert os.listdir(LAYER) == []
    with pytest.raises(GraphdriverError, match=r"'null' is a character device, and devices are refused"):
        apply(DEVICE, options=Options(devices=Devices.REFUSE))


def test_overlayfss_own_whiteout_as_a_device(lookup: str) -> None:
    refused(lookup, "overlayfs's own whiteout", tars.entry("w", tarfile.CHRTYPE, devmajor=0, devminor=0))


def test_what_overlayfs_keeps_for_itself_is_not_set(lookup: str) -> None:
    prepare(lookup)
    apply(tars.directory("d", xattrs={"trusted.overlay.opaque": b"y", "security.selinux": b"x", "user.fine": b"1"}))
    assert "trusted.overlay.opaque" not in os.listxattr(LAYER / "d")
    assert os.getxattr(LAYER / "d", "user.fine") == b"1"


@pytest.mark.parametrize("where", [700, 1100, 5000, 20_000, -1, -1024])
def test_a_truncated_stream(lookup: str, where: int) -> None:
    data = tars.tar(("a", b"1" * 10_000), ("b", b"2" * 10_000)).getvalue().rstrip(b"\0")
    refused_bytes(lookup, r"ends (in the middle|after)", data[:where])


def refused_bytes(lookup: str, what: str, data: bytes) -> None:
    before = prepare(lookup)
    with pytest.raises(GraphdriverError, match=what):
        apply_layer(bytes(LAYER), io.BytesIO(data))
    assert tars.tree(str(OUTSIDE)) == before


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 512, b"PK\3\4" + b"y" * 2000])
def test_what_is_no_tar(lookup: str, data: bytes) -> None:
    refused_bytes(lookup, r"no tar|middle of a header", data)


def test_a_broken_header_in_the_middle_is_not_the_end(lookup: str) -> None:
    data = bytearray(tars.tar(("a", b"1"), ("b", b"2")).getvalue())
    data[1024 + 148] ^= 1
    refused_bytes(lookup, "no tar header at byte 1024", bytes(data))


def test_limits(lookup: str) -> None:
    prepare(lookup)
    with pytest.raises(GraphdriverError, match="more than 2 members"):
        apply(*tars.many(5), options=Options(maximum_members=2))
    with pytest.raises(GraphdriverError, match="holds more than 1000 bytes"):
        apply(("a", b"x" * 600), ("b", b"x" * 600), options=Options(maximum_bytes=1000))
    assert not (LAYER / "b").exists()


def pax(record: bytes, size: int | None = None) -> bytes:
    """An extended header with that data, and a file after it."""
    info = tars.entry("pax", tarfile.XHDTYPE)
    info.size = len(record) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + record.ljust(512, b"\0") + tars.tar(("f", b"x")).getvalue()


Case = tuple[bytes, str]
HEADERS: dict[str, Case] = {
    "huge": (pax(b"", 1 << 40), "too big"),
    "no length": (pax(b"path=x\n"), "broken record"),
    "long length": (pax(b"99 path=x\n"), "broken record"),
    "no newline": (pax(b"9 path=xy"), "broken record"),
    "negative size": (pax(b"12 size=-100\n"[:12] + b"\n"), "broken record|size"),
    "size not a number": (pax(b"13 size=many\n"), "as size"),
    "uid out of range": (pax(b"18 uid=4294967295\n"), "impossible uid"),
    "NUL in path": (pax(b"15 path=a\0/../\n"), "NUL byte"),
    "time not a number": (pax(b"14 mtime=soon\n"), "as a time"),
    "sparse without size": (pax(b"22 GNU.sparse.map=0,1\n"), "does not say its size"),
    "sparse out of order": (pax(b"26 GNU.sparse.map=5,1,0,1\n" + b"22 GNU.sparse.size=10\n"), "out of order"),
    "sparse odd": (pax(b"24 GNU.sparse.map=0,1,2\n" + b"22 GNU.sparse.size=10\n"), "without a size"),
    "sparse too long": (pax(b"22 GNU.sparse.map=0,9\n" + b"21 GNU.sparse.size=4\n"), "leaves its file"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_extended_header(lookup: str, name: str) -> None:
    data, what = HEADERS[name]
    refused_bytes(lookup, what, data)


def test_a_name_deeper_than_a_path_may_be(lookup: str) -> None:
    refused(lookup, "longer than a path may be", ("d/" * 2500 + "f", b""))


@pytest.mark.parametrize("depth", [900, pytest.param(3000, marks=pytest.mark.long)])
def test_a_tree_deeper_than_a_path_may_be_can_be_removed(lookup: str, depth: int) -> None:
    prepare(lookup)
    fd = os.open(LAYER, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(b"deep", dir_fd=fd)
        below = os.open(b"deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    apply((".wh.deep", b""))
    assert os.listdir(LAYER) == []


def test_a_sparse_file_of_8_eib_takes_no_room(lookup: str) -> None:
    """tmpfs takes no file of that size at all; the kernel's words are passed on."""
    info = tars.entry("huge")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.map": "", "GNU.sparse.size": str(2**63 - 1)}
    prepare(lookup)
    before = os.statvfs(LAYER).f_bfree
    with pytest.raises(GraphdriverError, match=r"holds more than 1048576 bytes"):
        apply(info, options=Options(maximum_bytes=1 << 20))
    (LAYER / "huge").unlink(missing_ok=True)
    apply(info)
    assert (LAYER / "huge").stat().st_size == 2**63 - 1
    assert before - os.statvfs(LAYER).f_bfree < 10


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.REGTYPE, tarfile.FIFOTYPE])
def test_the_root_stays_a_directory(lookup: str, kind: bytes) -> None:
    refused(lookup, "layer's root would become", tars.entry(".", kind, linkname="/x"))


def test_an_unknown_type(lookup: str) -> None:
    refused(lookup, "unknown type", tars.entry("x", b"Z"))


def test_random_damage_harms_nothing(lookup: str) -> None:
    """Single bytes changed all over an archive with everything in it: an error, or a layer; never more."""
    before = prepare(lookup)
    data = bytearray(
        tars.tar(
            tars.directory("d"),
            ("d/f", b"1" * 700),
            tars.symlink("d/l", "../outside"),
            tars.hardlink("d/h", "d/f"),
            ("d/.wh.x", b""),
            tars.entry("x" * 150, xattrs={"user.a": b"\xff\0"}),
        ).getvalue()
    )
    outcomes: set[type | None] = set()
    for position in range(0, len(data) - 1024, 13):
        damaged = bytes(data[:position]) + bytes([data[position] ^ 0x2F]) + bytes(data[position + 1 :])
        outcomes.add(_outcome(lambda d=damaged: apply_layer(bytes(LAYER), io.BytesIO(d))))  # type: ignore[misc]
    assert outcomes <= {None, GraphdriverError}
    assert None in outcomes
    assert tars.tree(str(OUTSIDE)) == before


def _outcome(call: Callable[[], object]) -> type | None:
    try:
        call()
    except GraphdriverError:
        return GraphdriverError
    return None
