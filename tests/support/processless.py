"""A booted test host without the product: a checkout, and what an installation takes from PyPI, lie ready on it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import checkout, tree
from tests.support.machine import Machine

SOURCE = "/root/source"
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/root/wheels"}
UNIT = "[Service]\nType=exec\nExecStart=/bin/sleep infinity\n\n[Install]\nWantedBy=multi-user.target\n"
MESSAGE = "0f3d4c1b6a5e4f708192a3b4c5d6e7f8"
CATALOG = f"-- {MESSAGE}\nSubject: a sample happened\nDefined-By: mountwarden\n\nText.\n"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A test host without the product, with a checkout that has a unit and a catalog of its own."""
    if reason := tree.obstacle():
        pytest.skip(reason)
    place = tmp_path_factory.mktemp("install")
    source = checkout.copy(place / "source")
    for name, text in {"units/sample.service": UNIT, "packaging/catalog/sample.catalog": CATALOG}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    wheels = _wheels(place / "wheels")
    with Machine() as machine:
        machine.copy_in(source, SOURCE)
        machine.copy_in(wheels, "/root/wheels")
        yield machine


def _wheels(place: Path) -> Path:
    """The locked files that an installation takes from PyPI; a test host has no network."""
    locks = [f"--requirement={checkout.ROOT}/packaging/lock/{name}.txt" for name in ("runtime", "build")]
    pip = [sys.executable, "-m", "pip", "-qq", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    subprocess.run([*pip, f"--dest={place}", *locks], check=True)
    return place
