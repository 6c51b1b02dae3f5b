"""What a proof that nobody owns a mount asks of the host; each thing once for all mounts of one call."""

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..errors import NoAnswer
from ..model import Match, Mount, Root, RootState
from ..observe import traces
from ..observe.enter import in_namespace
from ..observe.processes import Daemon
from ..observe.traces import Traces
from . import daemon_alive
from .sources import Host

T = TypeVar("T")

Pairs = Sequence[tuple[Match, Mount]]


_EACH = 0.002
"""Seconds to read the files of one mount."""


class Inquiry:
    """One call's. `older_than` is in seconds: what is younger, a daemon too, proves nothing."""

    def __init__(self, host: Host, roots: Sequence[RootState], older_than: float) -> None:
        self.host = host
        self.roots = roots
        self.older_than = older_than
        self._silent = set[Daemon]()
        self._traces: Traces | Exception | None = None

    def daemon(self, root: Root) -> Daemon | None:
        """The root's daemon, where it runs in the root's home, acts, and did not start just now."""
        daemon = self.host.daemon_of(root)
        if daemon is None or daemon in self._silent:
            return None
        return daemon if daemon_alive.runs(daemon, self.older_than) else None

    @property
    def traces(self) -> Traces:
        """All processes, listed once. Raises: NoAnswer, OSError."""
        if self._traces is None:
            try:
                self._traces = traces.listed()
            except (OSError, NoAnswer) as error:
                self._traces = error
        if isinstance(self._traces, Exception):
            raise self._traces
        return self._traces

    def ask(self, daemon: Daemon, function: Callable[[], T], mounts: int) -> T:
        """What `function` returns in a child in the daemon's mount namespace, in time for a daemon and so many mounts.

        One that gave no answer is not asked again. The processes are listed after it: who came meanwhile is seen.
        Raises: NoAnswer; OSError; what `function` raises.
        """
        self._traces = None
        try:
            kind = f"the child that asks {daemon.comm}, process {daemon.pid}"
            return in_namespace(daemon.pid, function, inode=daemon.namespace, deadline=_seconds(mounts), kind=kind)
        except Exception:
            self._silent.add(daemon)
            raise

    def ask_here(self, function: Callable[[], T], mounts: int) -> T:
        """The same in our own mount namespace, of what may hang."""
        self._traces = None
        kind = "the child that reads an engine's files"
        return in_namespace(os.getpid(), function, deadline=_seconds(mounts), kind=kind)


def _seconds(mounts: int) -> float:
    return daemon_alive.SECONDS + mounts * _EACH
