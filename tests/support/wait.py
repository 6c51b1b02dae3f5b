"""Waiting for what no event tells: short looks with a growing pause and a deadline, never a fixed sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def wait_until(condition: Callable[[], _T], timeout: float = 30, what: str = "") -> _T:
    """Call `condition` until its answer is true, and return that answer.

    The pause between two looks grows from 1 ms to 100 ms. After `timeout` seconds, and one last look, an
    AssertionError says `what` did not happen and what the last answer was.
    """
    deadline = time.monotonic() + timeout
    pause = 0.001
    while True:
        late = time.monotonic() >= deadline
        answer = condition()
        if answer:
            return answer
        if late:
            raise AssertionError(f"not within {timeout:g} s: {what or repr(condition)} (last answer: {answer!r})")
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 1.5, 0.1)
