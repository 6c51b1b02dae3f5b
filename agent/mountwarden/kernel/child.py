"""Work that may hang, or that enters another namespace, in a forked child with a deadline.

The parent reads the answer, then reaps: a child that writes more than a pipe holds would otherwise wait for a parent
that waits for it. A child that misses its deadline is killed; one that SIGKILL does not end, because it waits in the
kernel (for a dead network file system), is left behind, and reaped later.
"""

import contextlib
import os
import pickle
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ..errors import MountwardenError, NoAnswer

T = TypeVar("T")

_READY = 0.05
"""Seconds for an answer that was ready when one before it was late."""
_REAP_SECONDS = 1.0
"""Seconds for a child to end after SIGKILL."""


def ask(function: Callable[[], T], *, deadline: float, what: str = "a child") -> T:
    """Run `function` in a forked child; return what it returned, or raise the `Exception` that it raised.

    `deadline` is in seconds. The child runs no exit handlers. What it returns must be picklable; an exception that is
    not picklable is raised as a MountwardenError with its text.

    Raises: NoAnswer when the child missed the deadline or died without an answer; OSError as fork(2) does.
    """
    (answer,) = ask_each((function,), deadline=deadline, what=what)
    if isinstance(answer, NoAnswer):
        raise answer
    return answer


def ask_each(functions: Iterable[Callable[[], T]], *, deadline: float, what: str = "a child") -> list[T | NoAnswer]:
    """The same of several functions at once, each in a child of its own; a missing answer is in the list."""
    until = time.monotonic() + deadline
    children: list[tuple[int, int]] = []
    statuses: list[int | None] = []
    try:
        for function in functions:
            children.append(_forked(function))
        answers = [_read(read_end, max(until, time.monotonic() + _READY)) for _pid, read_end in children]
    finally:
        for pid, read_end in children:
            os.close(read_end)
            statuses.append(end(pid))
    return [_understood(answer, status, deadline, what) for answer, status in zip(answers, statuses, strict=True)]


def _forked(function: Callable[[], object]) -> tuple[int, int]:
    """A child that answers, and the end of the pipe from which its answer is read. Raises: OSError."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError:
        os.close(read_end)
        os.close(write_end)
        raise
    if pid == 0:
        os.close(read_end)
        _answer(function, write_end)
    os.close(write_end)
    return pid, read_end


def _understood(answer: bytes, status: int | None, deadline: float, what: str) -> Any:
    if not answer:
        how = f"killed by {signal.Signals(-status).name}" if status is not None and status < 0 else "no answer in time"
        return NoAnswer(f"{what} gave no answer ({how})", hint=f"the deadline is {deadline:g} s")
    result = pickle.loads(answer)  # written by our own child
    if isinstance(result, _Raised):
        raise result.error
    return result


class _Raised:
    def __init__(self, error: Exception) -> None:
        self.error = error


def _answer(function: Callable[[], object], write_end: int) -> None:
    """In the child: never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        try:
            data = pickle.dumps(function())
        except Exception as error:
            data = _pickled_error(error)
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(data)
        status = 0
    finally:
        os._exit(status)


def _pickled_error(error: Exception) -> bytes:
    error.__traceback__ = None
    try:
        data = pickle.dumps(_Raised(error))
        pickle.loads(data)  # keyword-only arguments of an exception's constructor break only here
    except Exception:
        kept = MountwardenError(f"{type(error).__name__}: {error}")
        data = pickle.dumps(_Raised(kept))
    return data


def _read(fd: int, until: float) -> bytes:
    """All that arrives until end of file; empty when `until` (seconds of the monotonic clock) passes first."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    parts: list[bytes] = []
    while (left := until - time.monotonic()) > 0:
        if not poll.poll(left * 1000):
            continue
        part = os.read(fd, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return b""


def end(pid: int, *, seconds: float = _REAP_SECONDS) -> int | None:
    """Kill a child, whether it has ended or not, and reap it: its exit status, negative for a signal.

    None when it does not end within `seconds` (an uninterruptible wait): `reap_late` reaps it.
    """
    with contextlib.suppress(ProcessLookupError):
        # A child that has answered is about to exit by itself; SIGKILL makes sure, and its status does not matter then.
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + seconds
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            _unreaped.add(pid)
            return None
    finally:
        os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


_unreaped: set[int] = set()


def abandon(pid: int) -> None:
    """Kill a child, whether it has ended or not, and reap it now or with a later `reap_late`. Waits for nothing."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _unreaped.add(pid)
    reap_late()


def reap_late() -> int:
    """Reap children that did not end when they were killed; returns how many still have not."""
    for pid in tuple(_unreaped):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0]
        except ChildProcessError:  # it is a child of the process that this one was forked from
            ended = pid
        if ended:
            _unreaped.discard(pid)
    return len(_unreaped)


@contextlib.contextmanager
def one_at_a_time(kind: str) -> Iterator[None]:
    """For what may hang again and again: children that are asked within it, but none while one of before hangs.

    Raises: NoAnswer where one does, which SIGKILL did not end.
    """
    reap_late()
    if _hanging.get(kind, frozenset()) & _unreaped:
        raise NoAnswer(f"{kind} hangs since an earlier scan, and can't be killed")
    before = frozenset(_unreaped)
    try:
        yield
    finally:
        _hanging[kind] = frozenset(_unreaped - before)


_hanging: dict[str, frozenset[int]] = {}
"""By kind: children that it has left behind."""


def is_unreaped(pid: int) -> bool:
    """Whether a child that was killed was not reaped yet."""
    return pid in _unreaped
