"""When processes and directories began, as the kernel tells."""

import os
import subprocess
import time
from pathlib import Path

from mountwarden.observe import start_times


def test_a_process_began_when_it_was_started() -> None:
    before = time.time()
    with subprocess.Popen(["sleep", "60"]) as child:
        started = start_times.process_started(child.pid)
        child.kill()
    assert started is not None
    assert before - 0.05 <= started <= time.time() + 0.05, "clock ticks are 10 ms"


def test_a_name_with_parentheses_does_not_matter(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    before = time.time()
    with subprocess.Popen([program, "60"]) as child:
        started = start_times.process_started(child.pid)
        child.kill()
    assert started is not None
    assert abs(started - before) < 5


def test_what_has_ended_has_no_start() -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    assert start_times.process_started(child.pid) is None


def test_a_directory_was_born_when_it_was_made(tmp_path: Path) -> None:
    before = time.time()
    made = tmp_path / "merged"
    made.mkdir()
    os.utime(made, (0, 0))
    born = start_times.born(bytes(made))
    assert born is not None
    assert before - 0.1 <= born <= time.time(), "and no utime changes it"
    assert start_times.born(bytes(tmp_path / "absent")) is None
    assert start_times.born(b"/proc") is None, "procfs keeps no birth time"
