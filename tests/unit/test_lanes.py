"""Two pytest processes side by side, by running the lanes on small test files."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

import pytest

from tests.support import lanes
from tests.support.lanes import LANES, TESTS, Part, taken
from tests.support.reporting import FOLDERS
from tests.support.wait import wait_until

PROJECT = Path(__file__).resolve().parents[2]
WAITS = """
import time, pathlib, pytest
@pytest.fixture(scope="module")
def kept():
    yield
    pathlib.Path({mark!r}).with_suffix(".ended").touch()
def test_broken():
    assert 1 == 2
def test_waits(kept):
    pathlib.Path({mark!r}).touch()
    time.sleep(50)
"""


def start(
    tmp_path: Path,
    files: dict[str, str],
    *arguments: str,
    suites: Mapping[str, str] = MappingProxyType({}),
    lock: str = "",
    **env: str,
) -> subprocess.Popen[str]:
    """The first two files side by side, the second in a pid namespace of its own; others after the first."""
    for name, text in files.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"test_{name}.py").write_text(text)
    script = (
        "import sys; from tests.support import lanes\n"
        f"lanes.TESTS = lanes.Path({str(tmp_path)!r})\n"
        f"suites, names, lock = {dict(suites)!r}, {tuple(files)!r}, {lock!r}\n"
        "parts = [lanes.Part(n, (n,), alone=n == 'two', suite=suites.get(n, ''), lock=lock) for n in names]\n"
        "lanes.LANES = [parts[:1] + parts[2:], parts[1:2]]\n"
        "sys.exit(lanes.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "-c", str(PROJECT / "pyproject.toml"), *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MOUNTWARDEN_")}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=PROJECT, env={**clean, **env}, stdout=pipe, stderr=pipe, text=True)


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    with process:
        out, err = process.communicate(timeout=30)
    assert not err
    return process.returncode, out


KEEPS_RUNNING = """
import pathlib, time
def test_it():
    pathlib.Path({mark!r}).touch()
    time.sleep(50)
"""
PASSES = "def test_a(): pass\ndef test_b(): pass\n"
FAILS = "def test_c(): assert 1 == 2\n"


def test_both_are_shown_apart_and_counted_together(tmp_path: Path) -> None:
    results = tmp_path / "both.xml"
    status, out = finished(start(tmp_path, {"one": PASSES, "two": FAILS}, MOUNTWARDEN_RESULTS=str(results)))
    assert status == pytest.ExitCode.TESTS_FAILED
    assert re.search(r"^ +one  .*test_one\.py \.\. +\[100%\]$", out, re.M), out
    assert re.search(r"^ +two  .*test_two\.py F +\[100%\]$", out, re.M), out
    kept = out.index("\none:\n"), out.index("\ntwo:\n")
    one, two = (out[at : max(kept) if at == min(kept) else None] for at in kept)
    assert "= 2 passed in " in one
    assert "assert 1 == 2" not in one
    assert "assert 1 == 2" in two
    assert "= 1 failed in " in two
    assert out.endswith("\n2 passed, 1 failed\n")
    assert [suite.get("tests") for suite in ElementTree.parse(results).iter("testsuite")] == ["2", "1"]


@pytest.mark.parametrize(
    ("chosen", "status"),
    [
        pytest.param("test_a or test_c", pytest.ExitCode.TESTS_FAILED, marks=pytest.mark.long),
        ("test_b", 0),
        pytest.param("test_none", pytest.ExitCode.NO_TESTS_COLLECTED, marks=pytest.mark.long),
    ],
)
def test_a_lane_without_a_test_does_not_matter(tmp_path: Path, chosen: str, status: int) -> None:
    assert finished(start(tmp_path, {"one": FAILS, "two": PASSES}, "-k", chosen))[0] == status


@pytest.mark.parametrize("lock", ["", lanes.HOSTS])
def test_they_run_at_the_same_time(tmp_path: Path, lock: str) -> None:
    """Each waits for the other's file."""
    text = (
        "import pathlib\nfrom tests.support.wait import wait_until\ndef test_it():\n"
        "    pathlib.Path({own!r}).touch()\n    wait_until(pathlib.Path({other!r}).exists, 20)\n"
    )
    names = {"one": str(tmp_path / "1"), "two": str(tmp_path / "2")}
    texts = {
        "one": text.format(own=names["one"], other=names["two"]),
        "two": text.format(own=names["two"], other=names["one"]),
    }
    status, out = finished(start(tmp_path, {**texts, "left": FAILS}, "--without=left", lock=lock))
    assert status == 0, out


def test_those_that_attach_devices_run_alone(tmp_path: Path) -> None:
    """Each sees the other's file, made first and removed last, if they are run at the same time."""
    text = (
        "import pathlib, time\ndef test_it():\n"
        "    pathlib.Path({own!r}).touch()\n    time.sleep(0.5)\n"
        "    assert not pathlib.Path({other!r}).exists()\n    pathlib.Path({own!r}).unlink()\n"
    )
    one, two = str(tmp_path / "1"), str(tmp_path / "2")
    texts = {"one": text.format(own=one, other=two), "two": text.format(own=two, other=one)}
    status, out = finished(start(tmp_path, texts, lock=lanes.DEVICES))
    assert status == 0, out


def test_no_host_is_booted_beside_what_attaches_devices() -> None:
    """As far as the names of what they use tell."""
    for part in (part for lane in LANES for part in lane):
        files = [
            file
            for name in part.arguments()
            if not name.startswith("--")
            for file in (Path(name).rglob("test_*.py") if Path(name).is_dir() else [Path(name)])
        ]
        texts = [file.read_text() for file in files if file != Path(__file__)]
        hosts = any("tests.support.machine" in text or "tests.support.fixtures" in text for text in texts)
        assert not hosts or part.lock, part.name


def test_a_lane_at_its_end_takes_the_last_part_of_another() -> None:
    parts = {name: Part(name, (), stays=name == "b") for name in "abcdx"}
    both = [[parts[name] for name in "abcd"], [parts["x"]]]
    first, second = (taken(lane, both) for lane in both)
    assert [next(one).name for one in (first, second, second, second)] == ["a", "x", "d", "c"]
    assert not list(second), "what stays is left"
    assert [part.name for part in first] == ["b"]


def test_an_interrupt_ends_both_with_their_fixtures_and_keeps_what_failed(tmp_path: Path) -> None:
    """Of a run that a shell has put into the background, where SIGINT is ignored, as well."""
    marks = {name: tmp_path / f"{name}.mark" for name in ("one", "two")}
    texts = {name: WAITS.format(mark=str(mark)) for name, mark in marks.items()} | {"later": PASSES}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start(tmp_path, texts, "-p", "tests.conftest", MOUNTWARDEN_DYING="0.1")
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        wait_until(lambda: all(mark.exists() for mark in marks.values()), 30)
        process.send_signal(signal.SIGINT)
        out, _err = process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert out.count("E       assert 1 == 2") == 2, out
    assert all(mark.with_suffix(".ended").exists() for mark in marks.values())
    assert out.endswith("0 passed, 2 failed\n"), "what comes later is not started"


def test_a_killed_run_takes_its_lanes_along(tmp_path: Path) -> None:
    marks = {name: tmp_path / f"{name}.mark" for name in ("one", "two")}
    texts = {name: KEEPS_RUNNING.format(mark=str(mark)) for name, mark in marks.items()}
    with start(tmp_path, texts) as process:
        wait_until(lambda: all(mark.exists() for mark in marks.values()), 30)
        process.kill()
        process.communicate(timeout=30)
    wait_until(lambda: not any(str(tmp_path) in text for text in commands()), 10, "both have ended")


def commands() -> list[str]:
    """The command lines of all processes."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(place.read_text(errors="replace"))
    return found


def test_each_test_file_is_in_one_part() -> None:
    """Beside those of another suite, each of which is in one of these too."""
    parts = [part for lane in LANES for part in lane]
    assert len({part.name for part in parts}) == len(parts)
    files = {path for name in FOLDERS if name != "bench" for path in (TESTS / name).rglob("test_*.py")}
    for file in files:
        name = str(file.relative_to(TESTS))
        within = [
            part
            for part in parts
            if any(fnmatch(name, one) or name.startswith(f"{one}/") for one in part.paths)
            and not any(fnmatch(name, one) for one in part.left_out)
        ]
        others = [part for part in within if part.suite]
        assert len(within) - len(others) == 1, (name, within)
        assert len(others) <= 1, (name, within)


SAYS = """
import os, pytest
def test_suite():
    assert os.environ["MOUNTWARDEN_SUITE"] == "sid"
@pytest.mark.long
def test_long():
    pass
"""


def test_a_part_of_another_suite_is_told_it_and_has_all_its_tests(tmp_path: Path) -> None:
    process = start(tmp_path, {"one": SAYS, "two": PASSES}, "-m", "long", suites={"one": "sid"})
    status, out = finished(process)
    assert status == 0, out
    assert out.endswith("2 passed, 0 failed\n")


@pytest.mark.long
def test_each_lane_is_given_the_deadline(tmp_path: Path) -> None:
    over = str(time.time() - 1)
    budget = ("-p", "tests.support.budget")
    process = start(tmp_path, {"one": PASSES, "two": FAILS}, *budget, MOUNTWARDEN_DEADLINE=over)
    status, out = finished(process)
    assert status == 0, out
    assert "2 tests were not started" in out
    assert "1 tests were not started" in out
