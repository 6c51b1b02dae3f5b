"""The file in /run/mountwarden in which the service keeps what its scans saw, for the next run and for the commands.

    saved, why_not = history_file.read(RunDirectory(), boot_id())
    scanner = Scanner(config, history=saved)

A command only reads it. `saved.taken` says when that was first known, not when the service was last seen alive.
"""

import time
from collections.abc import Callable
from pathlib import Path

from ..state import run_directory
from ..state.run_directory import RunDirectory
from . import stored_history
from .stored_history import StoredHistory

RETRY = 5.0
"""Seconds after which a file that could not be written is tried again."""


def read(run: RunDirectory, boot_id: str) -> tuple[StoredHistory, str | None]:
    """What was saved in this boot, and why nothing of it is used: None when it is, or there was no file.

    Never raises.
    """
    try:
        return stored_history.load(run_directory.read(run.history), boot_id)
    except OSError as error:
        return StoredHistory(boot_id), f"the saved history can't be read ({error.strerror or error})"


class HistoryKeeper:
    """Writes what is to be kept, where it is another than was written last."""

    def __init__(
        self,
        run: RunDirectory,
        write: Callable[[Path, Callable[[], object]], bool],
        left_out: Callable[[Path, int], object] = lambda _path, _number: None,
    ) -> None:
        """`write` calls what writes a file, and says whether it did: scans and actions go on without.

        `left_out` is told how many namespaces were too much for the file.
        """
        self._run, self._left_out = run, left_out
        self._write = write
        self._kept: StoredHistory | None = None
        self._again = float("-inf")

    def keep(self, saved: StoredHistory) -> None:
        """Write it. Never raises."""
        if saved == self._kept or time.monotonic() < self._again:
            return
        data = stored_history.dump(saved, run_directory.LARGEST)
        done = self._write(self._run.history, lambda: run_directory.write(self._run.history, data, run_directory.OWN))
        self._left_out(self._run.history, len(saved.namespaces) - data.count(b'"inode":'))
        self._kept = saved if done else None
        self._again = float("-inf") if done else time.monotonic() + RETRY
