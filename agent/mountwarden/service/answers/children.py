"""Answers that may take long, by forked children: each writes parts of JSON to a pipe, which the loop passes on.

A part is passed on when the peer has taken the one before it: a peer that reads slowly keeps its child waiting, not the
loop, and not beyond the child's deadline.
"""

import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from ...errors import MountwardenError
from ...kernel import child
from ...varlink import wire
from ...varlink.interface import VarlinkError
from ...varlink.server import VarlinkServer
from .interfaces import Failed

AT_ONCE = 2
"""Children; further jobs wait for their turn."""
LARGEST_PART = 64 << 20
_READ = 1 << 18
_PART, _ERROR, _END = b".", b"!", b"="

Write = Callable[[object], None]
"""In the child: writes one part."""


@dataclass(eq=False, slots=True)
class Job:
    """One answer. The callbacks are called in the loop."""

    work: Callable[[Write], object]
    """In the child. What it raises ends the job: VarlinkError as such, anything else as Failed."""
    deadline: float
    """Seconds from the fork."""
    part: Callable[[bytes], object]
    """Takes a part, as JSON."""
    done: Callable[[VarlinkError | None, float], object]
    """The end: an error or None, and the child's processor seconds as far as they are known."""
    taken: Callable[[], bool] = lambda: True
    """Whether the next part may come."""
    pid: int = 0
    fd: int = -1
    until: float = float("inf")
    parts: wire.Splitter = field(default_factory=lambda: wire.Splitter(LARGEST_PART))
    watched: bool = False


class Children:
    """Jobs that wait, and those that run."""

    def __init__(self, server: VarlinkServer) -> None:
        self._server = server
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []

    def start(self, job: Job) -> None:
        """Do it, now or when its turn comes."""
        self._waiting.append(job)
        self._fork()

    def stop(self, job: Job) -> None:
        """Its answer is not wanted any more; `done` is not called."""
        if job in self._waiting:
            self._waiting.remove(job)
        elif job in self._running:
            self._close(job)
        self._fork()

    def turn(self) -> None:
        """Go on with those whose peer has taken a part, and end those whose time is up."""
        for job in tuple(self._running):
            if time.monotonic() >= job.until:
                self._end(job, Failed(f"there was no answer within {job.deadline:g} s"))
            else:
                self._pass_on(job)

    def at_most(self, seconds: float) -> float:
        """How long to wait until `turn` is due: `seconds`, or less."""
        return max(0.0, min([seconds, *(job.until - time.monotonic() for job in self._running)]))

    def close(self) -> None:
        """End all."""
        self._waiting.clear()
        for job in tuple(self._running):
            self._close(job)

    def _fork(self) -> None:
        while self._waiting and len(self._running) < AT_ONCE:
            job = self._waiting.popleft()
            try:
                read_end, write_end = os.pipe2(os.O_CLOEXEC)
                job.pid = os.fork()
            except OSError as error:
                job.done(Failed(f"no process can be made: {error.strerror}"), 0.0)
                continue
            if job.pid == 0:
                self._work(job, write_end)
            os.close(write_end)
            os.set_blocking(read_end, False)
            job.fd, job.until = read_end, time.monotonic() + job.deadline
            self._running.append(job)
            self._pass_on(job)

    def _work(self, job: Job, fd: int) -> NoReturn:
        """In the child."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            signal.alarm(math.ceil(job.deadline) + 1)  # should the service be killed
            self._server.forget()
            _run(job.work, fd)
            status = 0
        finally:
            os._exit(status)

    def _pass_on(self, job: Job) -> None:
        """All parts that are there and may come now."""
        while job.taken():
            try:
                part = job.parts.next()
                if part is None and not self._read(job):
                    return
            except (wire.Malformed, OSError):
                self._end(job, Failed("the answer is too long"))
                return
            if part and not self._use(job, part[:1], part[1:]):
                return
        self._watch(job, wanted=False)

    def _read(self, job: Job) -> bool:
        """Whether something was there; where not, it is watched for."""
        try:
            data = os.read(job.fd, _READ)
        except BlockingIOError:
            self._watch(job, wanted=True)
            return False
        if not data:
            self._end(job, Failed("the child that was to answer died"))
            return False
        job.parts.feed(data)
        return True

    def _use(self, job: Job, tag: bytes, data: bytes) -> bool:
        """Whether there may be more."""
        if tag == _PART:
            job.part(data)
            return job in self._running  # its peer may have gone
        fields = wire.parse(data)
        error = VarlinkError(fields["error"], **fields["parameters"]) if tag == _ERROR else None
        self._end(job, error, fields.get("seconds", 0.0))
        return False

    def _watch(self, job: Job, *, wanted: bool) -> None:
        if wanted and not job.watched:
            self._server.watch(job.fd, lambda: self._pass_on(job))
        elif job.watched and not wanted:
            self._server.unwatch(job.fd)
        job.watched = wanted

    def _end(self, job: Job, error: VarlinkError | None, seconds: float = 0.0) -> None:
        self._close(job)
        job.done(error, seconds)
        self._fork()

    def _close(self, job: Job) -> None:
        self._running.remove(job)
        self._watch(job, wanted=False)
        os.close(job.fd)
        child.abandon(job.pid)


def _run(work: Callable[[Write], object], fd: int) -> None:
    """In the child: the work, its parts and its end on the pipe."""
    with open(fd, "wb") as pipe:

        def write(tag: bytes, value: object) -> None:
            pipe.write(tag + wire.encode(value) + b"\0")
            pipe.flush()

        try:
            work(lambda value: write(_PART, value))
            write(_END, {"seconds": time.process_time()})
        except VarlinkError as error:
            write(_ERROR, {"error": error.name, "parameters": error.parameters})
        except Exception as error:
            ours = isinstance(error, OSError | MountwardenError)
            failed = Failed(str(error) if ours else f"{type(error).__name__}: {error}")
            write(_ERROR, {"error": failed.name, "parameters": failed.parameters})
