"""The host tests once more, on the installed .deb, with the systemd and the pystemd of each Debian suite."""

import os
import subprocess
import sys

import pytest

from tests.support import checkout, tree
from tests.support.builds import Builds

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

FILES = {
    "bookworm": ("agent", "cause", "cli_service", "remedies"),
    "trixie": (
        *("agent", "agent_kill", "cause", "cli", "cli_service", "doctor", "explain"),
        *("metrics", "npd", "predict", "rejoin", "remedies"),
    ),
}
"""Of bookworm those that the package can make differ; without a package all of them run there anyway."""


@pytest.mark.parametrize(("suite", "name"), [(suite, name) for suite, names in FILES.items() for name in names])
def test_the_host_tests_pass_on_the_package(builds: Builds, suite: str, name: str) -> None:
    if reason := tree.obstacle(suite):
        pytest.skip(reason)
    environment = {**os.environ, "MOUNTWARDEN_SUITE": suite, "MOUNTWARDEN_PACKAGE": str(builds.deb())}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", f"tests/host/test_{name}.py"]
    done = subprocess.run(
        command, env=environment, cwd=checkout.ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    print(f"{suite}: {done.stdout.splitlines()[-1] if done.stdout else done.stderr}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout.splitlines()[-1]
