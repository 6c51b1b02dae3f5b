"""`mountwarden layer` as people type it."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import pty
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from mountwarden.cli.main import main

from tests.kernel.graphdriver import tars

AGENT = Path(__file__).parents[3] / "agent"
HOME = "/mnt/home"
ENV = {**os.environ, "PYTHONPATH": str(AGENT)}


def layer(*words: str, input: bytes = b"", status: int = 0) -> str:
    command = [sys.executable, "-m", "mountwarden", "layer", "--home", HOME, *words]
    done = subprocess.run(command, input=input, capture_output=True, env=ENV, check=False)
    assert done.returncode == status, done.stderr
    return (done.stdout if not status else done.stderr).decode()


def base() -> bytes:
    archive = tars.tar(tars.directory("d"), ("d/f", b"1"), ("g", b"2" * 3000)).getvalue()
    layer("create", "base")
    layer("apply", "base", input=archive)
    return archive


def test_a_whole_story() -> None:
    base()
    layer("create", "work", "base")
    assert layer("get", "work") == f"{HOME}/work/merged\n"
    assert layer("get", "work") == f"{HOME}/work/merged\n"
    path = Path(HOME, "work/merged")
    (path / "new\n☃").write_text("x")
    (path / "g").unlink()
    assert layer("ls") == "base -\nwork mounted\n"
    layer("put", "work")
    assert not path.exists()
    assert layer("changes", "work") == "D /g\nA /new\\x0a☃\n"
    assert json.loads(layer("changes", "work", "--json")) == [
        {"path": "/g", "kind": "delete"},
        {"path": "/new\\x0a☃", "kind": "add"},
    ]
    layer("diff", "work", "-o", "/mnt/work.tar")
    assert tars.names(io.BytesIO(Path("/mnt/work.tar").read_bytes())) == [".wh.g", "new\n☃"]
    layer("create", "image", "base")
    layer("apply", "image", "-i", "/mnt/work.tar")
    assert layer("changes", "image", "--parent", "work") == ""
    assert layer("metadata", "image") == f"RootDir: {HOME}/image/root\n"
    assert json.loads(layer("metadata", "work", "--json"))["UpperDir"] == f"{HOME}/work/upper"
    assert json.loads(layer("ls", "--json")) == [
        {"id": "base", "parent": "", "kind": "image", "mounted": False},
        {"id": "image", "parent": "base", "kind": "image", "mounted": False},
        {"id": "work", "parent": "base", "kind": "container", "mounted": False},
    ]
    assert layer("status") == "Backing Filesystem: tmpfs\nSupports d_type: true\n"
    layer("rm", "work", "image", "base")
    assert os.listdir(HOME) == []


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_archive(pack: object) -> None:
    archive = tars.tar(("f", b"content")).getvalue()
    layer("create", "l")
    layer("apply", "l", input=pack(archive))  # type: ignore[operator]
    assert Path(HOME, "l/root/f").read_bytes() == b"content"


def test_what_goes_wrong_is_one_line_and_a_hint() -> None:
    archive = base()
    assert layer("get", "no", status=1) == "mountwarden: there is no layer no\n"
    assert layer("create", "../x", status=1).startswith("mountwarden: '../x' is no layer id\nhint: ")
    assert layer("rm", "no", status=1) == "mountwarden: there is no layer no\n"
    layer("create", "n", "base")
    assert "ends in the middle" in layer("apply", "n", input=archive[:2000], status=2)
    assert "without an end marker" in layer("apply", "n", input=archive[: 512 * 10], status=2)
    assert "more than 100 bytes" in layer("apply", "n", "--max-size", "100", input=archive, status=2)
    assert sorted(os.listdir(f"{HOME}/n")) == ["lower-id", "parent", "upper", "work"]


FILE, LINK = tars.block(size=b"0"), tars.block(b"l", tarfile.SYMTYPE, b"x")
HOSTILE = {
    "a NUL in a link": tars.records((b"linkpath", b"/etc\0/passwd")) + LINK,
    "a NUL in a hard link": tars.records((b"linkpath", b"a\0b")) + tars.block(b"h", tarfile.LNKTYPE, b"x"),
    "a NUL in an attribute's name": tars.records((b"SCHILY.xattr.user.a\0b", b"1")) + FILE,
    "a time after all": tars.records((b"mtime", b"1" + b"0" * 19)) + FILE,
    "a time before all": tars.records((b"mtime", b"-9999999999999999999")) + FILE,
    "a time of 11 bytes": tars.block(mtime=tars.base256(1 << 80, 12)),
    "a negative time of 11 bytes": tars.block(mtime=tars.base256(-(1 << 80), 12)),
    "a directory's time": tars.records((b"mtime", b"-" + b"9" * 19)) + tars.block(b"d/", tarfile.DIRTYPE),
    "a link's time": tars.records((b"mtime", b"9" * 19)) + LINK,
    "a sparse size": tars.records((b"GNU.sparse.size", b"1" + b"0" * 19), (b"GNU.sparse.map", b"")) + FILE,
    "a sparse size in the data": tars.records((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9" * 19))
    + tars.block(size=b"1000")
    + b"0\n".ljust(512, b"\0"),
    "an old negative sparse size": tars.block(kind=tarfile.GNUTYPE_SPARSE, real=tars.base256(-5, 12)),
    "an old sparse size": tars.block(kind=tarfile.GNUTYPE_SPARSE, real=tars.base256(1 << 70, 12)),
    "a size": tars.block(size=tars.base256(1 << 63, 12)),
    "a negative size": tars.block(size=tars.base256(-1, 12)),
    "a size in a record": tars.records((b"size", b"-1")) + FILE,
    "a uid": tars.block(uid=tars.base256(1 << 40, 8)),
    "a negative gid": tars.block(gid=tars.base256(-2, 8)),
    "a device": tars.block(kind=tarfile.CHRTYPE, major=tars.base256(1 << 33, 8)),
    "a device that no kernel has": tars.block(kind=tarfile.BLKTYPE, major=tars.base256(0xFFFFFFFF, 8)),
    "a record that is longer than it is": tars.records((b"path", b"x"), length=5) + FILE,
    "a record that is shorter": tars.records((b"path", b"x"), length=-2) + FILE,
    "a long name of 1 GiB": tars.block(b"L", tarfile.GNUTYPE_LONGNAME, size=b"%o" % (1 << 30)) + FILE,
    "names without end": tars.block(b"L", tarfile.GNUTYPE_LONGNAME, size=b"%o" % (1 << 20)) + b"n" * (1 << 20) + FILE,
    "headers without end": (
        tars.block(b"p", tarfile.XHDTYPE, size=b"%o" % (1 << 20)) + b"1048576 a=".ljust((1 << 20) - 1, b"a") + b"\n"
    )
    * 5
    + FILE,
    "dots": tars.block(b"d/../../x"),
    "dots in a hard link": tars.block(b"h", tarfile.LNKTYPE, b"../../../etc/passwd"),
    "a hard link to nothing": tars.block(b"h", tarfile.LNKTYPE, b"h2"),
    "a hard link to a directory": tars.block(b"d/", tarfile.DIRTYPE) + tars.block(b"h", tarfile.LNKTYPE, b"d"),
    "a value beyond what may be": tars.records((b"SCHILY.xattr.user.a", b"1" * 70_000)) + FILE,
    "an attribute's name beyond what may be": tars.records((b"SCHILY.xattr.user." + b"a" * 300, b"1")) + FILE,
    "a name beyond what may be": tars.records((b"path", b"n" * 300)) + FILE,
    "a mode and a name that are no text": tars.block(b"\xff\x1b[2J\xe2\x80\xae/../../x", mode=b"\xff\xff"),
}


def test_a_hostile_archive_is_refused_in_one_line_and_nothing_is_written() -> None:
    layer("create", "l")
    before = sorted(os.listdir(f"{HOME}/l"))
    for what, parts in HOSTILE.items():
        Path("/mnt/hostile.tar").write_bytes(tars.block(b"before") + parts + tars.end())
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = main(["layer", "--home", HOME, "apply", "l", "-i", "/mnt/hostile.tar"])
        lines = said.getvalue().splitlines()
        assert (status, len(lines)) == (2, 1), what
        assert lines[0].startswith("mountwarden: "), what
        assert lines[0].isprintable(), what
        assert (sorted(os.listdir(f"{HOME}/l")), sorted(os.listdir("/mnt"))) == (before, ["home", "hostile.tar"]), what
        assert os.listdir(f"{HOME}/l/root") == [], what


ODD = {
    "a global header, and one name twice": tars.block(b"g", tarfile.XGLTYPE) + FILE + FILE,
    "two names in records": tars.records((b"path", b"a/../../x"), (b"path", b"f")) + FILE,
    "a hard link to itself": FILE + tars.block(b"f", tarfile.LNKTYPE, b"f"),
    "attributes of the host's": tars.records((b"SCHILY.xattr.trusted.overlay.opaque", b"y"), (b"SCHILY.xattr.", b""))
    + FILE,
    "an attribute of no name": tars.records((b"SCHILY.xattr.user.", b"1"), (b"SCHILY.xattr.nobody.x", b"1")) + FILE,
    "the last time": tars.records((b"mtime", b"%d.999999999999" % ((1 << 63) - 1))) + FILE,
}


def test_an_odd_archive_is_taken_for_what_it_is() -> None:
    for what, parts in ODD.items():
        Path("/mnt/odd.tar").write_bytes(parts + tars.end())
        for words in (["create", "l"], ["apply", "l", "-i", "/mnt/odd.tar"]):
            assert main(["layer", "--home", HOME, *words]) == 0, what
        assert os.listdir(f"{HOME}/l/root") == ["f"], what
        assert os.listxattr(f"{HOME}/l/root/f") == [], what
        assert main(["layer", "--home", HOME, "rm", "l"]) == 0


def test_a_broken_gzip_is_told() -> None:
    layer("create", "l")
    packed = gzip.compress(tars.tar(("f", os.urandom(50_000))).getvalue())
    assert "mountwarden: " in layer("apply", "l", input=packed[:20_000], status=2)
    assert os.listdir(f"{HOME}/l/root") == []


def test_a_bar_on_a_terminal_and_nothing_elsewhere() -> None:
    archive = tars.tar(("f", os.urandom(40_000_000))).getvalue()
    Path("/mnt/big.tar").write_bytes(archive)
    layer("create", "l")
    main, side = pty.openpty()
    command = [sys.executable, "-m", "mountwarden", "layer", "--home", HOME, "apply", "l", "-i", "/mnt/big.tar"]
    with subprocess.Popen(command, stderr=side, stdout=subprocess.PIPE, env={**ENV, "TERM": "xterm"}) as child:
        os.close(side)
        shown = b""
        while True:
            try:
                shown += os.read(main, 4096)
            except OSError:  # EIO: the other side is closed
                break
        assert child.wait(30) == 0
        assert child.stdout
        assert child.stdout.read() == b""
    os.close(main)
    assert b"applying" in shown
    layer("create", "m")
    done = subprocess.run([*command[:-3], "m", *command[-2:]], capture_output=True, env=ENV, check=True)
    assert done.stdout + done.stderr == b""


def test_a_tar_is_not_written_to_a_terminal() -> None:
    base()
    main, side = pty.openpty()
    command = [sys.executable, "-m", "mountwarden", "layer", "--home", HOME, "diff", "base"]
    done = subprocess.run(command, stdout=side, stderr=subprocess.PIPE, env=ENV, check=False)
    os.close(side)
    os.close(main)
    assert done.returncode == 2
    assert b"not written to a terminal" in done.stderr
