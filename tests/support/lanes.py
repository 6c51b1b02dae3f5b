"""Runs tests as pytest processes side by side: those that mostly compute beside those that mostly wait.

`python -m tests.support.lanes [--without=PART]... [PYTEST-ARGUMENT]...`; each process gets pytest's arguments. A file's
line is printed when the file is done. What comes after the last test (failures, the summary) is kept until the process
ends, and is printed in one piece. The last line counts all. SIGINT is passed on: each takes its hosts away and says
what failed. The exit status is that of the first one that did not succeed. MOUNTWARDEN_RESULTS=FILE gets the JUnit XML
of all.

The kernel tests have a pid namespace of their own: each of their many scans reads the machine's processes, of which the
test hosts beside them have a hundred, and what others run there would be scanned as well. Loop devices have no
namespace: a test host beside one would see a device that nothing of its own has mounted. So the parts that attach some,
and those that boot hosts, take turns.
"""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from xml.etree import ElementTree

from tests.support.packages import TODAY

PROJECT = Path(__file__).resolve().parents[2]
TESTS = PROJECT / "tests"

INITIAL = ("entries", "events", "many_namespaces", "namespace_ids", "processless", "short_lived")
"""The kernel tests that walk over all mount namespaces, which is allowed in the initial pid namespace only."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one pytest process is given, below tests/.

    `alone`: in a pid namespace of its own. `stays`: another lane can't take it. `lock`: how flock(1) takes what all
    have that boot test hosts, so that those with `--exclusive` run beside none of them. `suite`: of its test hosts,
    where it is not the default one; then long tests and short ones are run alike.
    """

    name: str
    paths: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    alone: bool = False
    stays: bool = False
    lock: str = ""
    suite: str = ""

    def arguments(self) -> list[str]:
        """Of pytest."""
        there = [str(path) for name in self.paths for path in sorted(TESTS.glob(name))]
        return [*there, *(f"--ignore-glob={TESTS / name}" for name in self.left_out)]


_WALKS = tuple(f"kernel/test_{name}.py" for name in INITIAL)
_PACKAGES = tuple(
    f"host/test_{name}*.py"
    for name in ("deb", "fresh_machine", "install", "pip", "rpm", "run_rows", "run_with", "setup")
)
_DEVICES = tuple(
    f"kernel/test_{name}.py"
    for name in ("filesystems", "findings", "incidents", "layouts", "predict", "unmounted", "who")
)
_HOSTS_WITH_DEVICES = ("engines/test_field.py", "engines/test_incidents.py")
"""These and `_DEVICES` attach loop devices."""
_OF_ONE_SUITE = (
    *(
        f"engines/test_{name}.py"
        for name in ("churn_today", "dead_runtimes", "graphdriver_tour", "screens", "suites", "today")
    ),
    *(f"host/test_{name}.py" for name in ("monitoring", "shells")),
)
"""Not run on another suite as well: today's dockerd has no graphdriver plugins, the documents' screens are of the
default one, four name their suites themselves, and two need a tree with more packages for what no suite changes.
"""
HOSTS, DEVICES = "--shared", "--exclusive"
LANES = (
    (
        Part("devices", _DEVICES, alone=True, stays=True, lock=DEVICES),
        Part("engines", _HOSTS_WITH_DEVICES, stays=True, lock=DEVICES),
        Part("today-devices", _HOSTS_WITH_DEVICES, stays=True, lock=DEVICES, suite=TODAY),
        Part("host", ("host",), left_out=_PACKAGES, lock=HOSTS),
    ),
    (
        Part("kernel", ("kernel",), left_out=(*_WALKS, *_DEVICES), alone=True),
        Part("packages", _PACKAGES, lock=HOSTS),
        Part("vm", ("vm",), stays=True),
    ),
    (
        Part("unit", ("unit", *_WALKS)),
        Part("fuzz", ("fuzz",), alone=True),
        Part("others", ("engines",), left_out=_HOSTS_WITH_DEVICES, lock=HOSTS),
        Part(
            "today",
            ("engines", "host"),
            left_out=(*_HOSTS_WITH_DEVICES, *_PACKAGES, *_OF_ONE_SUITE),
            lock=HOSTS,
            suite=TODAY,
        ),
    ),
)
"""The parts of a lane run one after the other, the lanes side by side: tests of hosts wait half of their time. Those
that attach devices are done before another lane boots hosts, or they would wait for all of these.

A lane that has come to its end takes the last part that another has not begun: the long kernel tests alone take more
time than a run with a deadline has, and what stands behind them would never be run.
"""

NO_TESTS = 5
"""pytest's exit status when none was selected: `-k` may mean one part only."""

_ALONE = (
    "unshare",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
    "sh",
    "-c",
    'trap : INT; "$@"; exit $?',
    "pytest",
)
"""The shell is PID 1, and reaps."""

_FLOCK = ("flock", "--no-fork")
_WITHOUT = "--without="
_SECTION = re.compile(rb"(\x1b\[[0-9;]*m)*[=-]{2,} ")
_BEGIN = b" test session starts "


class Running:
    """A pytest process in a process group of its own: what a test leaves behind is looked for in its group."""

    def __init__(self, part: Part, arguments: Sequence[str], lock: str) -> None:
        self.part = part
        self._unread, self._kept = b"", [b"\n%b:" % part.name.encode()]
        before = (*_FLOCK, part.lock, lock) if part.lock else ()
        before += _ALONE if part.alone and _may_be_alone() else ()
        pytest = [sys.executable, "-m", "pytest", "--no-header", *part.arguments(), *arguments]
        if part.suite:
            pytest += ["-m", "not siege"]
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", *before, *pytest],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            env={**os.environ, "MOUNTWARDEN_SUITE": part.suite} if part.suite else None,
        )

    def fileno(self) -> int:
        """Of its output."""
        assert self.process.stdout
        return self.process.stdout.fileno()

    def interrupt(self) -> None:
        """As Ctrl-C does: its whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)

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
            _print(b"%6b  %b\n" % (self.part.name.encode(), line))

    def end(self) -> int:
        """Print what was kept, and return the exit status as a shell has it."""
        status = self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        _print(b"\n".join(self._kept) + b"\n")
        return 128 - status if status < 0 else status


def _may_be_alone() -> bool:
    """It takes root, and a machine that lets /proc be mounted."""
    return subprocess.run([*_ALONE, "true"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def _print(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def run(lanes: Sequence[Iterator[Running]]) -> int:
    """Pass on their output and SIGINT until all have ended; returns one exit status for all.

    The next part of a lane is started when the one before has ended, if no SIGINT came.
    """
    running: list[Running] = []
    interrupted = False
    statuses: list[int] = []

    def interrupt(_signal: int, _frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        for one in running:
            one.interrupt()

    signal.signal(signal.SIGINT, interrupt)
    with selectors.DefaultSelector() as selector:

        def go_on(lane: Iterator[Running]) -> None:
            if not interrupted and (one := next(lane, None)):
                running.append(one)
                selector.register(one, selectors.EVENT_READ, lane)

        for lane in lanes:
            go_on(lane)
        while selector.get_map():
            for key, _events in selector.select():
                one = cast("Running", key.fileobj)
                if not one.take_output():
                    selector.unregister(one)
                    running.remove(one)
                    statuses.append(one.end())
                    go_on(key.data)
    if all(status == NO_TESTS for status in statuses):
        return NO_TESTS
    return next((status for status in statuses if status not in (0, NO_TESTS)), 0)


def taken(lane: list[Part], lanes: Sequence[list[Part]]) -> Iterator[Part]:
    """The parts of a lane from the first on, then what others have not begun, from the last on; each is taken once."""
    while lane:
        yield lane.pop(0)
    while other := next((one for one in lanes if one and not one[-1].stays), None):
        yield other.pop()


def merge(files: Iterable[Path], into: Path) -> None:
    """One JUnit file of them: of those that are there, since one that was killed wrote none."""
    suites = ElementTree.Element("testsuites")
    for file in files:
        suites.extend(ElementTree.parse(file).getroot())
    ElementTree.ElementTree(suites).write(into, encoding="utf-8", xml_declaration=True)


def main(arguments: Sequence[str]) -> int:
    """Run the lanes, and print the line that counts all."""
    left_out = [word for word in arguments if word.startswith(_WITHOUT)]
    arguments = [word for word in arguments if word not in left_out]
    with tempfile.TemporaryDirectory(prefix="mountwarden-lanes-") as directory:
        color = "--color=yes" if sys.stdout.isatty() else "--color=no"

        waiting = [[part for part in lane if f"{_WITHOUT}{part.name}" not in left_out] for lane in LANES]

        def started(lane: list[Part]) -> Iterator[Running]:
            for part in taken(lane, waiting):
                yield Running(part, [color, f"--junitxml={directory}/{part.name}.xml", *arguments], f"{directory}/lock")

        status = run([started(lane) for lane in waiting])
        results = Path(os.environ.get("MOUNTWARDEN_RESULTS") or Path(directory, "results"))
        merge(sorted(Path(directory).glob("*.xml")), results)
        subprocess.run([sys.executable, "packaging/count_results.py", results], cwd=PROJECT, check=False)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
