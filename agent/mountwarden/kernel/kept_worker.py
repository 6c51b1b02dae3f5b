"""A worker that is kept, started when it is first asked, and replaced when it had to be given up."""

import os
from collections.abc import Callable

from ..errors import NoAnswer
from . import child
from .worker import Worker

LEFT_BEHIND = 4
"""Most children of one kind that SIGKILL does not end, because they wait in the kernel: beyond it none is started."""


class KeptWorker:
    """The worker of this process. A process that was forked since gets one of its own."""

    def __init__(self, make: Callable[[], Worker], *, hang: str) -> None:
        """`make` forks a new one. `hang` says where those hang that SIGKILL did not end, for users."""
        self._make = make
        self._hang = hang
        self._owner = 0
        """The process whose child it is."""
        self.worker: Worker | None = None
        self._killed: list[Worker] = []
        """Those that may not have been reaped."""

    def get(self) -> Worker:
        """The worker, a new one where there is none. Raises: NoAnswer with `stuck`; OSError as fork(2) does."""
        self.forget_others()
        if self.worker is None:
            if stuck := self.stuck:
                raise NoAnswer(stuck)
            self.worker, self._owner = self._make(), os.getpid()
        return self.worker

    def give_up(self, *, seconds: float) -> None:
        """Kill the worker, and wait up to `seconds` for its end. The next `get` starts another."""
        self.forget_others()
        if self.worker is not None:
            self.worker.end(seconds=seconds)
            self._killed.append(self.worker)
        self.worker = None
        self._reap()

    @property
    def stuck(self) -> str | None:
        """Why no worker can be started; None where one can."""
        return f"{LEFT_BEHIND} children hang in {self._hang}" if len(self.left()) >= LEFT_BEHIND else None

    def left(self) -> frozenset[int]:
        """Pids of those that were killed and have not ended."""
        self.forget_others()
        self._reap()
        return frozenset(worker.pid for worker in self._killed)

    def _reap(self) -> None:
        child.reap_late()
        self._killed = [worker for worker in self._killed if child.is_unreaped(worker.pid)]

    def forget_others(self) -> None:
        """In a process that was forked since: the worker is its parent's."""
        if self._owner not in (0, os.getpid()):
            if self.worker is not None:
                self.worker.forget()
            self.worker, self._owner, self._killed = None, 0, []

    def cpu_seconds(self) -> float:
        """Processor seconds of the workers that have not been reaped: RUSAGE_CHILDREN has the others."""
        self.forget_others()
        self._reap()
        living = [self.worker] if self.worker is not None else []
        return sum(worker.cpu_seconds() for worker in living + self._killed)
