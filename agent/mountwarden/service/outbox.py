"""Logs each pending event to the journal exactly once, however often the service is killed.

The ledger file holds an event as pending before the journal gets it, and no longer after. Whatever is pending at a
start may or may not be in the journal: the journal itself is asked, by the event's key.

Where the file can't be written, all goes on from memory: the journal gets an entry before each attempt at a finding,
since the file can't have it. Where the journal takes nothing, events stay pending.
"""

import contextlib
import time
from collections.abc import Callable, Iterable

from ..errors import MountwardenError
from ..ledger import breaker, stored, update
from ..ledger.update import Ledger
from ..model import Event
from ..output import journal_messages
from ..state import run_directory
from ..state.run_directory import RunDirectory
from ..systemd import journal_origin, journal_reader
from ..systemd.journal import PREFIX, Journal
from .unsaved import RETRY, Unsaved

DEADLINE = 5.0
"""Seconds for each call of journalctl."""
AT_ONCE = 200
"""Keys that are asked for in one call, well below the kernel's limit for arguments."""
MOST_PENDING = 1000
"""Events that wait for the journal at most; the oldest are dropped."""


class Outbox:
    """The ledger's file and the journal, kept in step."""

    def __init__(
        self,
        run: RunDirectory,
        journal: Journal,
        heard: Callable[[Event], object] = lambda _event: None,
        unsaved: Unsaved | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`heard` is called with each event once the journal has it."""
        self._run = run
        self._heard = heard
        self._journal = journal
        self._unsaved, self._clock = unsaved or Unsaved(), clock
        self._saved = b""
        self._kept: Ledger | None = None
        self._again = float("-inf")
        """When a file that could not be written is tried again, in seconds of CLOCK_MONOTONIC."""
        self._begun = frozenset[str]()
        """Keys of the attempts that the journal has and the file has not."""

    def load(self, boot_id: str) -> tuple[Ledger, str | None]:
        """The saved ledger without the events that the journal already has, and why a new one was started."""
        try:
            ledger, why = stored.load(run_directory.read(self._run.ledger), boot_id)
        except OSError as error:
            return Ledger(boot_id), f"the saved ledger can't be read ({error})"
        if ledger.pending and self._journal.structured:
            ledger = update.reported(ledger, in_journal(ledger.pending, boot_id))
        return ledger, why

    def save(self, ledger: Ledger) -> bool:
        """Write the ledger if it is another one than was written last; whether the file has it. Never raises."""
        if ledger == self._kept:
            return True
        if self._clock() < self._again:
            return False
        dumped = stored.dumped(ledger)
        if dumped.data == self._saved or self._unsaved.write(self._run.ledger, lambda: self._write(dumped)):
            self._saved, self._kept, self._again = dumped.data, ledger, float("-inf")
            return True
        self._saved, self._kept, self._again = b"", None, self._clock() + RETRY
        return False

    def _write(self, dumped: stored.Dumped) -> None:
        """Raises: OSError."""
        run_directory.write(self._run.ledger, dumped.data, run_directory.OWN)
        self._unsaved.left_out(self._run.ledger, dumped.left_out)

    def report(self, ledger: Ledger) -> Ledger:
        """Save, report what is pending, save again; returns the ledger with what the journal did not take.

        Never raises. What is begun is in the file or in the journal then.
        """
        if not self.save(ledger):
            self._report_attempts(ledger)
        if not ledger.pending:
            return ledger
        sent = []
        for event in ledger.pending:
            if not self._journal.send(journal_messages.entry(event)):
                break
            self._heard(event)
            sent.append(event.key)
        ledger = update.reported(ledger, sent)
        if len(ledger.pending) > MOST_PENDING + 1:
            ledger = update.dropped(ledger, MOST_PENDING)
        self.save(ledger)
        return ledger

    def _report_attempts(self, ledger: Ledger) -> None:
        """Each once, before the action."""
        attempts = breaker.begun(ledger, time.time())
        for event in attempts:
            if event.key not in self._begun:
                self._journal.send(journal_messages.entry(event))
        self._begun = frozenset(event.key for event in attempts)


def in_journal(events: Iterable[Event], boot_id: str) -> frozenset[str]:
    """Keys of those events that the service, or a command of root's on this host, has written in this boot.

    No answer counts as none of them: an event that is reported twice does less harm than one that is lost.
    """
    keys = [event.key for event in events]
    if not keys or not journal_reader.sync(deadline=DEADLINE):
        return frozenset()
    found: set[str] = set()
    for at in range(0, len(keys), AT_ONCE):
        matches = (f"{PREFIX}EVENT_ID={key}" for key in keys[at : at + AT_ONCE])
        wanted = ",".join((f"{PREFIX}EVENT_ID", *journal_origin.NEEDED))
        words = [f"--output-fields={wanted}", f"_BOOT_ID={boot_id.replace('-', '')}", *matches]
        with contextlib.suppress(MountwardenError):
            found |= {str(one.get("event_id")) for one in journal_reader.read(words, deadline=DEADLINE)}
    return frozenset(found & set(keys))
