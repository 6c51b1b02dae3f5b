"""Answers by forked children: their parts in order, held back for a slow reader, ended by deadline or by their end."""

import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from mountwarden.errors import MountwardenError
from mountwarden.kernel import child
from mountwarden.service.answers import interfaces
from mountwarden.service.answers.children import AT_ONCE, Children, Job, Write
from mountwarden.varlink.interface import VarlinkError
from mountwarden.varlink.server import VarlinkServer

from tests.support.wait import wait_until


@dataclass
class Told:
    """What became of a job."""

    parts: list[bytes] = field(default_factory=list)
    ended: list[VarlinkError | None] = field(default_factory=list)
    open: bool = True

    def job(self, work: Callable[[Write], object], deadline: float = 5.0) -> Job:
        return Job(
            work, deadline, self.parts.append, lambda error, _seconds: self.ended.append(error), lambda: self.open
        )


@dataclass
class Loop:
    server: VarlinkServer
    children: Children

    def until(self, done: Callable[[], object], seconds: float = 5.0) -> None:
        """Turn as the service does: sleep while nothing is due."""
        until, poll = time.monotonic() + seconds, select.poll()
        poll.register(self.server, select.POLLIN)
        while not done():
            assert time.monotonic() < until
            poll.poll(self.children.at_most(0.5) * 1000)
            self.server.serve()
            self.children.turn()


@pytest.fixture
def loop() -> Iterator[Loop]:
    server = interfaces.server({})
    children = Children(server)
    yield Loop(server, children)
    children.close()
    server.close()
    wait_until(lambda: child.reap_late() == 0, 5, "the children are gone")


def three(write: Write) -> None:
    for number in range(3):
        write({"n": number})


def much(write: Write) -> None:
    for _part in range(40):
        write({"text": "x" * (1 << 18)})


def test_parts_come_in_order_and_then_the_end(loop: Loop) -> None:
    told = Told()
    loop.children.start(told.job(three))
    loop.until(lambda: told.ended)
    assert (told.parts, told.ended) == ([b'{"n":0}', b'{"n":1}', b'{"n":2}'], [None])


@pytest.mark.parametrize(
    ("error", "name", "parameters"),
    [
        (interfaces.NoSuchFinding("mw-1"), "NoSuchFinding", {"id": "mw-1", "hint": None}),
        (MountwardenError("no"), "Failed", {"text": "no"}),
        (ZeroDivisionError("x"), "Failed", {"text": "ZeroDivisionError: x"}),
        (SystemExit(), "Failed", {"text": "the child that was to answer died"}),
    ],
)
def test_what_a_child_raises_is_the_answer(
    loop: Loop, error: BaseException, name: str, parameters: dict[str, object]
) -> None:
    def fail(_write: Write) -> None:
        raise error

    told = Told()
    loop.children.start(told.job(fail))
    loop.until(lambda: told.ended)
    (found,) = told.ended
    assert found
    assert (found.name, found.parameters) == (f"io.mountwarden.{name}", parameters)


def test_a_child_that_takes_too_long_is_killed(loop: Loop) -> None:
    told, started = Told(), time.monotonic()
    loop.children.start(told.job(lambda _write: time.sleep(60), deadline=0.2))
    loop.until(lambda: told.ended)
    assert told.ended[0]
    assert told.ended[0].parameters == {"text": "there was no answer within 0.2 s"}
    assert time.monotonic() - started < 2


def test_a_slow_reader_keeps_the_child_waiting_and_the_loop_asleep(loop: Loop) -> None:
    told = Told(open=False)
    loop.children.start(told.job(much))
    turns, until = 0, time.monotonic() + 0.3
    poll = select.poll()
    poll.register(loop.server, select.POLLIN)
    while time.monotonic() < until:
        poll.poll(loop.children.at_most(0.1) * 1000)
        loop.server.serve()
        loop.children.turn()
        turns += 1
    assert turns < 10
    assert not told.parts
    told.open = True
    loop.until(lambda: told.ended)
    assert (len(told.parts), told.ended) == (40, [None])


def test_few_at_once_and_the_others_in_turn(loop: Loop) -> None:
    read_end, write_end = os.pipe()
    told = [Told() for _job in range(AT_ONCE + 1)]
    for one in told:
        loop.children.start(one.job(lambda _write: (os.write(write_end, b"x"), time.sleep(0.2))))
    time.sleep(0.1)
    assert os.read(read_end, 100) == b"x" * AT_ONCE
    loop.until(lambda: all(one.ended for one in told))
    assert os.read(read_end, 100) == b"x"
    for fd in (read_end, write_end):
        os.close(fd)


def test_a_job_that_nobody_waits_for_is_ended_and_says_nothing(loop: Loop) -> None:
    stopped, waiting, after = Told(), Told(), Told()
    jobs = [stopped.job(lambda _write: time.sleep(60)) for _job in range(AT_ONCE)]
    jobs.append(waiting.job(three))
    for job in jobs:
        loop.children.start(job)
    for job in reversed(jobs):
        loop.children.stop(job)
    loop.children.start(after.job(three))
    loop.until(lambda: after.ended)
    assert not stopped.ended
    assert not waiting.parts
