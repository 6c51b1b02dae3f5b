"""A progress bar on a terminal, for what takes a while; nothing anywhere else."""

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from typing import Any

_INTERVAL = 0.1  # seconds between two updates
_MIB = 1 << 20


class Progress:
    """Shows bytes done on stderr, of `total` if it is known. `callback` is None where stderr is no terminal.

    rich draws it if it is installed, else it is one line that is written over.
    """

    def __init__(self, total: int | None, label: str = "applying") -> None:
        self._total = total
        self._label = label
        self._next = 0.0
        self._rich: Any = None
        self._task: Any = None
        self.callback: Callable[[int], None] | None = self._show if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        if self.callback and importlib.util.find_spec("rich"):
            self._start_rich()
        return self

    def _start_rich(self) -> None:
        """Imported by name: rich is optional, and a script that pipes never pays for it."""
        progress = importlib.import_module("rich.progress")
        console = importlib.import_module("rich.console").Console(stderr=True)
        columns = [progress.TextColumn("{task.description}"), progress.BarColumn(), progress.DownloadColumn()]
        columns += [progress.TransferSpeedColumn(), progress.TimeRemainingColumn()]
        self._rich = progress.Progress(*columns, console=console, transient=True)
        self._task = self._rich.add_task(self._label, total=self._total)
        self._rich.start()

    def __exit__(self, *exception: object) -> None:
        if self._rich:
            self._rich.stop()
        elif self.callback and self._next:
            sys.stderr.write("\r\x1b[K")

    def _show(self, done: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL
        if self._rich:
            self._rich.update(self._task, completed=done)
            return
        of = f" of {self._total // _MIB}" if self._total else ""
        sys.stderr.write(f"\r{self._label}: {done // _MIB}{of} MiB\x1b[K")
        sys.stderr.flush()
