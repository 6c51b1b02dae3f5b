"""One topology: its processes, what was done in it, and what can be asked of it."""

import contextlib
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from mountwarden.observe import entries, processes

from tests.support.prove import actor
from tests.support.prove.steps import MOST, Kind, Step
from tests.support.wait import wait_until

_SECONDS = 20.0


class Topology:
    """Processes with their namespaces, by number; 0 is home's."""

    def __init__(self, sockets: actor.Sockets) -> None:
        self._sockets = sockets
        self._started: list[int] = []
        self.actors: dict[int, int] = {}
        """Process ids of those that still do steps."""
        self.done: list[tuple[Step, int]] = []
        """Each step with its errno, 0 for those that were done."""
        home = actor.start_home(sockets)
        self._started.append(home)
        self._begun(0, home)

    def _begun(self, number: int, pid: int) -> int:
        error, _pid = actor.hear(self._sockets[number][0])
        if not error:
            self.actors[number] = pid
        return int(error)

    @property
    def used(self) -> Counter[Kind]:
        """How many steps of each kind were done."""
        return Counter(step.kind for step, error in self.done if not error)

    def namespace(self, number: int) -> int:
        """Inode of a process's mount namespace."""
        return processes.link_inode(self.actors[number], "mnt")

    def owner(self, number: int) -> int:
        """Inode of a process's user namespace."""
        return processes.link_inode(self.actors[number], "user")

    def pick(self, number: int) -> int:
        """One of the living processes."""
        living = sorted(self.actors)
        return living[number % len(living)]

    def step(self, step: Step) -> None:
        """Do it, or learn that the kernel refuses."""
        who = self.pick(step.who)
        if step.kind in (Kind.UNSHARE, Kind.UNSHARE_USER):
            free = [number for number in range(MOST) if number not in self.actors]
            if len(self.actors) >= MOST - 1 or not free:
                return
            step = Step(step.kind, who, step.a, free[-1], step.how)
        elif step.kind is Kind.ALONE and who == 0:
            return  # home is never only a jail, else nobody could act there
        error, pid = self.call(who, step)
        if pid:
            self._started.append(pid)
        if not error and step.kind in (Kind.UNSHARE, Kind.UNSHARE_USER):
            error = self._begun(step.b, pid)
            if error:
                _has_ended(pid)
        if not error and step.kind is Kind.ALONE:
            _has_ended(self.actors.pop(who))
        self.done.append((step, error))

    def call(self, who: int, message: "Step | partial[Any]") -> Any:
        """Have a process do a step or call a function; returns what it answers."""
        sock = self._sockets[who][0]
        actor.tell(sock, ([self.actors[number] for number in sorted(self.actors)], message))
        return actor.hear(sock)

    def end(self) -> None:
        """End every process of the topology, and with them its namespaces."""
        entries.close()  # all children are waited for
        for pid in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)  # we are PID 1 of our namespace: orphans come to us


def _has_ended(pid: int) -> None:
    """Wait until it has let go of its namespace, directory and files: it does so before it is a zombie.

    On a loaded machine that may take longer than our next step, and who is on its way out would be seen as a user.
    """
    wait_until(lambda: _state(pid) in ("Z", "X"), _SECONDS)


def _state(pid: int) -> str:
    try:
        return processes.read(f"/proc/{pid}/stat").rpartition(b") ")[2][:1].decode()
    except (FileNotFoundError, ProcessLookupError):
        return "X"


@contextlib.contextmanager
def topology(steps: tuple[Step, ...]) -> Iterator[Topology]:
    """Build one, and take it down. The caller must be PID 1 of a pid namespace."""
    assert os.getpid() == 1
    sockets = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(MOST)]
    for end, _other in sockets:
        end.settimeout(_SECONDS)
    built = None
    try:
        built = Topology(sockets)
        for step in steps:
            built.step(step)
        yield built
    finally:
        if built is not None:
            built.end()
        for pair in sockets:
            for end in pair:
                end.close()
