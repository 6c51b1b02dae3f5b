"""One boot a kernel in a test run: what the guest answered, kept for every test that asks."""

import json
import os
import time
from dataclasses import dataclass
from typing import Any

from tests.support.product import PROJECT, inotify_simple
from tests.support.vm import boot, inside
from tests.support.vm.apt import Unavailable
from tests.support.vm.boot import Run
from tests.support.vm.kernels import KERNELS, SHORT, Kernel, named

DEADLINE = 1200
"""Seconds for one guest, on a machine with other work too."""
_ENOUGH, _GRACE = 240, 300
"""Seconds that must be left before MOUNTWARDEN_DEADLINE for a guest to be booted, and that it may go on after it."""
TESTS = (
    *("detach.py", "unmount.py", "findings.py", "incidents.py", "namespaces.py", "processless.py", "triggers.py"),
    *("superblocks.py", "superblocks_that_hang.py", "later_copies.py", "tiers_churn.py"),
    "tiers.py::test_each_live_mount_is_the_same_line_by_both_ways",
)
"""What of tests/kernel runs in each guest: the judge and the remedies on real mounts."""


@dataclass(frozen=True, slots=True)
class Answers:
    """A run of `inside` in a guest; `data` is its document, `said` what stood before that."""

    run: Run
    said: str
    data: dict[str, Any]

    @property
    def facts(self) -> dict[str, str]:
        """What the kernel has: "ok" or an error's name, by the interface."""
        return dict(self.data["facts"])

    @property
    def story(self) -> dict[str, Any]:
        """What the commands said and did."""
        return dict(self.data["story"])

    def outcome(self, act: str) -> dict[str, Any]:
        """The one outcome of an act of the story."""
        (outcome,) = self.story[act]["json"]["outcomes"]
        return dict(outcome)


def chosen() -> list[Kernel]:
    """The kernels of this run: MOUNTWARDEN_KERNELS names them, or is `all`; by default a few that differ most."""
    wanted = os.environ.get("MOUNTWARDEN_KERNELS", "").replace(",", " ").split()
    if wanted == ["all"]:
        return list(KERNELS)
    return [named(name) for name in wanted or SHORT]


def answered() -> list[Answers]:
    """What was asked in this run, and answered."""
    return list(_answers.values())


_answers: dict[str, Answers] = {}
_silent: dict[str, Exception] = {}


def answers(kernel: Kernel) -> Answers:
    """Boot and ask, once. Raises: Unavailable where this kernel can't be had; AssertionError where it said nothing."""
    if kernel.name in _silent:
        raise _silent[kernel.name]
    if kernel.name not in _answers:
        try:
            _answers[kernel.name] = _asked(kernel)
        except Unavailable as error:
            _silent[kernel.name] = error
            raise
        except AssertionError:
            _silent[kernel.name] = AssertionError(f"the guest of {kernel.name} gave no answer: see the first failure")
            raise
    return _answers[kernel.name]


def _asked(kernel: Kernel) -> Answers:
    left = float(os.environ.get("MOUNTWARDEN_DEADLINE") or "inf") - time.time()
    if left < _ENOUGH:
        raise Unavailable("the time budget is used up")
    trees = {"agent": PROJECT / "agent", "tests": PROJECT / "tests", "pyproject.toml": PROJECT / "pyproject.toml"}
    files = [f"tests/kernel/test_{name}" for name in TESTS]
    run = boot.run(
        kernel,
        trees | {"inotify_simple.py": inotify_simple()},
        ["python3", "-m", inside.__name__, *files],
        timeout=min(DEADLINE, left + _GRACE),
        environment={"PYTHONPATH": "/src/agent:/src"},
    )
    said, mark, text = run.output.rpartition(inside.MARK)
    assert mark, run.text()
    return Answers(run, said, json.loads(text))
