"""Start-up is a feature: `--version` loads next to nothing, and is there at once."""

import os
import subprocess
import sys
import time
from pathlib import Path

import mountwarden
import pytest

AGENT = Path(mountwarden.__file__).parents[1]
SYSTEM_PYTHON = "/usr/bin/python3"
HEAVY = {"rich", "pystemd", "lxml", "asyncio", "prometheus_client", "importlib.metadata", "argparse"}
RUN = f"""
import sys
sys.path.insert(0, {str(AGENT)!r})
sys.argv = ["mountwarden", *sys.argv[1:]]
from mountwarden.cli.main import run
try:
    run()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def _loaded(*argv: str) -> tuple[str, set[str]]:
    """What the command prints, and the modules that are loaded at its end."""
    done = subprocess.run([sys.executable, "-I", "-c", RUN, *argv], check=True, capture_output=True, text=True)
    return done.stdout, set(done.stderr.split())


def test_version_prints_the_constant() -> None:
    assert _loaded("--version")[0] == f"mountwarden {mountwarden.__version__}\n"


def test_version_loads_nothing_heavy() -> None:
    # A virtual environment with system packages may load some at start, before any line of ours.
    bare = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print(*sys.modules)"], check=True, capture_output=True, text=True
    )
    loaded = _loaded("--version")[1] - set(bare.stdout.split())
    assert "mountwarden.cli.main" in loaded
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.startswith(("mountwarden.graphdriver", "mountwarden.kernel"))}


def test_help_loads_neither_the_bus_nor_the_terminal_library() -> None:
    loaded = _loaded("--help")[1]
    assert not loaded & (HEAVY - {"argparse"})


@pytest.mark.skipif(not os.access(SYSTEM_PYTHON, os.X_OK), reason=f"{SYSTEM_PYTHON} is what the launcher runs")
def test_version_takes_less_than_80_ms() -> None:
    took = []
    for _ in range(10):
        started = time.monotonic()
        subprocess.run([SYSTEM_PYTHON, "-I", "-c", RUN, "--version"], check=True, capture_output=True)
        took.append(time.monotonic() - started)
    # The quickest of them: what else the machine does at the time is not ours.
    assert min(took) < 0.080, took
