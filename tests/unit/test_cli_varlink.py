"""mountwarden varlink where no service runs, its relay, and the way to another host by an ssh that is no ssh."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mountwarden.cli import main, remote, varlink
from mountwarden.errors import MountwardenError
from mountwarden.output import report_file
from mountwarden.state.run_directory import RUN
from mountwarden.varlink import wire
from mountwarden.varlink.client import Client, Trouble, Unreachable

from tests.support import rooms

CALLS = wire.call("org.varlink.service.GetInfo") + wire.call("io.mountwarden.Report")
COMMAND = [sys.executable, "-m", "mountwarden", "varlink"]
AS_THIRD = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())}; "
    "os.execv(sys.argv[2], sys.argv[2:])"
)
"""Puts a descriptor in the place where sd_listen_fds(3) has it, and becomes the command behind it."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(rooms.AGENT)}

absent = pytest.mark.skipif((RUN / "io.mountwarden").exists(), reason="the service runs here")


@absent
def test_without_a_service_each_call_says_so() -> None:
    done = subprocess.run(COMMAND, input=CALLS, capture_output=True, env=ENVIRONMENT, timeout=30, check=True)
    info, error = (json.loads(one) for one in done.stdout.split(b"\0")[:-1])
    assert info["parameters"]["interfaces"] == ["io.mountwarden", "io.systemd.Metrics", "org.varlink.service"]
    assert error["error"] == "io.mountwarden.NotRunning"
    assert "systemctl start mountwarden" in error["parameters"]["text"]
    assert done.stderr == b""


@absent
def test_a_connected_socket_is_taken_as_varlinkctl_gives_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", AS_THIRD, str(theirs.fileno()), *COMMAND]
        with subprocess.Popen(command, pass_fds=[theirs.fileno()], env=ENVIRONMENT, stdin=subprocess.DEVNULL) as relay:
            theirs.close()
            with Client(ours.fileno(), ours.fileno(), ours.close) as client:
                assert client.call("org.varlink.service.GetInfo", deadline=20)["product"] == "mountwarden"
            assert relay.wait(20) == 0


def test_a_socket_that_only_listens_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        command = [sys.executable, "-c", AS_THIRD, str(listener.fileno()), *COMMAND]
        done = subprocess.run(command, pass_fds=[listener.fileno()], env=ENVIRONMENT, capture_output=True, timeout=30)
    assert done.returncode == 2
    assert b"Accept=yes" in done.stderr


def test_the_relay_passes_on_more_than_any_buffer_both_ways() -> None:
    left, near = socket.socketpair()
    far, right = socket.socketpair()
    size = 4 << 20
    with left, near, far, right:
        children = [fork(lambda: varlink._relay(near.fileno(), near.fileno(), far, None)), fork(lambda: echo(right))]
        for one in (near, far, right):
            one.close()
        children.append(fork(lambda: (left.sendall(b"x" * size), left.shutdown(socket.SHUT_WR))))
        got = 0
        while part := left.recv(1 << 18):
            got += len(part)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
    assert got == size


def echo(peer: socket.socket) -> None:
    while part := peer.recv(1 << 16):
        peer.sendall(part)
    peer.close()


def fork(work: Any) -> int:
    if child := os.fork():
        return child
    status = 1
    try:
        signal.alarm(20)
        for fd in range(3, 64):
            if fd not in kept(work):
                os.close(fd) if exists(fd) else None
        work()
        status = 0
    finally:
        os._exit(status)


def kept(work: Any) -> set[int]:
    """Descriptors of the sockets that the work closes over."""
    cells = [cell.cell_contents for cell in work.__closure__ or ()]
    return {one.fileno() for one in cells if isinstance(one, socket.socket)}


def exists(fd: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


def test_the_relay_ends_when_nobody_takes_answers_any_more() -> None:
    read_end, write_end = os.pipe()
    never, source = os.pipe()
    far, right = socket.socketpair()
    os.close(read_end)
    with far, right:
        started = time.monotonic()
        varlink._relay(never, write_end, far, None)
        assert time.monotonic() - started < 5
    for fd in (write_end, never, source):
        os.close(fd)


# Other hosts -------------------------------------------------------------------------------------------------------


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in ssh's place, which notes its arguments and does what is written beside it."""
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\n. {tmp_path}/does\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def answers(ssh: Path, data: bytes) -> None:
    (ssh / "answer").write_bytes(data)
    (ssh / "does").write_text(f"cat {ssh}/answer; exec cat > /dev/null\n")


def document(**changes: object) -> dict[str, object]:
    summary = {"findings": 0, "by_kind": {}, "by_severity": {}, "roots": 0, "namespaces": 1, "mounts": 2}
    host = {"hostname": "node7", "kernel": "6.1", "boot_id": "x"}
    return {
        "schema": report_file.types.SCHEMA,
        "version": "1",
        "taken": "2026-01-01T00:00:00.000Z",
        "took_seconds": 0.1,
        "tier": "mountinfo",
        "mode": "act",
        "paused": False,
        "complete": True,
        "host": host,
        "agent": None,
        "summary": summary,
        "gaps": [],
        "roots": [],
        "findings": [],
        **changes,
    }


def test_a_report_of_another_host(ssh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers(ssh, wire.reply(wire.encode({"report": document(version="\x1b[2J")})))
    assert main.main(["-H", "me@node7", "report", "--json"]) == 0
    assert (ssh / "arguments").read_text().split() == ["-T", "--", "me@node7", "mountwarden", "varlink"]
    assert json.loads(capsys.readouterr().out)["version"] == "\\x1b[2J"
    assert main.main(["report", "--host", "me@node7"]) == 0
    assert "node7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("echo 'node7: no route' >&2; exit 255", "ssh node7: node7: no route"),
        (
            "printf 'a banner\\n\\033[2Jmountwarden: not found\\n' >&2; exit 127",
            "ssh node7: \\x1b[2Jmountwarden: not found",
        ),
        ("exit 3", "ssh node7: it ended with status 3"),
        ("printf 'no json\\0'; exec cat > /dev/null", "the service can't be understood"),
    ],
)
def test_why_another_host_does_not_answer_is_one_line(
    ssh: Path, capsys: pytest.CaptureFixture[str], does: str, said: str
) -> None:
    (ssh / "does").write_text(does + "\n")
    assert main.main(["-H", "node7", "status"]) == 2
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith(f"mountwarden: {said}")


def test_a_service_that_does_not_run_there_says_so(ssh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers(ssh, wire.error("io.mountwarden.NotRunning", {"text": "it does not run on node7"}))
    assert main.main(["-H", "node7", "report"]) == 2
    assert capsys.readouterr().err.startswith("mountwarden: it does not run on node7\n")


@pytest.mark.parametrize(("command", "name"), [("report", "report/2"), ("status", "status/1")])
def test_a_document_of_another_version_is_refused(
    ssh: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    answers(ssh, wire.reply(wire.encode({command: document(schema="mountwarden.other/1")})))
    assert main.main(["-H", "node7", command]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"mountwarden: node7 has no mountwarden.{name}",
        "hint: its schema is mountwarden.other/1; was it restarted after an upgrade?",
    ]


@pytest.mark.parametrize("report", [{"schema": "other/1"}, document(summary=None), document(findings=[{}]), [], None])
def test_a_document_that_can_not_be_understood_is_one_line(
    ssh: Path, capsys: pytest.CaptureFixture[str], report: object
) -> None:
    answers(ssh, wire.reply(wire.encode({"report": report})))
    assert main.main(["-H", "node7", "report"]) == 2
    assert capsys.readouterr().err.startswith("mountwarden: ")


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch x", "a\nb"])
def test_a_host_that_ssh_would_take_for_an_option_is_refused(ssh: Path, host: str) -> None:
    with pytest.raises(MountwardenError, match="is no host"):
        remote.connect(host)
    assert not (ssh / "arguments").exists()


def test_no_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unreachable) as error:
        remote.connect("node7")
    assert error.value.trouble is Trouble.ABSENT
