"""A process that tries examples: PID 1 of a pid namespace, with few mounts, so that each is cheap and closed."""

import gc
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from typing import NoReturn

from mountwarden.kernel import abi, syscalls
from mountwarden.mounts.mountinfo import parse
from mountwarden.observe.umount_probe import probe_behaviour

from tests.support.prove import actor
from tests.support.prove.judge import Outcome, examine
from tests.support.prove.mutants import PREDICTORS
from tests.support.prove.steps import BASE, Scenario

Try = Callable[[Scenario], Outcome]


@contextmanager
def worker(mutant: str | None = None) -> Iterator[Try]:
    """Start one; what is yielded tries a scenario. With `mutant`, the predictor is one that is known to be wrong."""
    ours, theirs = Pipe()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_its_parent(theirs, mutant)
    theirs.close()

    def try_one(scenario: Scenario) -> Outcome:
        ours.send(scenario)
        answer = ours.recv()
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Outcome)
        return answer

    try:
        yield try_one
    finally:
        ours.close()
        os.waitpid(pid, 0)


def _be_its_parent(connection: Connection, mutant: str | None) -> NoReturn:
    """Make the pid namespace; its first process must be a child of who made it."""
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        syscalls.unshare(abi.CLONE_NEWNS | abi.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            syscalls.die_with_parent(signal.SIGKILL)
            _serve(connection, mutant)
        connection.close()
        os.waitpid(pid, 0)
    finally:
        os._exit(0)


def _serve(connection: Connection, mutant: str | None) -> NoReturn:
    try:
        _few_mounts()
        probe_behaviour()
        gc.freeze()
        while True:
            scenario = connection.recv()
            try:
                answer: Outcome | Exception = examine(scenario, PREDICTORS[mutant])
            except Exception as error:
                answer = error
            connection.send(answer)
    except EOFError:
        pass  # nobody asks any more
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)  # the end of the connection, too


def _few_mounts() -> None:
    """Leave "/", a /proc of our own and a tmpfs: what the namespaces of all examples have in common."""
    syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_PRIVATE)
    with open("/proc/self/mountinfo", "rb") as file:
        mounts, _unreadable = parse(file.read())
    for mount in reversed(mounts):
        if mount.point != b"/":
            with suppress(OSError):
                syscalls.umount(mount.point, abi.MNT_DETACH)
    syscalls.mount(b"proc", b"/proc", b"proc")
    syscalls.mount(b"base", b"/mnt", b"tmpfs", 0, b"size=1m,mode=755")
    for directory in (BASE, *actor.LOWER):
        os.mkdir(directory)
        if directory != BASE:
            actor.populate(directory)
