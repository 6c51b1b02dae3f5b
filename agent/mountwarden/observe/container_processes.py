"""Whether anything lives of a container: a process in its control group, its monitor, or a runtime that works on it."""

import contextlib
import os
import time
from collections.abc import Iterator

from ..errors import NoAnswer
from ..kernel import child
from . import processes

PERIOD = 10.0
"""Seconds for which an answer stands: each takes a search of all processes."""
DEADLINE = 2.0
"""Seconds for a search."""

_CHILD = "the child that looks for a container's processes"


class ContainerProcesses:
    """Answers by the container's id, which its control group and the command lines of its helpers hold."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[float, bool]] = {}

    def live(self, container: str) -> bool:
        """Whether a process has the id in the path of its control group or in its command line."""
        now = time.monotonic()
        self._answers = {known: one for known, one in self._answers.items() if now - one[0] < PERIOD}
        if container not in self._answers:
            self._answers[container] = now, _lives(os.fsencode(container))
        return self._answers[container][1]


def _lives(identity: bytes) -> bool:
    """In a child: what a command line is read from may hang. Where that gives no answer, it counts as living."""
    try:
        with child.one_at_a_time(_CHILD):
            return child.ask(lambda: _any_names(identity), deadline=DEADLINE, what=_CHILD)
    except (OSError, NoAnswer):
        return True


def _any_names(identity: bytes) -> bool:
    return any(identity in text for pid in processes.pids() for text in _texts(pid))


def _texts(pid: int) -> Iterator[bytes]:
    yield processes.read_or_empty(f"/proc/{pid}/cgroup")
    with contextlib.suppress(OSError):
        yield processes.command_line(f"/proc/{pid}")
