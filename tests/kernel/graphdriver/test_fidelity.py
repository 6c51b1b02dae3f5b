"""What an archive says about a file, the file has; what a file has, the archive says. GNU tar judges where it can."""

import io
import os
import random
import stat
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
from mountwarden.graphdriver.beneath import RootDirectory
from mountwarden.graphdriver.changes import compare
from mountwarden.graphdriver.driver import GraphdriverError
from mountwarden.graphdriver.idmap import IdMap, IdMaps
from mountwarden.graphdriver.tar.extract import Options, apply_layer
from mountwarden.graphdriver.tar.writer import write_layer

from tests.kernel.graphdriver import tars

LAYER = Path("/mnt/layer")
COPY = Path("/mnt/copy")
MAPS = IdMaps((IdMap(0, 100_000, 65_536),), (IdMap(0, 200_000, 65_536),))
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
# struct vfs_ns_cap_data: revision and effective bit, permitted and inheritable in two words each
CAP_NET_RAW = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *e)
    for e in (
        (1, 7, 0xFFFFFFFF),
        (2, 5, 1234),
        (4, 5, 0xFFFFFFFF),
        (8, 4, 4321),
        (16, 5, 0xFFFFFFFF),
        (32, 0, 0xFFFFFFFF),
    )
)


def apply(archive: io.BytesIO, target: Path = LAYER, options: Options | None = None) -> int:
    target.mkdir(exist_ok=True)
    return apply_layer(bytes(target), archive, options)


def packed(directory: Path = LAYER, maps: IdMaps | None = None) -> io.BytesIO:
    out = io.BytesIO()
    with RootDirectory(bytes(directory)) as root:
        written = write_layer(root, compare(root, None), out, maps or IdMaps())
    assert written == len(out.getvalue())
    out.seek(0)
    return out


@pytest.mark.parametrize("format", FORMATS)
def test_names_owners_modes_times(format: str) -> None:
    kind = FORMATS[format]
    long = "d" * 99 + "/" + "n" * 60 if format == "ustar" else "d" * 200 + "/" + "n" * 255
    apply(
        tars.tar(
            (tars.entry(long, uid=1000, gid=2000, mode=0o6711, mtime=7), b"1"),
            tars.entry("é\udcff ☃" if format != "ustar" else "plain", mode=0o000),
            tars.directory("sticky", mode=0o1777, uid=5),
            tars.symlink("link", "t" * (99 if format == "ustar" else 300), uid=6, gid=7, mtime=9),
            format=kind,
        )
    )
    file = LAYER / long
    assert (file.stat().st_uid, file.stat().st_gid, stat.S_IMODE(file.stat().st_mode)) == (1000, 2000, 0o6711)
    assert file.stat().st_mtime == 7
    assert tars.describe(LAYER / "sticky") == "drwxrwxrwt 5:0"
    assert (LAYER / "link").lstat().st_mtime == 9
    assert (LAYER / "link").lstat().st_uid == 6
    assert (LAYER / ("é\udcff ☃" if format != "ustar" else "plain")).exists()


@pytest.mark.parametrize("time", ["1.5", "0.000000001", "1234567890.123456789", "-1.5", "17179869184", "12.1234567899"])
def test_times_to_the_nanosecond(time: str) -> None:
    info = tars.entry("f")
    info.pax_headers = {"mtime": time}
    apply(tars.tar(info))
    sign = -1 if time.startswith("-") else 1
    seconds, _, rest = time.lstrip("-").partition(".")
    wanted = sign * (int(seconds) * 10**9 + int(rest[:9].ljust(9, "0")))
    assert (LAYER / "f").stat().st_mtime_ns == wanted
    apply(packed(), COPY)
    assert (COPY / "f").stat().st_mtime_ns == wanted


def test_directories_keep_their_times_though_files_come_later() -> None:
    apply(tars.tar(tars.directory("d", mtime=5), tars.directory("d/e", mtime=6), ("d/e/f", b""), ("d/g", b"")))
    assert (LAYER / "d").stat().st_mtime == 5
    assert (LAYER / "d/e").stat().st_mtime == 6


def test_missing_parents_are_made() -> None:
    apply(tars.tar(("a/b/c", b"1")), options=Options(maps=MAPS))
    assert tars.describe(LAYER / "a/b") == "drwxr-xr-x 100000:200000"


def test_extended_attributes_both_ways() -> None:
    values = {"user.text": b"value", "user.binary": b"\0\xff=\n\xfe", "user.empty": b""}
    apply(tars.tar(tars.entry("f", xattrs=values), tars.directory("d", xattrs=values)))
    for name in ("f", "d"):
        assert {k: os.getxattr(LAYER / name, k) for k in values} == values
    apply(packed(), COPY)
    assert {k: os.getxattr(COPY / "f", k) for k in values} == values
    assert {k: os.getxattr(COPY / "d", k) for k in values} == values


def test_capabilities_survive_the_owner() -> None:
    apply(tars.tar(tars.entry("ping", mode=0o755, uid=1, xattrs={"security.capability": CAP_NET_RAW})))
    assert os.getxattr(LAYER / "ping", "security.capability") == CAP_NET_RAW
    apply(packed(), COPY)
    assert os.getxattr(COPY / "ping", "security.capability") == CAP_NET_RAW


def test_capabilities_belong_to_the_remapped_root() -> None:
    archive = tars.tar(tars.entry("ping", mode=0o755, xattrs={"security.capability": CAP_NET_RAW}))
    apply(archive, options=Options(maps=MAPS))
    bound = os.getxattr(LAYER / "ping", "security.capability")
    assert struct.unpack("<IIIIII", bound) == (0x03000001, 1 << 13, 0, 0, 0, 100_000)
    with tarfile.open(fileobj=packed(maps=MAPS)) as opened:
        back = opened.getmembers()[0].pax_headers["SCHILY.xattr.security.capability"]
    assert back.encode("utf-8", "surrogateescape") == CAP_NET_RAW


def test_acls_with_mapped_users_and_groups() -> None:
    acl = {"system.posix_acl_access": ACL}
    apply(
        tars.tar(tars.directory("d", mode=0o750, xattrs={"system.posix_acl_default": ACL, **acl})),
        options=Options(maps=MAPS),
    )
    found = os.getxattr(LAYER / "d", "system.posix_acl_default")
    assert [e[2] for e in struct.iter_unpack("<HHI", found[4:])][1:4:2] == [101_234, 204_321]
    apply(packed(maps=MAPS), COPY)
    assert os.getxattr(COPY / "d", "system.posix_acl_access") == ACL


def test_owners_are_mapped_both_ways_and_unmapped_ones_refused() -> None:
    apply(tars.tar(tars.entry("f", uid=10, gid=20)), options=Options(maps=MAPS))
    assert ((LAYER / "f").stat().st_uid, (LAYER / "f").stat().st_gid) == (100_010, 200_020)
    with tarfile.open(fileobj=packed(maps=MAPS)) as opened:
        assert (opened.getmembers()[0].uid, opened.getmembers()[0].gid) == (10, 20)
    with pytest.raises(GraphdriverError, match="uid 65536 of the container is not mapped"):
        apply(tars.tar(tars.entry("g", uid=65_536)), options=Options(maps=MAPS))
    os.chown(LAYER / "f", 0, 0)
    with pytest.raises(GraphdriverError, match="uid 0 of the host is not mapped"):
        packed(maps=MAPS)


def test_big_ids_and_device_numbers() -> None:
    apply(
        tars.tar(
            tars.entry("f", uid=2**31, gid=2**32 - 2),
            tars.entry("b", tarfile.BLKTYPE, devmajor=4095, devminor=2**20 - 1),
        )
    )
    assert tars.describe(LAYER / "f").split()[1] == f"{2**31}:{2**32 - 2}"
    apply(packed(), COPY)
    assert tars.tree(str(COPY)) == tars.tree(str(LAYER))


def test_hard_links_both_ways() -> None:
    apply(
        tars.tar(
            ("a", b"1"),
            tars.directory("d"),
            tars.hardlink("d/b", "a"),
            tars.hardlink("c", "./d/b"),
            tars.hardlink("a", "a"),
        )
    )
    assert (LAYER / "a").stat().st_nlink == 3
    with tarfile.open(fileobj=packed()) as opened:
        assert {m.name: m.linkname for m in opened if m.islnk()} == {"c": "a", "d/b": "a"}


def test_a_link_outside_the_layer_is_no_hard_link_inside() -> None:
    """The files of an image have many names, one in each image on top; each layer's tar knows only its own."""
    apply(tars.tar(("a", b"content")))
    os.link(LAYER / "a", "/mnt/elsewhere")
    with tarfile.open(fileobj=packed()) as opened:
        assert [m.isreg() for m in opened] == [True]


SIZE = 3 << 20


def sparse(path: Path) -> bytes:
    """Two islands in a big hole, and a hole at the end."""
    data = bytearray(SIZE)
    data[70_000:70_010] = b"0123456789"
    data[2 << 20 : (2 << 20) + 5000] = b"x" * 5000
    with open(path, "wb") as file:
        file.truncate(SIZE)
        for start in (70_000, 2 << 20):
            file.seek(start)
            file.write(data[start : start + 5000])
    return bytes(data)


@pytest.mark.parametrize(
    "form", ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"]
)
def test_sparse_files_of_gnu_tar(form: str) -> None:
    source = Path("/mnt/source")
    source.mkdir()
    data = sparse(source / ("long" * 40))
    kind = [form] if "format" in form else ["--format=pax", form]
    archive = subprocess.run(
        ["tar", "-C", source, "--hole-detection=raw", "-S", *kind, "-c", "."], capture_output=True, check=True
    )
    assert len(archive.stdout) < 100_000
    assert apply(io.BytesIO(archive.stdout)) == SIZE
    assert (LAYER / ("long" * 40)).read_bytes() == data
    assert (LAYER / ("long" * 40)).stat().st_blocks * 512 < 200_000


def test_holes_come_back_though_the_archive_has_zeros() -> None:
    LAYER.mkdir()
    data = sparse(LAYER / "f")
    archive = packed()
    assert len(archive.getvalue()) > SIZE
    apply(archive, COPY)
    assert (COPY / "f").read_bytes() == data
    assert (COPY / "f").stat().st_blocks * 512 < 300_000


def test_zeros_at_odd_places_stay_zeros() -> None:
    choose = random.Random(7)
    pieces = [
        bytes(choose.choice((1, 511, 65_536, 70_000, 1 << 20))) + choose.randbytes(choose.choice((1, 100, 65_536)))
        for _ in range(40)
    ]
    data = b"".join(pieces) + bytes(100_001)
    apply(tars.tar(("f", data)))
    assert (LAYER / "f").read_bytes() == data


def everything() -> None:
    """A source tree with one of each."""
    source = Path("/mnt/source")
    (source / "dir/sub").mkdir(parents=True)
    (source / "dir/sub/file").write_bytes(os.urandom(200_000))
    (source / "empty").touch(0o600)
    os.link(source / "empty", source / "dir/same")
    os.symlink("dir/sub", source / "link")
    os.mkfifo(source / "fifo", 0o640)
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (source / ("n" * 255)).write_bytes(b"long")
    (source / "odd \n\t\\ name").write_bytes(b"odd")
    os.chown(source / "dir/sub/file", 1000, 1000)
    os.chmod(source / "dir/sub/file", 0o4750)
    os.chmod(source / "dir", 0o3775)
    os.setxattr(source / "empty", "user.x", b"y")
    os.utime(source / "dir", ns=(5, 1_111_111_111_222_222_222))


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_what_gnu_tar_packs_is_unpacked_alike(form: str) -> None:
    everything()
    archive = subprocess.run(
        ["tar", "-C", "/mnt/source", f"--format={form}", "--xattrs", "-c", "."], capture_output=True, check=True
    )
    apply(io.BytesIO(archive.stdout))
    COPY.mkdir()
    subprocess.run(["tar", "-C", COPY, "--xattrs", "-xp"], input=archive.stdout, check=True)
    assert tars.tree(str(LAYER)) == tars.tree(str(COPY))


def test_what_is_packed_gnu_tar_unpacks_alike() -> None:
    everything()
    archive = packed(Path("/mnt/source")).getvalue()
    COPY.mkdir()
    subprocess.run(["tar", "-C", COPY, "--xattrs", "-xp"], input=archive, check=True)
    assert tars.tree(str(COPY)) == tars.tree("/mnt/source")
    assert os.getxattr(COPY / "empty", "user.x") == b"y"
    done = subprocess.run(["tar", "-C", COPY, "--compare", "-f", "-"], input=archive, capture_output=True, check=False)
    assert done.stdout == b""


def test_sockets_are_left_out() -> None:
    import socket

    LAYER.mkdir()
    (LAYER / "f").touch()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(LAYER / "socket"))
    assert tars.names(packed()) == ["f"]


def test_a_file_that_shrinks_meanwhile_is_an_error() -> None:
    LAYER.mkdir()
    (LAYER / "f").write_bytes(b"x" * 5_000_000)

    class Cutting(io.BytesIO):
        def write(self, data: object) -> int:  # type: ignore[override]
            os.truncate(LAYER / "f", 1_500_000)
            return super().write(data)  # type: ignore[arg-type]

    with RootDirectory(bytes(LAYER)) as root, pytest.raises(GraphdriverError, match="became shorter"):
        write_layer(root, compare(root, None), Cutting(), IdMaps())


LOWER = (tars.directory("d"), ("d/a", b"a"), ("d/b", b"b"), tars.directory("d/sub"), ("d/sub/x", b"x"), ("keep", b"k"))


@pytest.mark.parametrize(
    ("layer", "left"),
    [
        ([("d/.wh.a", b"")], {"d/b", "d/sub/x", "keep"}),
        ([("d/.wh.sub", b"")], {"d/a", "d/b", "keep"}),
        ([(".wh.d", b"")], {"keep"}),
        ([(".wh.nothing", b""), ("no/.wh.thing", b"")], {"d/a", "d/b", "d/sub/x", "keep"}),
        ([("d/.wh..wh..opq", b""), ("d/new", b"")], {"d/new", "keep"}),
        ([("d/new", b""), ("d/.wh..wh..opq", b"")], {"d/new", "keep"}),
        ([("d/sub/new", b""), ("d/.wh..wh..opq", b"")], {"d/sub/new", "keep"}),
        ([(".wh..wh..opq", b""), ("n", b"")], {"n"}),
        ([("d/a", b"new"), ("d/.wh.a", b"")], {"d/a", "d/b", "d/sub/x", "keep"}),
        ([("d/.wh.a", b""), ("d/a", b"new")], {"d/a", "d/b", "d/sub/x", "keep"}),
        ([("d/sub/new", b""), ("d/.wh.sub", b"")], {"d/a", "d/b", "d/sub/new", "keep"}),
        (
            [(".wh..wh.plnk", b""), (".wh..wh.plnk/1.2", b""), ("d/.wh..wh.aufs", b"")],
            {"d/a", "d/b", "d/sub/x", "keep"},
        ),
        ([tars.symlink("l", "d/sub"), ("l/new", b""), ("d/.wh..wh..opq", b"")], {"d/sub/new", "keep"}),
        ([("d", b"now a file")], {"d", "keep"}),
        ([tars.directory("keep"), ("keep/in", b"")], {"d/a", "d/b", "d/sub/x", "keep/in"}),
        ([tars.directory("d", mode=0o700)], {"d/a", "d/b", "d/sub/x", "keep"}),
    ],
)
def test_whiteouts_in_any_order(layer: list[tars.Entry], left: set[str]) -> None:
    apply(tars.tar(*LOWER))
    apply(tars.tar(*layer))
    assert set(tars.contents(str(LAYER))) == left


def test_progress_ends_at_the_archives_size() -> None:
    seen: list[int] = []
    archive = tars.tar(("a", b"x" * 5_000_000), ("b", b"y"))
    apply(archive, options=Options(progress=seen.append))
    assert seen == sorted(seen)
    assert len(seen) > 4
    assert seen[-1] == 512 + 5_000_192 + 512 + 1


def test_a_global_header_changes_nothing() -> None:
    archive = subprocess.run(
        ["tar", "--format=pax", "--pax-option=comment=hello", "-C", "/etc", "-c", "hostname"],
        capture_output=True,
        check=True,
    )
    apply(io.BytesIO(archive.stdout))
    assert list(tars.contents(str(LAYER))) == ["hostname"]
