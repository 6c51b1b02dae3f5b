"""Fixtures of the folders whose tests need a booted test host. Their conftest.py imports what it offers."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.support import builds as making
from tests.support import tree
from tests.support.builds import Builds
from tests.support.machine import Machine
from tests.support.product import install_product


@contextlib.contextmanager
def booted(suite: str = tree.SUITE) -> Iterator[Machine]:
    """A test host with the product, for a fixture; the test is skipped where none can run."""
    if reason := tree.obstacle(suite):
        pytest.skip(reason)
    with Machine(suite=suite) as machine:
        install_product(machine)
        yield machine


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    """A booted test host with the product installed and no engine running; one boot a module."""
    with booted() as machine:
        yield machine


@pytest.fixture(scope="module")
def docker_host() -> Iterator[Machine]:
    """A booted test host with the product, dockerd running and the image `bb`."""
    with booted() as machine:
        machine.start_docker()
        machine.import_image("docker")
        yield machine


@pytest.fixture(scope="module")
def podman_host() -> Iterator[Machine]:
    """A booted test host with the product and the image `bb` in rootful podman's storage."""
    with booted() as machine:
        machine.import_image("podman")
        yield machine


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """The packages of this checkout."""
    if reason := making.obstacle():
        pytest.skip(reason)
    return Builds(tmp_path_factory.mktemp("packages"))
