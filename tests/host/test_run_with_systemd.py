"""`make run` where systemd runs: the leak is a real unit's, and nothing of it stays."""

import pytest

from tests.support.machine import Machine
from tests.support.processless import OFFLINE, SOURCE, bare

__all__ = ["bare"]
pytestmark = pytest.mark.timeout(180)


def _units(host: Machine) -> set[str]:
    listing = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--type=service,scope"]
    return {line.split()[0] for line in host.run(*listing).stdout.splitlines()}


def test_make_run_shows_a_unit_that_leaks(bare: Machine) -> None:
    mounts = {line.split(" ", 1)[1] for line in bare.read("/proc/1/mountinfo").splitlines()}
    units = _units(bare)
    done = bare.run("make", "-s", "-C", SOURCE, "run", env=OFFLINE, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "systemd does not run here" not in said
    assert "MountFlags=private" in said
    assert ".service" in said
    assert "detached" in said
    assert " mounts in " in said
    assert {line.split(" ", 1)[1] for line in bare.read("/proc/1/mountinfo").splitlines()} == mounts
    assert _units(bare) <= units
