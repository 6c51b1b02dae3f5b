"""What a command says while it reads the host for long: at a terminal alone, and in the end nothing is left of it."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.crash import in_few_processes
from tests.support.scratch_ns import Sandbox, hold

PROJECT = Path(__file__).parents[2]
_PROGRAM = """
import sys
from mountwarden.cli import reading
reading.AFTER = float(sys.argv.pop(1))
from mountwarden.cli.main import run
sys.argv[0] = "mountwarden"
sys.exit(run())
"""


def said(command: str, after: float, *, terminal: bool) -> tuple[bytes, bytes]:
    """What a command writes to stdout and stderr that says something after so many seconds."""

    def among_few(_home: Sandbox) -> tuple[bytes, bytes]:
        Path("/mnt/mountwarden.toml").write_text('engines = []\n[[root]]\npath = "/mnt/root"\nkind = "graph"\n')
        with contextlib.ExitStack() as stack:
            for _number in range(3):
                stack.enter_context(hold())
            main, end = pty.openpty() if terminal else os.pipe()
            environment = {**os.environ, "PYTHONPATH": str(PROJECT / "agent"), "TERM": "xterm"}
            words = [sys.executable, "-c", _PROGRAM, str(after), *command.split(), "--json", "--config", "/mnt"]
            out = subprocess.run(words, env=environment, stdout=subprocess.PIPE, stderr=end, timeout=20, check=False)
            os.write(end, b".")
            return out.stdout, os.read(main, 1 << 16).removesuffix(b".")

    return in_few_processes(among_few, 40)


@pytest.mark.parametrize("command", ["map --no-wait", "doctor --no-canary"])
def test_a_terminal_is_told_what_was_read_and_is_clean_afterwards(command: str) -> None:
    out, told = said(command, 0.0, terminal=True)
    assert out.startswith(b"{")
    assert told.startswith(b"\r1 mount namespace read\x1b[K")
    assert told.endswith(b"\r\x1b[K")
    assert b"\n" not in told


def test_what_is_read_soon_is_told_to_nobody() -> None:
    assert said("map --no-wait", 60.0, terminal=True)[1] == b""


def test_a_pipe_is_told_nothing() -> None:
    assert said("map --no-wait", 0.0, terminal=False)[1] == b""
