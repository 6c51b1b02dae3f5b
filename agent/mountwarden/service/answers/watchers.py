"""Watch: each event goes to those who watch once the journal has it; who begins to gets the last ones first."""

import itertools
from collections import deque

from ...escape import sentence, timestamp
from ...model import Event
from ...output import journal_messages
from ...systemd import journal_reader
from ...systemd.journal import PREFIX
from ...varlink import wire
from ...varlink.connection import Call
from ...varlink.interface import VarlinkError
from .children import Children, Job, Write

LAST = 100
"""Events that a new watcher can have first."""
USUAL = 10
"""Those that it gets where it asks for no number."""
DEADLINE = 6.0
"""Seconds for the journal to say which the last ones before the service's start were."""

Told = dict[str, object]


class Watchers:
    """The calls of Watch. Events before the start are in the journal alone, which is read for the first of them."""

    def __init__(self) -> None:
        self._last: deque[tuple[str, Told]] = deque(maxlen=LAST)
        """Each with its key."""
        self._calls: list[Call] = []
        self._early: list[Call] = []
        """Those who wait for what the journal has."""
        self._read = False
        self._older: list[tuple[str, Told]] = []

    def hear(self, event: Event) -> None:
        """The journal has this event."""
        self._last.append((event.key, as_json(event)))
        data = wire.encode({"event": self._last[-1][1]})
        for call in tuple(self._calls):
            call.reply(data, continues=True)
        self._calls = [call for call in self._calls if not call.over]

    def watch(self, call: Call, children: Children) -> None:
        """Begin to tell one who asks."""
        if self._read:
            self._begin(call)
            return
        self._early.append(call)
        if len(self._early) == 1:
            children.start(Job(_older, DEADLINE, self._take, lambda error, _seconds: self._taken(error)))

    def _take(self, data: bytes) -> None:
        self._older = [(key, told) for key, told in wire.parse(data)["events"]]

    def _taken(self, _error: VarlinkError | None) -> None:
        """Where the journal can't be read, there is nothing older."""
        known = {key for key, _told in self._last}
        both = [*(one for one in self._older if one[0] not in known), *self._last]
        self._last, self._read = deque(both, maxlen=LAST), True
        early, self._early = self._early, []
        for call in early:
            self._begin(call)

    def _begin(self, call: Call) -> None:
        wanted = call.parameters.get("lines")
        first = len(self._last) - max(0, USUAL if wanted is None else wanted)
        for _key, told in itertools.islice(self._last, max(0, first), None):
            call.reply({"event": told}, continues=True)
        if not call.over:
            self._calls.append(call)


def as_json(event: Event) -> Told:
    """An event as `mountwarden watch --json` has it."""
    fields = dict(journal_messages.entry(event))
    finding = fields.get(f"{PREFIX}FINDING")
    return _told(timestamp(event.at), fields[f"{PREFIX}EVENT"], finding, fields["MESSAGE"])


def _told(at: str, event: str, finding: str | None, text: str) -> Told:
    return {"at": at, "event": sentence(event), "finding": finding, "text": sentence(text)}


def _older(write: Write) -> None:
    """In a child: the last events that the service wrote to the journal."""
    found = journal_reader.last_of_service(LAST, deadline=DEADLINE - 1)
    told = [(one.get("event_id", ""), _told(one["at"], one["event"], one.get("finding"), one["message"]))
            for one in found if one["event"]]  # fmt: skip
    write({"events": told})
