"""What processes name, listen on and are: the grounds of the proofs that nobody owns a mount."""

import os
import resource
import signal
import socket
import subprocess
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from mountwarden.engines import daemon_start, proof
from mountwarden.engines.sources import Host
from mountwarden.errors import NoAnswer
from mountwarden.kernel import abi, child, syscalls
from mountwarden.observe import frozen, processes, traces, unix_sockets
from mountwarden.observe.container_processes import ContainerProcesses
from mountwarden.observe.enter import own_namespace
from mountwarden.observe.processes import Daemon, is_alive, stat_fields

from tests.support import fuse
from tests.support.scratch_ns import Sandbox
from tests.support.wait import wait_until

IDENTITY = "ab12.cd-" + "e" * 20


@contextmanager
def running(*argv: str, directory: Path | None = None) -> Iterator[int]:
    with subprocess.Popen(argv, cwd=directory, stdin=subprocess.PIPE) as program:
        try:
            yield program.pid
        finally:
            program.kill()


@contextmanager
def ready(code: str, *argv: str, directory: Path | None = None) -> Iterator[int]:
    """A program of Python that has printed a line."""
    limit = resource.RLIM_INFINITY, resource.RLIM_INFINITY
    with subprocess.Popen(
        ["/usr/bin/python3", "-c", code, *argv],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, limit),
    ) as program:
        try:
            assert program.stdout
            assert program.stdout.readline()
            yield program.pid
        finally:
            program.kill()


@contextmanager
def forked(function: Callable[[], object]) -> Iterator[None]:
    """A child that calls it meanwhile."""
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            function()
        os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def for_all(directory: Path) -> None:
    """Let every user go into a directory below /tmp, and write there."""
    directory.chmod(0o777)
    for parent in directory.parents:
        if parent.stat().st_uid == os.getuid() and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)


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


DEEP = """
import os
os.setuid(65534)
for _ in range(20):
    os.mkdir("d" * 240)
    os.chdir("d" * 240)
print(flush=True)
input()
"""


def test_a_working_directory_with_too_long_a_path_hides_nobody_else(tmp_path: Path) -> None:
    for_all(tmp_path)
    with ready(DEEP, directory=tmp_path) as pid:
        with pytest.raises(OSError, match="too long"):
            os.readlink(f"/proc/{pid}/cwd")
        assert traces.listed().roots


def test_a_root_of_which_its_file_system_tells_nothing_hides_nobody_else() -> None:
    pipe, tell = os.pipe()

    def live_on_fuse() -> None:
        with fuse.silent(b"/mnt/theirs", more=b",allow_other"):
            syscalls.pivot_root(b"/mnt/theirs", b"/mnt/theirs")
            os.write(tell, b"%d" % os.getpid())
            signal.pause()

    with Sandbox(userns=True) as theirs, forked(lambda: theirs.run(live_on_fuse)):
        pid = int(os.read(pipe, 20))
        with pytest.raises(PermissionError):
            os.stat(f"/proc/{pid}/root")
        answer = syscalls.statx(abi.AT_FDCWD, b"/proc/%d/root" % pid, 0)
        assert f"{answer.stx_dev_major}:{answer.stx_dev_minor}" in traces.listed().roots
    os.close(pipe)
    os.close(tell)


ENDED = """
import ctypes, threading, time
def alive():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    print(flush=True)
    time.sleep(100)
threading.Thread(target=alive).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_whose_first_thread_has_ended_lives_on(tmp_path: Path) -> None:
    with ready(ENDED, IDENTITY, "e" * 8, directory=tmp_path):
        found = traces.listed()
        assert found.name(b"e" * 64)
        assert os.fsencode(tmp_path) in found.directories
        assert found.name(IDENTITY.encode())


def test_of_a_command_line_without_end_the_beginning_is_read() -> None:
    words = [" ".join(f"{number:07x}" for number in range(start, start + 15000)) for start in range(0, 1 << 19, 15000)]
    with ready("print(flush=True); input()", IDENTITY, *words) as pid:
        assert len(processes.read(f"/proc/{pid}/cmdline")) > 4 << 20
        found = traces.listed()
        assert found.name(IDENTITY.encode())
        assert len(found.text) < 1 << 20
        assert ContainerProcesses().live(IDENTITY)
        assert not ContainerProcesses().live(words[-1][-40:]), "it would be held whole"


def test_more_names_than_can_be_kept_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MOST", 1000)
    words = " ".join(f"{number:07x}" for number in range(2000))
    with ready("print(flush=True); input()", words), pytest.raises(NoAnswer):
        traces.listed()


def an_engine_s_files() -> None:
    proof.Inquiry(Host(), (), 0).ask_here(lambda: processes.command_line(""), 0)


@pytest.mark.parametrize("ask", [traces.listed, lambda: ContainerProcesses().live(IDENTITY), an_engine_s_files])
def test_a_child_that_cannot_be_killed_is_the_only_one(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[], object]
) -> None:
    def case() -> list[int]:
        left = []
        with fuse.silent(b"/mnt/dead"):
            monkeypatch.setattr(processes, "command_line", lambda _place: os.stat(b"/mnt/dead/x"))
            for _ in range(3):
                with suppress(NoAnswer):
                    ask()
                left.append(child.reap_late())
        return left

    with Sandbox() as place:
        assert place.run(case) == [1, 1, 1]


SAYS = """
import os
os.execv("/usr/bin/python3", ["python3", "-c", "input()", "rm", os.environ["SAID"], "said"])
"""


@pytest.mark.parametrize(
    ("by", "counts"),
    [
        ((), True),
        (("setpriv", "--reuid=65534", "--clear-groups"), False),
        (("unshare", "--pid", "--fork", "--kill-child"), False),
    ],
    ids=["root", "a user", "root of a container"],
)
def test_the_beginning_of_an_id_counts_where_root_of_the_host_says_it(by: tuple[str, ...], counts: bool) -> None:
    identity = "0123456789abcdef" * 4
    assert is_named(identity, identity[:5], by) == counts
    assert is_named(identity, identity, by)


def is_named(identity: str, said: str, by: tuple[str, ...]) -> bool:
    with running("env", f"SAID={said}", *by, "/usr/bin/python3", "-c", SAYS):
        wait_until(lambda: {said.encode(), b"said"} <= traces.listed().words, 10)
        return traces.listed().name(identity.encode())


def test_who_listens_is_known_by_name_and_process(tmp_path: Path) -> None:
    wanted = frozenset({b"a b", b"silent"})
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as silent:
        server.bind(str(tmp_path / "a b"))
        silent.bind(str(tmp_path / "silent"))
        assert unix_sockets.served(os.getpid(), wanted) == set()
        server.listen()
        assert unix_sockets.served(os.getpid(), wanted) == {b"a b"}
        assert unix_sockets.served(os.getpid(), frozenset({b"silent"})) == set()
        assert unix_sockets.own(os.getpid()) == (os.fsencode(tmp_path / "a b"),)
        with running("sleep", "100") as pid:
            assert unix_sockets.own(pid) == ()


def test_of_sockets_without_number_only_those_that_are_asked_for_are_kept() -> None:
    with ExitStack() as stack:
        for number in range(900):
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.bind(f"\0mountwarden-test-{number:080}")
            one.listen()
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        assert unix_sockets.served(os.getpid(), frozenset({b"none"})) == set()
        assert tracemalloc.get_traced_memory()[1] < 50_000


def test_a_socket_of_another_user_is_not_asked(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for_all(tmp_path)
    code = f"import socket, time; s = socket.socket(1); s.bind({str(path)!r}); s.listen(); time.sleep(100)"
    user = ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", code]
    with running(*user) as pid:
        wait_until(path.is_socket, 20)

        def refused() -> bool:
            try:
                unix_sockets.connected(os.fsencode(path), pid).close()
            except PermissionError:
                return True
            except ConnectionRefusedError:  # it does not listen yet
                return False
            raise AssertionError("it was connected")

        wait_until(refused, 20)


def test_a_socket_of_another_process_is_not_asked_even_if_that_is_root(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server, running("sleep", "100") as pid:
        server.bind(path)
        server.listen()
        unix_sockets.connected(path, os.getpid()).close()
        with pytest.raises(PermissionError):
            unix_sockets.connected(path, pid)


def test_nobody_waits_for_a_socket_that_takes_no_connections(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server, ExitStack() as stack:
        server.bind(path)
        server.listen(0)
        began = time.monotonic()
        stack.enter_context(unix_sockets.connected(path, os.getpid()))
        with pytest.raises(BlockingIOError):
            unix_sockets.connected(path, os.getpid())
        assert time.monotonic() - began < unix_sockets.SECONDS


def test_a_mark_that_is_not_root_s_marks_no_start(tmp_path: Path) -> None:
    with running("sleep", "100") as pid:
        daemon = Daemon(pid, "sleep", (), own_namespace(), own=True)
        (mark := tmp_path / "mark").touch()
        assert daemon_start.before(daemon, [os.fsencode(mark)]) is not None
        os.chown(mark, 65534, 65534)
        assert daemon_start.before(daemon, [os.fsencode(mark)]) is None


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
