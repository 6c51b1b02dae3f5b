"""A pytest plugin: from MOUNTWARDEN_DEADLINE (seconds since the epoch) on no further test is started.

What was not started is counted in the summary; it is neither a pass nor a failure, since the time was spent.
"""

import os
import time
from collections.abc import Iterator

import pytest

_not_started: list[str] = []


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
