"""Daemons that answer nothing, or anything but what an engine would: no mount of theirs counts as left."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mountwarden.engines.ownership import owners
from mountwarden.engines.sources import Host
from mountwarden.model import Base, Layout, Match, Mount, Root, RootKind, Spot
from mountwarden.observe import unix_sockets
from mountwarden.observe.enter import own_namespace
from mountwarden.observe.processes import Daemon, comm

from tests.support.wait import wait_until

SERVER = """
import socket, sys, time
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print(flush=True)
while True:
    peer, _ = server.accept()
    try:
        peer.recv(1000)
        peer.sendall(bytes.fromhex(sys.argv[2]))
        if sys.argv[3] == "hold":
            time.sleep(1000)
    except OSError:
        pass
    peer.close()
"""
OK = b"HTTP/1.0 200 OK\r\n\r\n"
LOST = b"ab" * 32
SPOTS = {
    "dockerd": (b"overlay2/%s/merged" % LOST, b"buildkit/executor/%s/rootfs" % LOST[:25]),
    "containerd": (b"io.containerd.runtime.v2.task/default/lost/rootfs", b"tmpmounts/containerd-mount1"),
}


@contextmanager
def daemon(place: Path, name: str, answer: bytes, end: str) -> Iterator[Daemon]:
    program = place / name
    program.symlink_to("/usr/bin/python3")
    argv = [program, "-I", "-c", SERVER, str(place / "engine.sock"), answer.hex(), end]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        wait_until(lambda: comm(child.pid) == name, 10)
        try:
            yield Daemon(child.pid, name, (name.encode(),), own_namespace(), own=True)
        finally:
            child.kill()


def answers(place: Path, engine: Daemon) -> set[str]:
    """Of mounts which the files below `place` leave to the daemon's answer."""
    for directory in ("image/overlay2/layerdb/mounts", f"overlay2/{LOST.decode()}"):
        (place / directory).mkdir(parents=True)
    bundle = place / "io.containerd.runtime.v2.task/default/lost"
    bundle.mkdir(parents=True)
    (bundle / "init.pid").write_text("4194305")
    (bundle / "address").write_text("unix:///run/containerd/s/lost")
    name = {"dockerd": "docker", "containerd": "containerd"}[engine.comm]
    root = Root(os.fsencode(place), name, RootKind.GRAPH, (Layout(b"*", None),), own_namespace())
    pairs = []
    for rel in SPOTS[engine.comm]:
        point = root.path + b"/" + rel
        mount = Mount(1, 1, "0:1048575", b"/", point, b"rw", 0, 0, 0, False, "overlay", b"", b"rw")
        base = Base(mount, Spot("0:9", b"/"), b"")
        pairs.append((Match(root, base, Layout(rel, None), rel, rel, point, Spot("0:9", point)), mount))
    host = Host((engine,))
    host._found[engine] = (root,)
    return {one.state for one in owners(host, (), pairs, older_than=0)}


def test_an_engine_that_answers_as_it_should(tmp_path: Path) -> None:
    with daemon(tmp_path, "dockerd", OK + b"[]", "close") as engine:
        assert "gone" in answers(tmp_path, engine)


def test_lines_that_a_user_adds_to_the_list_of_sockets_hide_no_engine(tmp_path: Path) -> None:
    """A name with a newline in it makes a line of its own; this one has the number of a socket of the engine."""
    with socket.socket(socket.AF_UNIX) as theirs, daemon(tmp_path, "dockerd", OK + b"[]", "close") as engine:
        (held,) = unix_sockets._held(engine.pid)
        theirs.bind(b"\0\n0: 00000002 00000000 00010000 0001 01 %d /tmp/docker.sock" % held)
        theirs.listen()
        assert set(unix_sockets.own(engine.pid)) >= {b"/tmp/docker.sock"}
        assert "gone" in answers(tmp_path, engine)


@pytest.mark.parametrize("name", SPOTS)
@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"x" * 9, b"\0" * 100, b"HTTP/1.0 500 No\r\n\r\n[]", b"HTTP/1.0", OK, OK + b"[", OK + b"{}x"),
        *(OK + b"[1]", OK + b'[{"id": 1}]', OK + b"[" * 30000, b"\0\0\0\7\0\0\0\0\0", b"\xff" * 1000),
    ],
    ids=lambda answer: repr(answer[:24]),
)
def test_an_engine_that_answers_otherwise(tmp_path: Path, name: str, answer: bytes) -> None:
    with daemon(tmp_path, name, answer, "close") as engine:
        assert answers(tmp_path, engine) == {"unknown"}


@pytest.mark.parametrize("name", SPOTS)
def test_an_engine_that_does_not_answer_is_asked_once(tmp_path: Path, name: str) -> None:
    began = time.monotonic()
    with daemon(tmp_path, name, b"", "hold") as engine:
        assert answers(tmp_path, engine) == {"unknown"}
    assert time.monotonic() - began < 3.5
