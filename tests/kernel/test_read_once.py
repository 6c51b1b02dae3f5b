"""How often a command reads the mounts of a namespace: once, whatever it asks of them."""

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from mountwarden.model import Tier

from tests.kernel.crash import in_few_processes
from tests.support.scratch_ns import Propagation, Sandbox, hold

PROJECT = Path(__file__).parents[2]
_COUNTING = """
import atexit, json, os, sys
opened = []
def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("/mountinfo"):
        try:
            opened.append(os.stat(str(arguments[0]).replace("mountinfo", "ns/mnt")).st_ino)
        except OSError:
            pass
sys.addaudithook(hook)
atexit.register(lambda: print("OPENED", json.dumps(opened), file=sys.stderr))
from mountwarden.cli.main import run
sys.argv[0] = "mountwarden"
sys.exit(run())
"""


def opened(*arguments: str) -> Counter[int]:
    """How often a command, and not its children, opens the mountinfo of a namespace, by its inode."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "agent")}
    words = [sys.executable, "-c", _COUNTING, *arguments]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stdout), done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("OPENED "))
    return Counter(json.loads(line.removeprefix("OPENED ")))


def counts(*arguments: str) -> list[int]:
    """How often a command opens the mountinfo of each of four namespaces, beside which there are few processes."""

    def among_few(_home: Sandbox) -> list[int]:
        with open("/mnt/mountwarden.toml", "w", encoding="ascii") as file:
            file.write('engines = []\n[[root]]\npath = "/mnt/root"\nkind = "graph"\n')
        with contextlib.ExitStack() as stack:
            kinds: tuple[Propagation, ...] = ("private", "slave", "private", "slave")
            others = [stack.enter_context(hold(propagation=kind)).inode for kind in kinds]
            counted = opened(*arguments, "--config", "/mnt")
            return [counted[other] for other in others]

    return in_few_processes(among_few, 60)


def test_a_report_reads_each_namespace_once(tier: Tier) -> None:
    """What processes keep open is searched for in the same texts as copies."""
    assert counts("report", "--json", "--no-wait", "--tier", tier) == [1] * 4


def test_a_map_reads_each_namespace_once(tier: Tier) -> None:
    assert counts("map", "--json", "--no-wait", "--tier", tier) == [1] * 4


def test_the_doctor_reads_each_namespace_once() -> None:
    assert counts("doctor", "--json", "--no-canary") == [1] * 4
