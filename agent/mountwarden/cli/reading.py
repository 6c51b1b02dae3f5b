"""What a command says at a terminal while it reads the host for long; nothing anywhere else."""

import os
import sys
import time

from ..output.columns import count

AFTER = 2.0
"""Seconds after which something is said."""
_INTERVAL = 0.1
"""Seconds between two updates."""


class ReadingLine:
    """Counts the mount namespaces that are read, on one line of stderr that is cleared at the end."""

    def __init__(self) -> None:
        self._count = 0
        self._next = time.monotonic() + AFTER
        self._is_shown = False
        self._is_seen = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def __enter__(self) -> "ReadingLine":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._is_shown:
            self._write("\r\x1b[K")

    def one_more(self) -> None:
        """One more namespace is read."""
        self._count += 1
        now = time.monotonic()
        if self._is_seen and now >= self._next:
            self._next, self._is_shown = now + _INTERVAL, True
            self._write(f"\r{count(self._count, 'mount namespace')} read\x1b[K")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
