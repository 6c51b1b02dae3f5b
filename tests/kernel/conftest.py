"""Fixtures of the kernel tests. What is found in a `home` is looked for by each tier that this kernel has."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mountwarden.cli import host_view
from mountwarden.model import Tier

from tests.kernel.one_leak import Leaked, leak
from tests.kernel.topology import Home
from tests.support import tiers
from tests.support.scratch_ns import Sandbox, hold

BY_EACH_TIER = ("test_abandoned", "test_findings", "test_processless", "test_namespace_ids", "test_restart")
"""Modules whose tests run on each tier in `make test` too; of the others, those on the best one alone."""

WITHOUT_A_SCANNER = ("test_events", "test_predict", "test_prove", "test_tiers", "test_who", "test_who_meant")
"""Modules whose tests never make a Scanner, or ask for each tier themselves."""


for _name in (*BY_EACH_TIER, *WITHOUT_A_SCANNER):
    assert Path(__file__).with_name(f"{_name}.py").is_file(), f"{_name} is named here, and is not there"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "tier" not in metafunc.fixturenames:
        return
    always = metafunc.module.__name__.rpartition(".")[2] in BY_EACH_TIER
    best, *others = tiers.available()
    if metafunc.module.__name__.rpartition(".")[2] in WITHOUT_A_SCANNER:
        others = []
    later = [pytest.param(tier, marks=() if always else pytest.mark.long) for tier in others]
    metafunc.parametrize("tier", [best, *later], ids=str, indirect=True)


@pytest.fixture
def tier(request: pytest.FixtureRequest) -> Iterator[Tier]:
    """The tier of every Scanner of the test."""
    with tiers.forced(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def _sandboxes_are_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that runs in a sandbox stays there, though that is not PID 1's mount namespace."""
    monkeypatch.setattr(host_view, "enter", lambda _command, _arguments: None)


@pytest.fixture
def home(tier: Tier) -> Iterator[Home]:
    """An empty sandbox with a guarded root that is shared."""
    with Sandbox() as sandbox:
        made = Home(sandbox)
        made.shared()
        yield made


@pytest.fixture
def leaked(home: Home) -> Iterator[Leaked]:
    """A leak: its home, its holder and its finding."""
    home.layer()
    with hold(home.sandbox) as holder:
        yield home, holder, leak(home, holder)
