"""The service's socket, and those who call on it, as the loop deals with them."""

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import MountwardenError
from ..ledger.update import note
from ..model import Event
from ..state import run_directory
from ..state.run_directory import RunDirectory
from ..varlink import server
from .answers.acting import Acts, CarryOut
from .answers.interfaces import OWN
from .answers.methods import Methods
from .answers.watchers import Watchers
from .publish import Publisher
from .reporter import Reporter
from .results import Results
from .unsaved import on_stderr

RETRY = 10.0
"""Seconds after which a socket that could not be made is tried again."""
REGISTRY = Path("/run/varlink/registry")
"""Where varlinkctl looks for interfaces by their names."""


class Clients:
    """All who are connected. `open` comes first; each turn of the loop calls `serve`."""

    def __init__(
        self, run: RunDirectory, carry_out: CarryOut, watchers: Watchers, *, registry: Path | None = REGISTRY
    ) -> None:
        """`watchers` hears what goes to the journal; `registry` is None for a socket that is not registered."""
        self._path, self._registry = run.socket, registry
        self._acts, self._watchers = Acts(carry_out), watchers
        self._again = float("-inf")
        self._made: tuple[int, int] | None = None
        """The socket's inode, and when it was made, in ns."""

    def open(self, publisher: Publisher, reporter: Reporter) -> int:
        """Listen, and return what to poll for reading. Without a socket nobody comes, which stderr says."""
        self._answers = Methods(publisher, self._acts, self._watchers)
        self._reporter = reporter
        self._listen()
        return self._answers.server.fileno()

    def _listen(self) -> None:
        """Try it, if it has not worked yet: /run may be full. That is said once."""
        if self._made is not None or time.monotonic() < self._again:
            return
        try:
            path = os.fspath(self._path)
            run_directory.require_uncovered(RunDirectory(self._path.parent))
            self._answers.server.listen(server.bind(path, mode=0o660, group=run_directory.readers()))
            self._made = _identity(self._path)
            self._register()
        except (OSError, MountwardenError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            if self._again < 0:
                on_stderr(4, f"{self._path} can't be served, trying again: {why}")
            self._again = time.monotonic() + RETRY

    @property
    def wants_scan(self) -> bool:
        """Whether one waits for a scan that the budget may put off."""
        return self._answers.wants_scan

    @property
    def of_root(self) -> bool:
        """Whether one of those is root."""
        return self._answers.of_root

    @property
    def needs_scan(self) -> bool:
        """Whether one waits for a scan that must be now."""
        return self._answers.needs_scan

    def serve(self) -> None:
        """Do all that can be done now."""
        self._listen()
        self._answers.server.serve()
        self._answers.children.turn()

    def at_most(self, seconds: float) -> float:
        """How long to wait until `serve` is due though nothing comes: `seconds`, or less."""
        return self._answers.children.at_most(self._answers.server.at_most(seconds))

    def scanned(self, results: Results) -> bool:
        """A scan is over: answer who waits for it. Whether something was done, so that the next scan is due."""
        told = False

        def tell(events: Sequence[Event]) -> None:
            nonlocal told
            told = told or bool(events)
            self._reporter.ledger = note(self._reporter.ledger, *events)
            self._reporter.report()

        self._answers.scanned(results, tell)
        return told

    def no_scan(self) -> None:
        """The budget allows no scan soon."""
        self._answers.no_scan()
        self._answers.server.serve()  # what a peer has not taken yet of a long answer is polled for from here on

    def failed(self, why: str) -> None:
        """A scan failed."""
        self._answers.failed(why)

    def close(self) -> None:
        """End all connections, and take away the socket and its registration, as far as they are still ours."""
        self._answers.children.close()
        self._answers.server.close()
        with contextlib.suppress(OSError):
            if self._made is not None and _identity(self._path) == self._made:
                self._path.unlink()
                if self._registry and os.readlink(self._registry / OWN) == os.fspath(self._path):
                    (self._registry / OWN).unlink()

    def _register(self) -> None:
        """Raises: OSError."""
        if self._registry is None:
            return
        for directory in (self._registry.parent, self._registry):
            with contextlib.suppress(FileExistsError):
                directory.mkdir()
                directory.chmod(0o755)
        new = self._registry / f".{OWN}.{os.getpid()}"
        new.unlink(missing_ok=True)
        new.symlink_to(self._path)
        new.rename(self._registry / OWN)


def _identity(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_ino, facts.st_ctime_ns
