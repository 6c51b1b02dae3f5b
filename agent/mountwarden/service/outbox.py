"""Logs each pending event to the journal exactly once, however often the service is killed.

The ledger file holds an event as pending before the journal gets it, and no longer after. Whatever is pending at a
start may or may not be in the journal: the journal itself is asked, by the event's key.
"""

import contextlib
from collections.abc import Callable, Iterable

from ..errors import MountwardenError
from ..ledger import stored, update
from ..ledger.update import Ledger
from ..model import Event
from ..output import journal_messages
from ..state import run_directory
from ..state.run_directory import RunDirectory
from ..systemd import journal_reader
from ..systemd.journal import PREFIX, Journal

DEADLINE = 5.0
"""Seconds for each call of journalctl."""
AT_ONCE = 200
"""Keys that are asked for in one call, well below the kernel's limit for arguments."""


class Outbox:
    """The ledger's file and the journal, kept in step."""

    def __init__(
        self, run: RunDirectory, journal: Journal, heard: Callable[[Event], object] = lambda _event: None
    ) -> None:
        """`heard` is called with each event once the journal has it."""
        self._run = run
        self._heard = heard
        self._journal = journal
        self._saved = b""
        self._kept: Ledger | None = None

    def load(self, boot_id: str) -> tuple[Ledger, str | None]:
        """The saved ledger without the events that the journal already has, and why a new one was started."""
        try:
            ledger, why = stored.load(run_directory.read(self._run.ledger), boot_id)
        except OSError as error:
            return Ledger(boot_id), f"the saved ledger can't be read ({error})"
        if ledger.pending and self._journal.structured:
            ledger = update.reported(ledger, in_journal(ledger.pending, boot_id))
        return ledger, why

    def save(self, ledger: Ledger) -> None:
        """Write the ledger if it is another one than was written last. Raises: OSError."""
        if ledger == self._kept:
            return
        data = stored.dump(ledger)
        if data != self._saved:
            run_directory.write(self._run.ledger, data, run_directory.OWN)
        self._saved, self._kept = data, ledger

    def report(self, ledger: Ledger) -> Ledger:
        """Save, report what is pending, save again; returns the ledger with nothing pending. Raises: OSError."""
        self.save(ledger)
        if not ledger.pending:
            return ledger
        for event in ledger.pending:
            self._journal.send(journal_messages.entry(event))
            self._heard(event)
        ledger = update.reported(ledger, [event.key for event in ledger.pending])
        self.save(ledger)
        return ledger


def in_journal(events: Iterable[Event], boot_id: str) -> frozenset[str]:
    """Keys of those events that root has written to the journal in this boot.

    No answer counts as none of them: an event that is reported twice does less harm than one that is lost.
    """
    keys = [event.key for event in events]
    if not keys or not journal_reader.sync(deadline=DEADLINE):
        return frozenset()
    found: set[str] = set()
    for at in range(0, len(keys), AT_ONCE):
        matches = (f"{PREFIX}EVENT_ID={key}" for key in keys[at : at + AT_ONCE])
        words = [f"--output-fields={PREFIX}EVENT_ID", f"_BOOT_ID={boot_id.replace('-', '')}", *matches]
        with contextlib.suppress(MountwardenError):
            found |= {str(one.get("event_id")) for one in journal_reader.read(words, deadline=DEADLINE)}
    return frozenset(found & set(keys))
