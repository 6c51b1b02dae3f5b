"""A forked child that serves one request after the other, and passes descriptors back (SCM_RIGHTS of unix(7)).

Where a child for each piece of work would cost too much. Like those of `child` it is killed when it misses a deadline.
It ends with its parent, has nothing open but what it was given, and its standard streams are /dev/null.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import NoReturn

from ..errors import NoAnswer
from . import child, syscalls

Reply = tuple[bytes, list[int]]
"""What is sent back, and descriptors that go with it."""
Serve = Callable[[bytes, list[int]], Reply]
"""In the child: answers a request and the descriptors that came with it, which are its own to close."""

_MOST = 1 << 17
"""Bytes of a request or an answer; what a socket buffers by default is more."""
_MOST_FDS = 1
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What systemd or a terminal sends to all processes: it is the parent that ends this one."""


class Worker:
    """The parent's side of a child that was forked for `serve`."""

    def __init__(self, start: Callable[[], Serve], *, idle: Callable[[], None], after: float, what: str) -> None:
        """`start` runs in the child once; what it returns answers requests, and may raise OSError.

        `idle` is called in the child where no request has come for `after` seconds. Raises: OSError as fork(2) does.
        """
        self._what = what
        self._owed = 0
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        try:
            self.pid = os.fork()
        except OSError:
            self._socket.close()
            theirs.close()
            raise
        if self.pid == 0:
            _run(start, idle, after, theirs, parent)
        theirs.close()

    def post(self, request: bytes, fds: Iterable[int] = ()) -> None:
        """Send a request whose answer nobody needs; the next `ask` waits for it. Raises: BrokenPipeError, NoAnswer."""
        self._send(request, fds)
        self._owed += 1

    def settle(self, *, deadline: float) -> bool:
        """Whether all that was posted has been answered within `deadline` seconds."""
        until = time.monotonic() + deadline
        with contextlib.suppress(NoAnswer, OSError):
            while self._owed:
                self._receive(until)
                self._owed -= 1
        return not self._owed

    @property
    def has_hung_up(self) -> bool:
        """Whether it has ended, or is about to: its end of the socket is closed."""
        poll = select.poll()
        poll.register(self._socket, 0)
        return bool(poll.poll(0))

    def ask(self, request: bytes, fds: Iterable[int] = (), *, deadline: float) -> Reply:
        """The answer to a request; its descriptors are close-on-exec, and the caller's.

        Raises: BrokenPipeError where the child ended before it answered; NoAnswer when it missed `deadline` (seconds);
        the OSError that it raised.
        """
        self._send(request, fds)
        data, got = self._receive(time.monotonic() + deadline)
        number = int.from_bytes(data[:4], "little")
        if number:
            for fd in got:
                os.close(fd)
            raise OSError(number, f"{os.strerror(number)} ({data[4:].decode() or self._what})")
        return data[4:], got

    def _send(self, request: bytes, fds: Iterable[int]) -> None:
        try:
            socket.send_fds(self._socket, [request], list(fds), socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise NoAnswer(f"{self._what} takes no request") from None

    def _receive(self, until: float) -> Reply:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise NoAnswer(f"{self._what} gave no answer in time")
        try:
            data, fds, _flags, _address = socket.recv_fds(self._socket, _MOST, _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            data, fds = b"", []
        if not data:
            raise BrokenPipeError(f"{self._what} ended without an answer")
        return data, fds

    def cpu_seconds(self) -> float:
        """Its processor time: clock_getcpuclockid(3). 0 where it was reaped."""
        try:
            return time.clock_gettime(~self.pid << 3 | 2)
        except OSError:
            return 0.0

    def end(self, *, seconds: float) -> None:
        """Kill it, and reap it where it ends within `seconds`; else `child.reap_late` does."""
        self.forget()
        child.end(self.pid, seconds=seconds)

    def forget(self) -> None:
        """Close the socket: in a child that was forked since, whose worker it is not."""
        self._socket.close()


def _run(
    start: Callable[[], Serve], idle: Callable[[], None], after: float, theirs: socket.socket, parent: int
) -> NoReturn:
    """In the child."""
    status = 1
    try:
        _let_go_of_everything(theirs.fileno())
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() == parent:
            _serve(start(), idle, after, theirs)
        status = 0
    finally:
        os._exit(status)


def _let_go_of_everything(fd: int) -> None:
    """But of the socket: locks, logs and pipes, whose end others wait for."""
    gc.disable()  # it would touch, and so copy, all memory that is shared with the parent
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):  # those of the C library
            signal.signal(number, signal.SIG_IGN if number in _IGNORED else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        null = os.open(os.devnull, os.O_RDWR)
    except OSError:  # a namespace need not have it
        null = os.memfd_create("null", os.MFD_CLOEXEC)
    for stream in range(3):
        if stream != fd:
            os.dup2(null, stream)
    os.closerange(3, fd)
    os.closerange(max(3, fd + 1), os.sysconf("SC_OPEN_MAX"))


def _serve(serve: Serve, idle: Callable[[], None], after: float, theirs: socket.socket) -> None:
    poll = select.poll()
    poll.register(theirs, select.POLLIN)
    while True:
        if not poll.poll(after * 1000):
            idle()
            poll.poll()
        request, fds, _flags, _address = socket.recv_fds(theirs, _MOST, _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        if not request:
            return
        try:
            data, answered = serve(request, fds)
            head = 0
        except OSError as error:
            head, data, answered = error.errno or 0, _call(error), []
        socket.send_fds(theirs, [head.to_bytes(4, "little") + data], answered)


def _call(error: OSError) -> bytes:
    """What it says beside the errno's own text, such as the system call."""
    text = error.strerror or ""
    return text.rpartition("(")[2].rstrip(")").encode() if "(" in text else b""
