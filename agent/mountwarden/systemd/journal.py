"""Writing to the journal: structured entries through pystemd, or lines on stderr that systemd forwards.

Text of the host is made printable here, and nowhere else on its way to the journal.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from ..escape import sentence

IDENTIFIER = "mountwarden"
PREFIX = "MOUNTWARDEN_"
"""Of the names of our own fields."""
SOCKET = "/run/systemd/journal/socket"
LONGEST = 48 * 1024
"""Bytes of one value at most; journald stores longer ones, but journalctl does not show them."""


def clean(value: str) -> str:
    """A value as it is written to the journal: printable, on one line, of bounded length."""
    return sentence(value)[:LONGEST]


Entry = Iterable[tuple[str, str]]
"""Field names, which are ours, and their values; MESSAGE, MESSAGE_ID and PRIORITY are among them."""


class Journal:
    """Writes entries. Made once; a missing library or socket is reported once, on stderr."""

    def __init__(
        self,
        *,
        stderr: TextIO | None = None,
        socket: str = SOCKET,
        library: Callable[[str], Any] = lambda name: importlib.import_module(f"pystemd.{name}"),
    ) -> None:
        """`library` gives a module of pystemd by its name there, or raises ImportError."""
        self._stderr = stderr if stderr is not None else sys.stderr
        self._socket = socket
        self._complained = False
        self._sendv = self._load(library)

    @property
    def structured(self) -> bool:
        """Whether entries are written with their fields, so that they can be found again."""
        return self._sendv is not None

    def send(self, entry: Entry) -> None:
        """Write one entry. Never raises: the last resort is a line on stderr."""
        entry = [(name, clean(value)) for name, value in (*entry, ("SYSLOG_IDENTIFIER", IDENTIFIER))]
        if self._sendv is not None and os.path.exists(self._socket):
            try:
                self._sendv(*(f"{name}={value}" for name, value in entry))
            except Exception as error:  # whatever pystemd raises, the entry must be written
                self._complain(f"{type(error).__name__}: {error}")
            else:
                return
        elif self._sendv is not None:
            self._complain(f"{self._socket} is not there")
        self._line(entry)

    def _load(self, library: Callable[[str], Any]) -> Callable[..., object] | None:
        try:
            return library("journal").sendv  # type: ignore[no-any-return]
        except ImportError as error:
            self._complain(str(error))
            return None

    def _complain(self, why: str) -> None:
        if not self._complained:
            self._complained = True
            self._write(f"<4>the journal can't be written with fields ({clean(why)}); writing to stderr")

    def _line(self, entry: Entry) -> None:
        """One line with sd-daemon(3)'s priority prefix: the sentence, then the fields that scripts search for."""
        values = dict(entry)
        rest = " ".join(f"{name}={value}" for name, value in entry if name.startswith(PREFIX))
        self._write(f"<{values['PRIORITY']}>{values['MESSAGE']} [MESSAGE_ID={values['MESSAGE_ID']} {rest}]")

    def _write(self, line: str) -> None:
        try:
            print(line, file=self._stderr, flush=True)
        except OSError:
            pass  # stderr is closed: nowhere is left to report it
