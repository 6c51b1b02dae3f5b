"""What processes name, listen on and are: the grounds of the proofs that nobody owns a mount."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mountwarden.engines import daemon_start
from mountwarden.observe import frozen, traces, unix_sockets
from mountwarden.observe.enter import own_namespace
from mountwarden.observe.processes import Daemon, is_alive, stat_fields

from tests.support.wait import wait_until

IDENTITY = "ab12.cd-" + "e" * 20


@contextmanager
def running(*argv: str, directory: Path | None = None) -> Iterator[int]:
    with subprocess.Popen(argv, cwd=directory, stdin=subprocess.PIPE) as child:
        try:
            yield child.pid
        finally:
            child.kill()


def test_names_are_whole_words_of_command_lines(tmp_path: Path) -> None:
    assert not traces.listed().name(IDENTITY.encode())
    with running("/usr/bin/python3", "-c", "input()", f"/bundles/{IDENTITY}/x", directory=tmp_path) as pid:
        wait_until(lambda: IDENTITY in Path(f"/proc/{pid}/cmdline").read_text(), 10)
        found = traces.listed()
        assert found.name(IDENTITY.encode())
        assert not found.name(IDENTITY[:-1].encode())
        assert not found.name(b"b12.cd-" + b"e" * 20)
        assert os.fsencode(tmp_path) in found.directories
        device = os.stat("/").st_dev
        assert f"{os.major(device)}:{os.minor(device)}" in found.roots


def test_who_listens_is_known_by_name_and_process(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as silent:
        server.bind(str(tmp_path / "a b"))
        silent.bind(str(tmp_path / "silent"))
        assert os.fsencode(tmp_path / "a b") not in unix_sockets.names(os.getpid())
        server.listen()
        names = unix_sockets.names(os.getpid())
        assert os.fsencode(tmp_path / "a b") in names
        assert os.fsencode(tmp_path / "silent") not in names
        assert unix_sockets.own(os.getpid()) == (os.fsencode(tmp_path / "a b"),)
        with running("sleep", "100") as pid:
            assert unix_sockets.own(pid) == ()


def test_a_socket_of_another_user_is_not_asked(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    tmp_path.chmod(0o777)
    code = f"import socket, time; s = socket.socket(1); s.bind({str(path)!r}); s.listen(); time.sleep(100)"
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    user = ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", code]
    with running(*user):
        wait_until(path.is_socket, 20)

        def refused() -> bool:
            try:
                unix_sockets.connected(os.fsencode(path)).close()
            except PermissionError:
                return True
            except ConnectionRefusedError:  # it does not listen yet
                return False
            raise AssertionError("it was connected")

        wait_until(refused, 20)


def test_what_is_stopped_or_a_zombie_does_not_act() -> None:
    with running("sleep", "100") as pid:
        assert frozen.acts(pid)
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: stat_fields(pid)[3] == b"T", 10)
        assert not frozen.acts(pid)
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: frozen.acts(pid), 10)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), 10)
        assert not frozen.acts(pid)


@pytest.mark.parametrize(
    ("made", "is_known"),
    [((0.0,), True), ((30.0, 4000.0), True), ((4000.0,), False), ((-4000.0,), False), ((), False)],
    ids=["at once", "a later one too", "the clock was set back", "the clock was set forward", "nothing was made"],
)
def test_the_start_is_known_where_two_clocks_agree(tmp_path: Path, made: tuple[float, ...], is_known: bool) -> None:
    with running("sleep", "100") as pid:
        daemon = Daemon(pid, "sleep", (), own_namespace(), own=True)
        now = os.stat(f"/proc/{pid}").st_ctime
        marks = [os.fsencode(tmp_path / str(number)) for number in range(len(made))]
        for path, later in zip(marks, made, strict=True):
            Path(os.fsdecode(path)).touch()
            os.utime(path, (now + later, now + later))
        before = daemon_start.before(daemon, [*marks, b"/none"])
        assert (before is not None) == is_known
        assert before is None or now - 5 < before < now
