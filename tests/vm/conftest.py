"""The guests' answers as a fixture, and the table at the end."""

import os
from pathlib import Path

import pytest

from tests.support.fixtures import builds
from tests.support.vm import page, session
from tests.support.vm.apt import Unavailable
from tests.support.vm.session import Answers

__all__ = ["builds"]

PAGE = "MOUNTWARDEN_KERNELS_PAGE"
"""The variable that names the page to write, once every kernel has answered."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "answers" in metafunc.fixturenames:
        try:
            kernels = session.chosen()
        except Unavailable as error:
            raise pytest.UsageError(str(error)) from None
        metafunc.parametrize("answers", kernels, ids=[k.name for k in kernels], indirect=True, scope="session")


@pytest.fixture(scope="session")
def answers(request: pytest.FixtureRequest) -> Answers:
    """What a guest with this kernel answered; booted for the first test that asks."""
    try:
        return session.answers(request.param)
    except Unavailable as error:
        pytest.skip(str(error))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of the kernels that answered; the page is written only from all of them."""
    known = session.answered()
    if not known:
        return
    terminalreporter.section("other kernels")
    terminalreporter.write_line(page.text(known))
    if (place := os.environ.get(PAGE)) and len(known) == len(session.KERNELS):
        Path(place).write_text(page.page(known))
        terminalreporter.write_line(f"written: {place}")
