"""Tests on a booted systemd."""

import pytest

from tests.support.builds import Builds, obstacle
from tests.support.fixtures import host

__all__ = ["host"]


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """The packages of this checkout."""
    if reason := obstacle():
        pytest.skip(reason)
    return Builds(tmp_path_factory.mktemp("packages"))
