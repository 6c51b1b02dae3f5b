"""What a scan takes of memory at most where users fill the mountinfo of their namespaces, in a process of its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mountwarden.kernel import syscalls
from mountwarden.model import Tier

from tests.kernel.crash import in_few_processes
from tests.support.scratch_ns import Sandbox, hold

PROJECT = Path(__file__).parents[2]
SCRATCH = Path("/mnt")
MOST = 64
"""MiB."""

_PEAK = """
import os, sys
def peak():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print("PEAK", int(lines["VmHWM"].split()[0]) // 1024, file=sys.stderr, flush=True)
"""
_SCANNER = """
from mountwarden.config.load import load
from mountwarden.model import Tier
from mountwarden.scan.scanner import Scanner
scanner = Scanner(load(os.fsencode(sys.argv[2])), tier=Tier(sys.argv[1]))
for resync in (True, False, True):
    scan = scanner.scan(resync=resync)
peak()
"""
_SERVICE = _SCANNER.replace("))\nfor", "), deadline=2.0)\nfor")
_REPORT = """
import atexit
atexit.register(peak)
from mountwarden.cli.main import run
sys.argv[:] = ["mountwarden", "report", "--json", "--no-wait", "--tier", sys.argv[1], "--config", sys.argv[2]]
sys.exit(run())
"""
_OF_ALL = """
import atexit
atexit.register(peak)
from mountwarden.cli.main import run
sys.argv[:] = ["mountwarden", *sys.argv[1].split(), "--json", "--config", sys.argv[2]]
sys.exit(run())
"""


@contextmanager
def attack(*options: str) -> Iterator[None]:
    """The attack `long_lines`, whose namespaces are this machine's."""
    command = [sys.executable, "-m", "tests.siege.attacks.long_lines", *options]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as attacker:
        try:
            assert attacker.stdout
            assert attacker.stdout.readline() == "ready\n"
            yield
        finally:
            attacker.kill()


def peak(code: str, tier: str, config: Path) -> int:
    """MiB that a process with this code took at most."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "agent")}
    command = [sys.executable, "-c", _PEAK + code, tier, str(config)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "PEAK " in done.stderr, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("PEAK "))
    return int(line.split()[1])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Where a configuration is that guards a directory of this machine."""
    (tmp_path / "root").mkdir()
    (tmp_path / "mountwarden.toml").write_text(f'engines = []\n[[root]]\npath = "{tmp_path}/root"\nkind = "graph"\n')
    return tmp_path


TEXTS = {
    "6 of 30 MiB": ("--namespaces", "6", "--mounts", "75", "--name", "merged"),
    "6 of 30 MiB in short lines": ("--namespaces", "6", "--mounts", "7500", "--depth", "2", "--name", "merged"),
    "a GiB": ("--mounts", "1040", "--depth", "512", "--name", "merged"),
}


def test_scans_of_the_service_beside_six_namespaces_of_30_mib_take_64_mib_at_most(tier: Tier, config: Path) -> None:
    with attack(*TEXTS["6 of 30 MiB"]):
        assert peak(_SERVICE, tier, config) <= MOST


@pytest.mark.parametrize("command", ["map --no-wait", "doctor --no-canary"])
def test_a_view_of_a_hundred_namespaces_of_500_mounts_takes_64_mib_at_most(command: str) -> None:
    """Half of them are copies of a layer: as objects of ours, all of them are more than 100 MiB."""

    def among_few(_home: Sandbox) -> int:
        (SCRATCH / "mountwarden.toml").write_text('engines = []\n[[root]]\npath = "/mnt/root"\nkind = "graph"\n')
        for number in range(250):
            for point in (SCRATCH / f"root/{number}/merged", SCRATCH / f"{number}"):
                point.mkdir(parents=True)
                syscalls.mount(b"x", bytes(point), b"tmpfs", 0, b"size=4k")
        with contextlib.ExitStack() as stack:
            for _number in range(100):
                stack.enter_context(hold(propagation="slave"))
            return peak(_OF_ALL, command, SCRATCH)

    assert in_few_processes(among_few, 60) <= MOST


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("which", TEXTS)
def test_scans_of_huge_namespaces_take_64_mib_at_most(tier: Tier, config: Path, which: str) -> None:
    with attack(*TEXTS[which]):
        programs = {"service": _SERVICE, "scans without a deadline": _SCANNER, "report": _REPORT}
        taken = {name: peak(code, tier, config) for name, code in programs.items()}
        taken["map"] = peak(_OF_ALL, f"map --no-wait --tier {tier}", config)
    print(f"{which}, {tier}: {taken} MiB")
    assert max(taken.values()) <= MOST
