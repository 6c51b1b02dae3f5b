"""`mountwarden layer` as people type it."""

import bz2
import gzip
import io
import json
import lzma
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert "ends in the middle" in layer("apply", "n", input=archive[:2000], status=1)
    assert "without an end marker" in layer("apply", "n", input=archive[: 512 * 10], status=1)
    assert "more than 100 bytes" in layer("apply", "n", "--max-size", "100", input=archive, status=1)
    assert sorted(os.listdir(f"{HOME}/n")) == ["lower-id", "parent", "upper", "work"]


def test_a_broken_gzip_is_told() -> None:
    layer("create", "l")
    packed = gzip.compress(tars.tar(("f", os.urandom(50_000))).getvalue())
    assert "mountwarden: " in layer("apply", "l", input=packed[:20_000], status=1)
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
