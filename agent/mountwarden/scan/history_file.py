"""The file in /run/mountwarden in which the service keeps what its scans saw, for the next run and for the commands.

    saved, why_not = history_file.read(RunDirectory(), boot_id())
    scanner = Scanner(config, history=saved)

A command only reads it. `saved.taken` says when that was first known, not when the service was last seen alive.
"""

from collections.abc import Callable

from ..state import run_directory
from ..state.run_directory import RunDirectory
from . import stored_history
from .stored_history import StoredHistory


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

    def __init__(self, run: RunDirectory, complain: Callable[[OSError], None]) -> None:
        """`complain` is told of a file that can't be written, once until it can be: scans and actions go on without."""
        self._run = run
        self._complain = complain
        self._kept: StoredHistory | None = None
        self._failed = False

    def keep(self, saved: StoredHistory) -> None:
        """Write it. Never raises."""
        if saved == self._kept:
            return
        try:
            data = stored_history.dump(saved, run_directory.LARGEST)
            run_directory.write(self._run.history, data, run_directory.OWN)
        except OSError as error:
            if not self._failed:
                self._complain(error)
            self._failed, self._kept = True, None
            return
        self._failed, self._kept = False, saved
