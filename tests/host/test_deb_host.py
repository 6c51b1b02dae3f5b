"""The host tests once more, on the installed .deb, with the systemd and the pystemd of each Debian suite."""

import os
import subprocess
import sys

import pytest

from tests.support import checkout, tree
from tests.support.builds import Builds

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

FILES = [
    "test_agent.py",
    "test_agent_kill.py",
    "test_cause.py",
    "test_cli.py",
    "test_cli_service.py",
    "test_metrics.py",
    "test_rejoin.py",
    "test_remedies.py",
]
NOT_OF_THE_PACKAGE: dict[str, list[str]] = {}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_the_host_tests_pass_on_the_package(builds: Builds, suite: str, file: str) -> None:
    if reason := tree.obstacle(suite):
        pytest.skip(reason)
    environment = {**os.environ, "MOUNTWARDEN_SUITE": suite, "MOUNTWARDEN_PACKAGE": str(builds.deb())}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", f"tests/host/{file}"]
    done = subprocess.run(
        command, env=environment, cwd=checkout.ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    print(f"{suite}: {done.stdout.splitlines()[-1] if done.stdout else done.stderr}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout.splitlines()[-1]
