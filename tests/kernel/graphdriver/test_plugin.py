"""The plugin's wire: what dockerd sends and wants back, broken connections, repeats, and restarts in any order."""

import contextlib
import io
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mountwarden.errors import RefusedToRun
from mountwarden.graphdriver import visibility
from mountwarden.graphdriver.driver import GraphdriverError
from mountwarden.graphdriver.plugin import server
from mountwarden.kernel import abi, syscalls

from tests.kernel.graphdriver import client, tars
from tests.kernel.graphdriver.client import PluginClient
from tests.support.wait import wait_until

HOME = "/mnt/docker/mountwarden"
AGENT = Path(__file__).parents[3] / "agent"


def plugin(home: str | None = None) -> PluginClient:
    os.makedirs("/mnt/run", exist_ok=True)
    return PluginClient(client.start("/mnt/run", home)[1])


def started() -> PluginClient:
    driver = plugin()
    driver.init(HOME)
    driver.create("base")
    driver.apply_diff("base", "", tars.tar(("f", b"1")))
    driver.create("c", "base")
    return driver


def is_mounted(layer: str = "c") -> int:
    return Path("/proc/self/mountinfo").read_text().count(f" {HOME}/{layer}/merged ")


def raw(path: str, data: bytes) -> bytes:
    """Bytes as they go over the wire; all that comes back until the plugin closes, or has said enough."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: s.recv(65536), b""))


SOCKET = "/mnt/run/plugins/plugin.sock"


def test_the_requests_of_dockerd_word_for_word() -> None:
    plugin()
    head = "POST /{} HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\n"
    head += "Accept: application/vnd.docker.plugins.v1.2+json\r\nAccept-Encoding: gzip\r\n\r\n"
    said = [("Plugin.Activate", "")]
    said += [("GraphDriver.Init", json.dumps({"Home": HOME, "Opts": None, "UIDMaps": None, "GIDMaps": None}) + "\n")]
    said += [("GraphDriver.Capabilities", "{}\n"), ("GraphDriver.Status", "{}\n"), ("GraphDriver.Cleanup", "{}\n")]
    answer = raw(SOCKET, "".join(head.format(call, len(body)) + body for call, body in said).encode())
    parts = [part.partition(b"\r\n\r\n") for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert [part[0].split(b" ")[0] for part in parts] == [b"200"] * 5
    assert b"Content-Type: application/vnd.docker.plugins.v1.2+json" in parts[0][0]
    assert [json.loads(part[2]) for part in parts] == [
        {"Implements": ["GraphDriver"]},
        {},
        {"Capabilities": {"ReproducesExactDiffs": False}},
        {"Status": [["Backing Filesystem", "tmpfs"], ["Supports d_type", "true"]]},
        {},
    ]


def test_errors_are_told_with_status_200_but_for_diff() -> None:
    driver = started()
    assert driver.raw("/GraphDriver.Get", b'{"ID":"no"}') == (200, b'{"Err": "there is no layer no"}\n')
    status, body = driver.raw("/GraphDriver.Diff", b'{"ID":"no"}')
    assert (status, json.loads(body)) == (500, {"Err": "there is no layer no"})
    assert driver.raw("/GraphDriver.Nonsense", b"{}")[0] == 404
    assert driver.raw("/VolumeDriver.Get", b"{}")[0] == 404


@pytest.mark.parametrize(
    "body", [b"[]", b"nonsense", b'{"ID": 5}', b'"x"', b"{" * 100_000, b'{"ID":"' + b"x" * 2_000_000]
)
def test_a_request_that_is_wrong_is_told_so(body: bytes) -> None:
    status, answer = started().raw("/GraphDriver.Get", body)
    assert status == 200
    assert json.loads(answer)["Err"]


def test_before_init_it_says_what_is_missing() -> None:
    with pytest.raises(GraphdriverError, match="does not know its home yet"):
        plugin().get("x")


def test_the_socket_is_0600_and_a_stale_one_is_replaced() -> None:
    os.makedirs("/mnt/run/plugins")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(SOCKET)
    plugin()
    assert stat.S_IMODE(os.stat(SOCKET).st_mode) == 0o600
    with pytest.raises(GraphdriverError, match="served by another process"):
        plugin()


def test_get_is_taken_back_if_nobody_hears_the_answer() -> None:
    """dockerd repeats a request whose answer it did not get; the use must not count twice."""
    driver = started()
    server, path = client.start("/mnt/second", None)
    PluginClient(path).init(HOME)
    body = b'{"ID":"c"}'
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(b"POST /GraphDriver.Get HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (len(body) + 5) + body)
    wait_until(lambda: not server.running, 30, "the plugin gives up the broken request")
    assert is_mounted() == 0
    _say_and_hang_up(path, "Get")
    assert is_mounted() == 0
    driver.get("c")
    driver.put("c")
    assert is_mounted() == 0


def _say_and_hang_up(path: str, call: str) -> None:
    """Close the receiving side before the answer: the plugin's write fails."""
    body = b'{"ID":"c"}'
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.shutdown(socket.SHUT_RD)
        s.sendall(b"POST /GraphDriver.%b HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (call.encode(), len(body), body))
        closed = select.poll()
        closed.register(s, 0)  # POLLHUP comes unasked, when the plugin has closed its side
        assert closed.poll(5000)


def test_put_is_taken_back_if_nobody_hears_the_answer() -> None:
    driver = started()
    driver.get("c")
    driver.get("c")
    _say_and_hang_up(SOCKET, "Put")
    driver.put("c")
    assert is_mounted() == 1
    driver.put("c")
    assert is_mounted() == 0


def test_create_and_remove_may_be_repeated() -> None:
    driver = started()
    driver.create("c", "base")
    with pytest.raises(GraphdriverError, match="exists already"):
        driver.create("c", "")
    driver.remove("c")
    driver.remove("c")


APPLY = b"POST /GraphDriver.ApplyDiff?id=n&parent=base HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(data: bytes, size: int = 1000) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(data[i : i + size]), data[i : i + size]) for i in range(0, len(data), size))


TAR = tars.tar(("new", b"x" * 30_000)).getvalue()


@pytest.mark.parametrize(
    "body",
    [
        chunked(TAR[:20_000]),
        chunked(TAR),  # all of it, but not the chunk that says so
        chunked(TAR)[:-5],
        chunked(TAR[:512]) + b"zz\r\n",
        chunked(TAR[:512]) + b"-1\r\n",
        b"5\r\nabcdefg\r\n0\r\n\r\n",
        b"",
        b"0\r\n\r\n",
        chunked(TAR[1500:]) + b"0\r\n\r\n",  # what is left of it when dockerd repeats the request
    ],
)
def test_a_broken_body_makes_no_layer(body: bytes) -> None:
    driver = started()
    driver.create("n", "base")
    answer = raw(SOCKET, APPLY + body)
    assert b'"Size"' not in answer
    assert not os.path.exists(f"{HOME}/n/root")
    assert sorted(os.listdir(f"{HOME}/n")) == ["lower-id", "parent", "upper", "work"]
    driver.apply_diff("n", "base", io.BytesIO(TAR))
    assert os.path.exists(f"{HOME}/n/root/new")


def test_a_whole_body_without_the_tars_own_end_is_taken() -> None:
    started().create("n", "base")
    answer = raw(SOCKET, APPLY + chunked(TAR.rstrip(b"\0")[:512].ljust(512, b"\0") + b"x" * 30_208) + b"0\r\n\r\n")
    assert b'{"Size": 30000}' in answer


def test_a_body_longer_than_the_tar_is_read_to_its_end() -> None:
    driver = started()
    driver.create("n", "base")
    body = chunked(TAR + bytes(2_000_000)) + b"0\r\nTrailer: x\r\n\r\n"
    answer = raw(SOCKET, APPLY + body + b"POST /GraphDriver.Status HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
    assert b'{"Size": 30000}' in answer
    assert b"Backing Filesystem" in answer


def test_remove_waits_for_an_apply_that_still_runs() -> None:
    driver = started()
    driver.create("n", "base")
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(SOCKET)
        s.sendall(APPLY + chunked(TAR[:20_000]))
        wait_until(lambda: os.path.exists(f"{HOME}/n/tmproot/new"), 30, "apply is at it")
        removal = threading.Thread(target=driver.remove, args=("n",))
        removal.start()
        removal.join(0.2)
        assert removal.is_alive()
    removal.join(10)
    assert not removal.is_alive()
    assert not os.path.exists(f"{HOME}/n")


def test_diff_streams_while_another_layer_is_made_from_it() -> None:
    """As commit does it: the answer to Diff is the body of ApplyDiff, on two connections at once."""
    driver = started()
    path = Path(os.fsdecode(driver.get("c")))
    (path / "big").write_bytes(os.urandom(9_000_000))
    driver.put("c")
    driver.create("n", "base")
    connection = client.UnixConnection(SOCKET)
    connection.request("POST", "/GraphDriver.Diff", b'{"ID":"c","Parent":"base"}')
    answer = connection.getresponse()
    assert answer.getheader("Transfer-Encoding") == "chunked"
    assert driver.apply_diff("n", "base", answer) == 9_000_000  # type: ignore[arg-type]
    connection.close()
    assert driver.changes("n", "c") == []


def test_an_error_in_the_middle_of_diff_breaks_the_connection() -> None:
    driver = started()
    path = Path(os.fsdecode(driver.get("c")))
    for number in range(40):
        (path / f"f{number:02}").write_bytes(os.urandom(1_000_000))
    connection = client.UnixConnection(SOCKET)
    connection.request("POST", "/GraphDriver.Diff", b'{"ID":"c","Parent":"base"}')
    answer = connection.getresponse()
    answer.read(100)
    os.unlink(path / "f39")
    with pytest.raises(Exception, match="IncompleteRead"):
        answer.read()
    connection.close()


def test_a_restart_alone_goes_on_where_it_stopped() -> None:
    """No Init comes: the home is known from a file, the uses from the mounts."""
    driver = started()
    driver.get("c")
    os.unlink(SOCKET)
    again = plugin()
    again.get("c")
    assert is_mounted() == 1
    again.put("c")
    assert is_mounted() == 1
    again.put("c")
    assert is_mounted() == 0


def test_a_daemon_that_starts_anew_has_no_gets_of_before() -> None:
    driver = started()
    for _ in range(3):
        driver.get("c")
    driver.init(HOME)
    driver.put("c")
    assert is_mounted() == 0


def test_a_home_that_was_given_wins_and_a_remapped_daemon_has_its_own() -> None:
    driver = plugin("/mnt/mine")
    driver.init(HOME)
    driver.create("a")
    assert os.listdir("/mnt/mine") == ["a"]
    maps = [{"container_id": 0, "host_id": 100_000, "size": 65_536}]
    driver.init(HOME, UIDMaps=maps, GIDMaps=maps, Opts=["some.option=x"])
    driver.create("b")
    assert sorted(os.listdir("/mnt/mine")) == ["100000.100000", "a"]
    assert os.stat("/mnt/mine/100000.100000/b/root").st_uid == 100_000
    with pytest.raises(GraphdriverError, match="id map"):
        driver.init(HOME, UIDMaps=[{"container_id": "x"}])


@contextlib.contextmanager
def process(*options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`mountwarden graphdriver` as a process of its own."""
    command = [sys.executable, "-m", "mountwarden", "graphdriver", "--state", "/mnt/state.json", *options]
    env = {**os.environ, "PYTHONPATH": str(AGENT), **environment}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def test_the_service_tells_when_it_is_ready_and_ends_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a child, since it blocks signals. The sandbox is not PID 1's namespace: the check of that is left out."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind("/mnt/notify")
    notify.settimeout(10)
    monkeypatch.setenv("NOTIFY_SOCKET", "/mnt/notify")
    monkeypatch.setattr(server, "require_visible", lambda *_of: None)
    pid = os.fork()
    if not pid:
        server.serve(server.Settings("mine", HOME, "/mnt/s.sock", "/mnt/state.json"), lambda: None)
        os._exit(0)
    with notify:
        assert notify.recv(1000) == b"READY=1\nSTATUS=serving mine"
        driver = PluginClient("/mnt/s.sock")
        driver.init(HOME)
        driver.create("c")
        os.kill(pid, signal.SIGTERM)
        assert notify.recv(1000) == b"STOPPING=1"
    assert os.waitpid(pid, 0)[1] == 0
    assert not os.path.exists("/mnt/s.sock")


def test_a_name_of_dockers_own_is_refused() -> None:
    with process("--name", "overlay2") as child:
        assert child.wait(20) == 1
        assert child.stderr is not None
        assert "overlay2 is a driver of Docker's own" in child.stderr.read()


def test_a_namespace_that_the_host_does_not_see_is_refused() -> None:
    with process("--home", HOME) as child:
        assert child.wait(20) == RefusedToRun.status
        assert child.stderr is not None
        assert "do not reach the host" in child.stderr.read()


@pytest.mark.parametrize(("flags", "seen"), [(abi.MS_SHARED, True), (abi.MS_PRIVATE, False), (abi.MS_SLAVE, False)])
def test_what_init_can_see(flags: int, seen: bool) -> None:
    """A child that copies the sandbox stands for PID 1: it sees our mounts if ours is shared with it."""
    syscalls.mount(None, b"/mnt", None, abi.MS_SHARED)
    ready, go = os.pipe()
    pid = os.fork()
    if not pid:
        syscalls.unshare(abi.CLONE_NEWNS)
        if flags == abi.MS_SLAVE:
            syscalls.mount(None, b"/mnt", None, abi.MS_SHARED)
        os.write(go, b"x")
        signal.pause()
    os.read(ready, 1)
    if flags != abi.MS_SHARED:
        syscalls.mount(None, b"/mnt", None, flags)
    try:
        context: Any = contextlib.nullcontext() if seen else pytest.raises(RefusedToRun, match="do not reach")
        with context:
            visibility.require_visible(b"/mnt/home", lambda: None, pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
