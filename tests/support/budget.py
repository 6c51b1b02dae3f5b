"""A pytest plugin: from MOUNTWARDEN_DEADLINE (seconds since the epoch) on no further test is started.

What was not started is named in the summary; it is neither a pass nor a failure, since the time was spent. A machine
that runs this may be a new one, with nothing left of the last run. So each day begins with other files, far from where
the day before began, and none is left out for ever.
"""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

_not_started: list[str] = []
_STEP = 0.382
"""Of the files, by which a day begins later than the one before: the golden section, which comes near each of them."""


def rotated(files: Sequence[Path], day: int) -> list[Path]:
    """The files of a run from another one on each day; `day` is counted from any day."""
    first = int(day * _STEP * len(files)) % max(1, len(files))
    return [*files[first:], *files[:first]]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where not all may be started, the order is today's. A file's tests stay together: they share their hosts."""
    if os.environ.get("MOUNTWARDEN_DEADLINE"):
        files = list(dict.fromkeys(item.path for item in items))
        place = {path: at for at, path in enumerate(rotated(files, int(time.time() // 86400)))}
        items.sort(key=lambda item: place[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Leave the test alone once the deadline is over."""
    deadline = float(os.environ.get("MOUNTWARDEN_DEADLINE") or "inf")
    if time.time() < deadline:
        return None
    _not_started.append(item.nodeid)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say how many were left, and which."""
    yield
    if _not_started:
        terminalreporter.section(f"{len(_not_started)} tests were not started: the time budget was used up")
        for name in _not_started:
            terminalreporter.write_line(name)
