"""Runs tests as two pytest processes side by side: those that mostly compute beside those that mostly wait.

`python -m tests.support.lanes [PYTEST-ARGUMENT]...`; each lane gets the arguments. A file's line is printed when the
file is done. What comes after the last test (failures, the summary) is kept until the lane ends, and is printed in one
piece. The last line counts both. SIGINT is passed on: each lane takes its hosts away and says what failed. The exit
status is that of the first lane that did not succeed. MOUNTWARDEN_RESULTS=FILE gets the JUnit XML of both.
"""

import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

PROJECT = Path(__file__).resolve().parents[2]
TESTS = PROJECT / "tests"

LANES = {"kernel": ("unit", "kernel", "fuzz", "vm"), "host": ("host", "engines")}
"""The folders of each lane."""

NO_TESTS = 5
"""pytest's exit status when none was selected: `-k` may mean one lane only."""

_SECTION = re.compile(rb"(\x1b\[[0-9;]*m)*[=-]{2,} ")
_BEGIN = b" test session starts "


class Lane:
    """A pytest process in a process group of its own: what a test leaves behind is looked for in its group."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        self._unread, self._kept = b"", [b"\n%b:" % name.encode()]
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", sys.executable, "-m", "pytest", "--no-header", *arguments],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )

    def fileno(self) -> int:
        """Of its output."""
        assert self.process.stdout
        return self.process.stdout.fileno()

    def take_output(self) -> bool:
        """Print or keep what is there; False at the end of the output."""
        data = os.read(self.fileno(), 1 << 16)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines if data else [*lines, self._unread]:
            self._take_line(line)
        return bool(data)

    def _take_line(self, line: bytes) -> None:
        if len(self._kept) > 1 or (_SECTION.match(line) and _BEGIN not in line):
            self._kept.append(line)
        elif line.strip() and _BEGIN not in line:
            _print(b"%6b  %b\n" % (self.name.encode(), line))

    def end(self) -> int:
        """Print what was kept, and return the exit status as a shell has it."""
        status = self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        _print(b"\n".join(self._kept) + b"\n")
        return 128 - status if status < 0 else status


def _print(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def run(lanes: Sequence[Lane]) -> int:
    """Pass on their output and SIGINT until both have ended; returns the exit status of both."""

    def interrupt(_signal: int, _frame: object) -> None:
        for lane in lanes:
            lane.process.send_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, interrupt)
    statuses = []
    with selectors.DefaultSelector() as selector:
        for lane in lanes:
            selector.register(lane, selectors.EVENT_READ, lane)
        while selector.get_map():
            for key, _events in selector.select():
                if not key.data.take_output():
                    selector.unregister(key.data)
                    statuses.append(key.data.end())
    if statuses and all(status == NO_TESTS for status in statuses):
        return NO_TESTS
    return next((status for status in statuses if status not in (0, NO_TESTS)), 0)


def merge(files: Sequence[Path], into: Path) -> None:
    """One JUnit file of those that are there: a lane that was killed wrote none."""
    suites = ElementTree.Element("testsuites")
    for file in files:
        if file.is_file():
            suites.extend(ElementTree.parse(file).getroot())
    ElementTree.ElementTree(suites).write(into, encoding="utf-8", xml_declaration=True)


def main(arguments: Sequence[str]) -> int:
    """Run the lanes, and print the line that counts both."""
    with tempfile.TemporaryDirectory(prefix="mountwarden-lanes-") as directory:
        files = {name: Path(directory, f"{name}.xml") for name in LANES}
        color = "--color=yes" if sys.stdout.isatty() else "--color=no"
        lanes = []
        for name, folders in LANES.items():
            there = [str(path) for folder in folders if (path := Path(TESTS, folder)).is_dir()]
            lanes.append(Lane(name, [color, f"--junitxml={files[name]}", *there, *arguments]))
        status = run(lanes)
        both = Path(os.environ.get("MOUNTWARDEN_RESULTS") or Path(directory, "both.xml"))
        merge(list(files.values()), both)
        subprocess.run([sys.executable, "packaging/count_results.py", both], cwd=PROJECT, check=False)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
