"""The predictions of umounts on kernels with either behaviour of an overmount (see docs/proof.md), one guest each."""

import os
import time

import pytest

from tests.support.product import PROJECT
from tests.support.vm import boot, kernels
from tests.support.vm.apt import Unavailable

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

TOPOLOGIES, SEED = 80, 3400
ENOUGH = 240
"""Seconds that must be left before MOUNTWARDEN_DEADLINE, and that a guest may go on after it."""
DIFFERENCE = "tests/kernel/test_prove.py::test_the_kernels_one_difference_is_told_as_this_kernel_has_it"
SCRIPT = f"""
set -e
python3 -m tests.support.prove.plain {TOPOLOGIES} {SEED}
python3 -m pytest -q -p no:cacheprovider {DIFFERENCE}
"""


@pytest.mark.parametrize(("name", "behaviour"), [("6.12", "slides"), ("7.3", "keeps")])
def test_no_prediction_is_wrong(name: str, behaviour: str) -> None:
    left = float(os.environ.get("MOUNTWARDEN_DEADLINE") or "inf") - time.time()
    if left < ENOUGH:
        pytest.skip("the time budget is used up")
    trees = {part: PROJECT / part for part in ("agent", "tests", "pyproject.toml")}
    try:
        run = boot.run(
            kernels.named(name),
            trees,
            ["sh", "-c", SCRIPT],
            timeout=min(1000, left + ENOUGH),
            environment={"PYTHONPATH": "/src/agent:/src"},
        )
    except Unavailable as error:
        pytest.skip(str(error))
    assert run.status == 0, run.text()
    assert f"overmounts: {behaviour}" in run.output
    assert f"{TOPOLOGIES} topologies" in run.output
    assert ", 0 mispredicted" in run.output
    assert "1 passed" in run.output
