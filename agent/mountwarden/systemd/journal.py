"""Writing to the journal: structured entries to its socket, or lines on stderr that systemd forwards.

Not by sd_journal_send(3), which waits for as long as journald reads nothing; the protocol is that of "Native Journal
Protocol" (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/). Text of the host is made printable here, and nowhere else on
its way to the journal.
"""

import array
import contextlib
import errno
import fcntl
import io
import os
import select
import socket
import sys
from collections.abc import Iterable
from typing import TextIO

from ..escape import sentence

IDENTIFIER = "mountwarden"
PREFIX = "MOUNTWARDEN_"
"""Of the names of our own fields."""
SOCKET = "/run/systemd/journal/socket"
_TOO_LONG = (errno.EMSGSIZE, errno.ENOBUFS)
LONGEST = 48 * 1024
"""Bytes of one value at most; journald stores longer ones, but journalctl does not show them."""


def clean(value: str) -> str:
    """A value as it is written to the journal: printable, on one line, of bounded length."""
    return sentence(value)[:LONGEST]


Entry = Iterable[tuple[str, str]]
"""Field names, which are ours, and their values; MESSAGE, MESSAGE_ID and PRIORITY are among them."""


class Journal:
    """Writes entries. A missing socket, or one that takes nothing, is reported once, on stderr."""

    def __init__(self, *, stderr: TextIO | None = None, socket: str = SOCKET, patience: float = 0.0) -> None:
        """`patience`: seconds that an entry waits for journald; the ones behind one that waited in vain do not."""
        self._stderr = stderr if stderr is not None else sys.stderr
        self._path, self._patience = socket, patience
        self._complained: str | None = None

    @property
    def structured(self) -> bool:
        """Whether entries are written with their fields, so that they can be found again."""
        return os.path.exists(self._path)

    def send(self, entry: Entry) -> bool:
        """Write one entry; False where journald takes none now. Never raises: the last resort is a line on stderr."""
        entry = [(name, clean(value)) for name, value in (*entry, ("SYSLOG_IDENTIFIER", IDENTIFIER))]
        try:
            patience = 0.0 if self._complained else self._patience
            _send(self._path, "".join(f"{name}={value}\n" for name, value in entry).encode(), patience)
        except (BlockingIOError, TimeoutError):
            self._complain("journald takes no entries now")
            return False
        except OSError as error:
            self._complain(f"the journal can't be written with fields ({error.strerror}); writing to stderr")
            self._line(entry)
            return True
        self._complained = None
        return True

    def _complain(self, why: str) -> None:
        if self._complained != why:
            self._complained = why
            self._write(f"<4>{clean(why)}")

    def _line(self, entry: Entry) -> None:
        """One line with sd-daemon(3)'s priority prefix: the sentence, then the fields that scripts search for."""
        values = dict(entry)
        rest = " ".join(f"{name}={value}" for name, value in entry if name.startswith(PREFIX))
        self._write(f"<{values['PRIORITY']}>{values['MESSAGE']} [MESSAGE_ID={values['MESSAGE_ID']} {rest}]")

    def _write(self, line: str) -> None:
        """Of a stderr that takes nothing, nothing is waited for: it is most often journald's too."""
        with contextlib.suppress(OSError, ValueError):  # closed: nowhere is left to report it
            if _takes_more(self._stderr):
                print(line, file=self._stderr, flush=True)


def _send(path: str, data: bytes, patience: float) -> None:
    """Raises: BlockingIOError or TimeoutError where journald's queue stays full for `patience` seconds; OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(patience)
        sender.connect(path)
        try:
            sender.send(data)
        except OSError as error:
            if error.errno not in _TOO_LONG:
                raise
            _send_in_memory(sender, data)


def _send_in_memory(sender: socket.socket, data: bytes) -> None:
    """What is too long for a datagram goes as a sealed file in memory."""
    fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        fcntl.fcntl(
            fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        )
        sender.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    finally:
        os.close(fd)


def _takes_more(stream: TextIO) -> bool:
    """Whether a write would not wait. Raises: OSError; ValueError where it is closed."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
    except io.UnsupportedOperation:  # a text in memory
        return True
    return bool(poll.poll(0))
