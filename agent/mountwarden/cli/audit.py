"""An operator's action is one journal entry, as the service's own are: what was seen, done and verified."""

import os
import time
from collections.abc import Iterable

from ..model import Outcome
from ..output import journal_messages
from ..service.answers.acting import event
from ..systemd import journal_reader
from ..systemd.journal import SOCKET, Journal

PATIENCE = 5.0
"""Seconds that an entry waits for journald, whose queue those of a thousand actions may fill, and that the end does."""


def journal() -> Journal:
    """Where all entries of one command are written."""
    return Journal(patience=PATIENCE)


def tell(outcome: Outcome, also_unread: Iterable[int], to: Journal) -> None:
    """Write the entry, with what the operator overruled; nothing where there is no journal."""
    if os.path.exists(SOCKET):
        to.send(journal_messages.entry(event(outcome, time.time(), f"uid {os.getuid()}", also_unread)))


def end() -> None:
    """Stay until journald has read the entries: of a process that has ended it can't say who it was."""
    if os.path.exists(SOCKET):
        journal_reader.sync(deadline=PATIENCE)
