"""Which files of the service can't be written, as where /run is full: the service goes on from memory, and says so."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..escape import printable, sentence
from ..state import run_directory
from ..state.run_directory import RunDirectory

_HIDDEN = "no command finds the service; it goes on, and keeps its files below that"
RETRY = 5.0
"""Seconds after which a file that could not be written is tried again."""
OFTEN = 60.0
"""Seconds after which it is said again at the soonest, where files can be written now and then."""


def on_stderr(level: int, text: str) -> None:
    """One line on stderr, which is the journal's. `level` is syslog(3)'s. Never raises."""
    try:
        print(f"<{level}>{text}", file=sys.stderr, flush=True)
    except OSError:
        pass  # nowhere is left to report it


class _Failed(NamedTuple):
    """A file that could not be written."""

    why: str
    write: Callable[[], object]
    at: float


class Unsaved:
    """Says once that files of a directory can't be written, and once that they can be again."""

    def __init__(
        self,
        say: Callable[[int, str], None] = on_stderr,
        clock: Callable[[], float] = time.monotonic,
        run: RunDirectory | None = None,
    ) -> None:
        """`run` is the service's directory, held open; None where it is not."""
        self._say, self._clock, self._run = say, clock, run or RunDirectory()
        self._failed: dict[Path, _Failed] = {}
        self._said: dict[Path, float] = {}
        """By directory: when it was said, until it was said that it is over."""
        self._last: dict[Path, float] = {}
        self._left_out: dict[Path, int] = {}
        self._covered = False

    @property
    def text(self) -> str | None:
        """What can't be written now, and why; None where all can be."""
        first = {path.parent: (path, one.why) for path, one in reversed(self._failed.items())}
        texts = [f"{self._named(path)} can't be written: {why}" for path, why in first.values()]
        texts += [f"{self._named(path)} lacks {_count(number)}" for path, number in self._left_out.items()]
        if self._covered:
            texts.append(f"something is mounted over {self._run.name(self._run.path)}: {_HIDDEN}")
        return "; ".join(texts) or None

    def write(self, path: Path, write: Callable[[], object]) -> bool:
        """Call `write`, which writes that file; whether it did. Never raises OSError."""
        try:
            write()
        except OSError as error:
            self._failed[path] = _Failed(sentence(error.strerror or str(error)), write, self._clock())
            self._tell(path)
            return False
        if self._failed.pop(path, None) and not any(one.parent == path.parent for one in self._failed):
            self._over(path.parent)
        return True

    def look(self) -> None:
        """See whether the directory is where commands look for it; said once, and once that it is again.

        What could not be written is tried again, since it may be due for nothing else.
        """
        for path, one in tuple(self._failed.items()):
            if self._clock() - one.at >= RETRY:
                self.write(path, one.write)
        if self._run.shown is None:
            return
        try:
            covered = not run_directory.is_held(self._run)
        except OSError:  # no descriptor is left, say
            return
        if covered != self._covered:
            self._covered = covered
            where = self._named(self._run.path)
            self._say(*((4, f"something is mounted over {where}: {_HIDDEN}") if covered else (5, f"{where} is back")))

    def _named(self, path: Path) -> str:
        return printable(bytes(self._run.name(path)))

    def left_out(self, path: Path, number: int) -> None:
        """That many of what the file should have were too much for it: said once, until nothing is."""
        if number and path not in self._left_out:
            self._say(4, f"{self._named(path)} would be too large to be read again: it lacks {_count(number)}")
        self._left_out.pop(path, None)
        if number:
            self._left_out[path] = number

    def _tell(self, path: Path) -> None:
        place, now = path.parent, self._clock()
        if place in self._said or now - self._last.get(place, float("-inf")) < OFTEN:
            return
        self._said[place] = self._last[place] = now
        self._say(4, f"{self._named(path)} can't be written, going on without: {self._failed[path].why}")

    def _over(self, place: Path) -> None:
        if self._said.pop(place, None) is not None:
            self._say(5, f"the files in {self._named(place)} can be written again")


def _count(number: int) -> str:
    return f"{number:,} entr{'y' if number == 1 else 'ies'}"
