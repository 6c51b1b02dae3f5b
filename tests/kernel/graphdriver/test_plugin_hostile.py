"""What a hostile or broken client sends to the plugin's socket: refused in time, and the others are served."""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from mountwarden.graphdriver.plugin.connections import PluginLimits

from tests.kernel.graphdriver import client
from tests.kernel.graphdriver.client import PluginClient
from tests.support.wait import wait_until

SHORT = PluginLimits(connections=20, first=0.6, idle=0.6, head=0.3, body=0.4, silence=0.5, rest=1 << 20)
HEAD = b"POST /GraphDriver.Exists HTTP/1.1\r\nHost: x\r\n"
APPLY = b"POST /GraphDriver.ApplyDiff?id=a HTTP/1.1\r\nHost: x\r\n"


def serving(limits: PluginLimits | None = None) -> str:
    """A plugin; the path of its socket."""
    os.makedirs("/mnt/run", exist_ok=True)
    path = client.start("/mnt/run", None, limits)[1]
    PluginClient(path).init("/mnt/docker")
    return path


def connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(path)
    made.settimeout(10)
    return made


def said(path: str, *parts: bytes, pause: float = 0.0) -> bytes:
    """All that comes back after these parts, to the connection's end, which must come."""
    with connected(path) as made:
        for part in parts:
            with contextlib.suppress(BrokenPipeError):
                made.sendall(part)
            time.sleep(pause)
        return b"".join(iter(lambda: received(made), b""))


def received(made: socket.socket) -> bytes:
    try:
        return made.recv(65536)
    except ConnectionResetError:
        return b""


def works(path: str) -> bool:
    try:
        answer = PluginClient(path).raw("/GraphDriver.Capabilities", b"{}")
    except ConnectionError:  # refused, with a part of the request unread
        return False
    return answer[0] == 200 and b"ReproducesExactDiffs" in answer[1]


REFUSED = {
    "a length of another alphabet": ("400", HEAD + "Content-Length: ²\r\n\r\n".encode()),
    "a length of 5,000 digits": ("400", HEAD + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\n"),
    "a negative length": ("400", HEAD + b"Content-Length: -1\r\n\r\n"),
    "a length with a sign": ("400", HEAD + b"Content-Length: +2\r\n\r\n{}"),
    "two lengths": ("400", HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "a length and chunks": ("400", HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"),
    "another coding": ("400", HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
    "a chunk of no size": ("400", HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n"),
    "a chunk of a Python number": ("400", HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk of 5,000 digits": ("400", HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 5000 + b"\r\n"),
    "a chunk that is longer": ("400", HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx\r\n0\r\n\r\n"),
    "trailers without end": ("400", HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 100),
    "a broken archive": ("400", APPLY + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n"),
    "a body that does not come": ("408", HEAD + b"Content-Length: 100\r\n\r\n{"),
    "an archive that does not come": ("408", APPLY + b"Content-Length: 100\r\n\r\n{"),
    "a head that does not end": ("408", HEAD),
    "a line that does not end": ("408", b"POST /Graph"),
    "a head of 1 MiB": ("431", HEAD + b"X: " + b"y" * (1 << 20)),
    "a head of 1 MiB in lines": ("431", HEAD + b"X: y\r\n" * 200_000),
    "a line of 1 MiB": ("414", b"POST /" + b"x" * (1 << 20)),
    "no POST": ("501", b"GET /GraphDriver.Exists HTTP/1.1\r\n\r\n"),
    "no HTTP": ("400", b"\x16\x03\x01\x02\x00 \x1b[2J\r\n\r\n"),
}


def test_what_is_no_request_is_refused_in_time_and_in_words(capfd: pytest.CaptureFixture[str]) -> None:
    path = serving(SHORT)
    for what, (status, data) in REFUSED.items():
        started = time.monotonic()
        answer = said(path, data)
        assert status.encode() in answer.partition(b"\r\n")[0], (what, answer[:200])
        assert time.monotonic() - started < 3, what
    assert works(path)
    assert "Traceback" not in capfd.readouterr().err


def test_silence_ends_a_connection() -> None:
    path = serving(SHORT)
    started = time.monotonic()
    assert said(path) == b""
    again = said(path, HEAD + b"Content-Length: 2\r\n\r\n{}")
    assert again.count(b"HTTP/1.1 200") == 1
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("head", [HEAD + b"Content-Length: 500\r\n\r\n", HEAD, b"P"])
def test_a_byte_at_a_time_takes_no_longer(head: bytes) -> None:
    path = serving(SHORT)
    started = time.monotonic()
    answer = said(path, head, *[b"x"] * 12, pause=0.1)
    assert b"408" in answer.partition(b"\r\n")[0]
    assert time.monotonic() - started < 3


def test_a_body_without_end_is_refused() -> None:
    path = serving(SHORT)
    with connected(path) as made:
        made.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 1 << 30:
                made.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
    assert sent < 64 << 20
    assert works(path)


def test_requests_that_come_at_once_are_answered_in_their_order() -> None:
    body = json.dumps({"ID": "no"}).encode()
    one = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connected(serving()) as made:
        made.sendall(one * 50)
        made.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: made.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200") == answer.count(b'{"Exists": false}') == 50


def test_a_thousand_idle_connections_keep_nobody_out() -> None:
    path = serving()
    threads = threading.active_count()
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(connected(path))
        assert works(path)
        wait_until(
            lambda: threading.active_count() - threads <= PluginLimits().connections + 2, 10, "the others have ended"
        )
        assert works(path)
    wait_until(lambda: threading.active_count() - threads <= 1, 10, "all have ended")


@contextlib.contextmanager
def at_work(path: str, count: int) -> Iterator[None]:
    """So many connections, each in the middle of a request."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(connected(path)).sendall(APPLY + b"Content-Length: 1000\r\n\r\n{")
        yield


def test_where_all_are_at_work_one_more_is_refused_and_later_served() -> None:
    path = serving(replace(SHORT, silence=20.0))
    wait_until(lambda: works(path), 5)
    with at_work(path, SHORT.connections + 5):
        wait_until(lambda: said(path, HEAD) == b"", 10, "all are at work")
    wait_until(lambda: works(path), 5, "they have ended")
