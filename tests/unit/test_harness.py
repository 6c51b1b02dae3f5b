"""The tests' own rules, by running pytest on small test files."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tree
from tests.support.budget import rotated
from tests.support.packages import TODAY

PROJECT = Path(__file__).resolve().parents[2]


def run_pytest(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    clean = {name: value for name, value in os.environ.items() if name != "MOUNTWARDEN_REQUIRE"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=PROJECT, env={**clean, **env}, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        out, err = process.communicate()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


LEAVING = {
    "fds": "import os\ndef test_it():\n    os.open('/dev/null', os.O_RDONLY)\n",
    "children": "import subprocess\ndef test_it():\n    globals()['kept'] = subprocess.Popen(['sleep', '9'])\n",
    "namespaces": (
        "import subprocess\ndef test_it():\n"
        "    subprocess.run(['sh', '-c', 'unshare -r -m sleep 9 > /dev/null 2>&1 &'], check=True)\n"
        "    from tests.support.leftovers import belongings\n    from tests.support.wait import wait_until\n"
        "    wait_until(lambda: any('sleep' in text for text in belongings().namespaces.values()))\n"
    ),
}


@pytest.mark.parametrize("kind", sorted(LEAVING))
def test_what_is_left_behind_fails_the_test(kind: str, tmp_path: Path) -> None:
    (tmp_path / "test_leaves.py").write_text(LEAVING[kind])
    chosen = ("-p", "tests.conftest", "-c", str(PROJECT / "pyproject.toml"), str(tmp_path))
    done = run_pytest(*chosen, MOUNTWARDEN_DYING="0.5")
    assert "1 passed, 1 error" in done.stdout, done.stdout
    assert f"left behind:\n  {kind}: " in done.stdout.replace("E   ", "").replace("E     ", "  ")


def test_a_folder_is_a_marker() -> None:
    here = f"tests/unit/{Path(__file__).name}"
    assert "test_a_folder_is_a_marker" in run_pytest("--collect-only", "-m", "unit", here).stdout
    assert "no tests collected" in run_pytest("--collect-only", "-m", "not unit", here).stdout


def test_a_required_folder_may_not_skip(tmp_path: Path) -> None:
    chosen = ["tests/host/test_machine.py", "-k", "test_systemd_runs_the_host"]
    nothing = {"MOUNTWARDEN_CACHE": str(tmp_path), "PATH": str(tmp_path)}
    assert "1 skipped" in run_pytest(*chosen, **nothing).stdout
    done = run_pytest(*chosen, MOUNTWARDEN_REQUIRE="kernel,host", **nothing)
    assert "1 error" in done.stdout or "1 failed" in done.stdout, done.stdout
    assert "a test host needs" in done.stdout
    assert "names no folder" in run_pytest(*chosen, MOUNTWARDEN_REQUIRE="hots", **nothing).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="a test host needs root")
def test_trees_of_the_tests_suites_are_built_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOUNTWARDEN_CACHE", str(tmp_path))
    tree.path().mkdir(parents=True)
    (tmp_path / "mmdebstrap").write_text("#!/bin/sh\necho no such suite >&2\nexit 1\n")
    (tmp_path / "mmdebstrap").chmod(0o755)
    chosen = ("tests/host/test_who.py", "-k", f"test_a_session and {TODAY}")
    done = run_pytest(*chosen, PATH=f"{tmp_path}:{os.environ['PATH']}")
    before, _, after = done.stdout.partition(f"building the test host's tree in {tree.path(TODAY)} ")
    assert f"{TODAY}: mmdebstrap failed (1):\nno such suite" in after
    assert str(tree.path()) not in before, "that one is there"
    assert "1 error" in after


def test_the_summary_tells_the_slowest_and_each_folder() -> None:
    done = run_pytest("tests/unit/test_wait.py")
    assert "tests/unit/test_wait.py::test_the_first_true_answer_is_returned" in done.stdout
    assert "all of unit (3 tests)" in done.stdout


INTERRUPTED = """
import os, signal
def test_broken():
    assert 1 == 2
def test_interrupted():
    os.open("/dev/null", os.O_RDONLY)
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_an_interrupt_keeps_the_failures_of_before(tmp_path: Path) -> None:
    (tmp_path / "test_stops.py").write_text(INTERRUPTED)
    chosen = ("-p", "tests.conftest", "-c", str(PROJECT / "pyproject.toml"), str(tmp_path))
    done = run_pytest(*chosen, MOUNTWARDEN_DYING="0.1")
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "assert 1 == 2" in done.stdout
    assert "1 failed" in done.stdout
    assert "left behind:" in done.stdout
    assert "INTERNALERROR" not in done.stdout + done.stderr


INTERRUPTED_COMMAND = """
import os
from tests.support.shell import Shell
class Here(Shell):
    def _entry(self):
        return []
def test_interrupted():
    Here().run("sh", "-c", f"kill -INT {os.getpid()}")
def test_later():
    pass
"""


def test_an_interrupt_during_a_command_is_none_of_its_failures(tmp_path: Path) -> None:
    (tmp_path / "test_stops.py").write_text(INTERRUPTED_COMMAND)
    done = run_pytest("-c", str(PROJECT / "pyproject.toml"), str(tmp_path))
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout


def test_what_the_time_did_not_suffice_for_is_named() -> None:
    done = run_pytest("-p", "tests.support.budget", "tests/unit/test_wait.py", MOUNTWARDEN_DEADLINE="1")
    assert "3 tests were not started" in done.stdout
    assert "tests/unit/test_wait.py::test_the_first_true_answer_is_returned" in done.stdout


def test_each_day_begins_elsewhere_and_none_stays_at_the_end() -> None:
    files = [Path(str(number)) for number in range(40)]
    days = [rotated(files, day) for day in range(20_000, 20_030)]
    assert all(sorted(day) == sorted(files) for day in days)
    assert all(today[0] != before[0] for before, today in itertools.pairwise(days))
    for one in files:
        assert min(day.index(one) for day in days[:8]) < 10, "within a week each file is among the first quarter"
    assert rotated([], 5) == []
