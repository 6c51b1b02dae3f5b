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
        self._worker: Worker | None = None
        self._killed: list[Worker] = []
        """Those that may not have been reaped."""

    def current(self) -> Worker | None:
        """The worker; None where there is none yet, or any more."""
        if self._owner not in (0, os.getpid()):
            if self._worker is not None:
                self._worker.forget()
            self._worker, self._owner, self._killed = None, 0, []
        return self._worker

    def get(self) -> Worker:
        """The worker, a new one where there is none. Raises: NoAnswer with `stuck`; OSError as fork(2) does."""
        worker = self.current()
        if worker is None:
            if stuck := self.stuck:
                raise NoAnswer(stuck)
            worker = self._make()
            self._worker, self._owner = worker, os.getpid()
        return worker

    def give_up(self, *, seconds: float) -> None:
        """Kill the worker, and wait up to `seconds` for its end. The next `get` starts another."""
        if worker := self.current():
            worker.end(seconds=seconds)
            self._killed.append(worker)
        self._worker = None
        self._reap()

    @property
    def stuck(self) -> str | None:
        """Why no worker can be started; None where one can."""
        if len(self.left()) < LEFT_BEHIND:
            return None
        return f"{LEFT_BEHIND} children hang in {self._hang} and can't be killed"

    def left(self) -> frozenset[int]:
        """Pids of those that were killed and have not ended."""
        self.current()
        self._reap()
        return frozenset(worker.pid for worker in self._killed)

    def _reap(self) -> None:
        child.reap_late()
        self._killed = [worker for worker in self._killed if child.is_unreaped(worker.pid)]

    def cpu_seconds(self) -> float:
        """Processor seconds of the workers that have not been reaped: RUSAGE_CHILDREN has the others."""
        worker = self.current()
        self._reap()
        living = [worker] if worker else []
        return sum(one.cpu_seconds() for one in living + self._killed)
