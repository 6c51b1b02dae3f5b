"""Fixtures of the kernel tests."""

from collections.abc import Iterator

import pytest

from tests.kernel.topology import Home
from tests.support.scratch_ns import Sandbox


@pytest.fixture
def home() -> Iterator[Home]:
    """An empty sandbox with a guarded root that is shared."""
    with Sandbox() as sandbox:
        made = Home(sandbox)
        made.shared()
        yield made
