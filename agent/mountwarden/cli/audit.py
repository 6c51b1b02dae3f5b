"""An operator's action is one journal entry, as the service's own are: what was seen, done and verified."""

import os
import time

from ..ledger.update import subject_of
from ..model import Event, EventKind, Outcome
from ..output import journal_messages
from ..service.actions import FAILED
from ..systemd.journal import SOCKET, Journal


def tell(outcome: Outcome) -> None:
    """Write the entry; nothing where there is no journal."""
    if os.path.exists(SOCKET):
        Journal().send(journal_messages.entry(event(outcome, time.time())))


def event(outcome: Outcome, now: float) -> Event:
    """The event that reports the outcome. `now` is in seconds since the Epoch."""
    kind = EventKind.ACTED if outcome.done else EventKind.FAILED if outcome.code in FAILED else EventKind.DECLINED
    said = {
        "ACTION": str(outcome.action),
        "CODE": outcome.code,
        "SAW": outcome.saw,
        "DID": outcome.did,
        "VERIFIED": outcome.verified,
        "BY": f"uid {os.getuid()}",
    }
    subject = subject_of(outcome.finding, outcome.finding.since or now)
    key = f"{outcome.finding.id}.{kind}.{now * 1e6:.0f}"
    return Event(kind, key, now, outcome.text, subject, tuple((name, value) for name, value in said.items() if value))
