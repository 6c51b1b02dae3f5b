"""When the service tries nothing more by itself: one attempt a finding, a limit of incidents, a breaker a root. Pure.

An incident is all that is tried on one root after one scan: an engine whose umounts did not reach a service leaves
hundreds of leaks there at once, which have one cause and are one decision. The limit by the minute counts these.

What is declined is no attempt, since it changes nothing: it is tried again while the finding lasts, after a pause that
grows, and counts neither as an action nor as a failure.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ..config.schema import Config
from ..model import NAMED, Action, Event, EventKind, Finding
from .entries import Attempt, Decline, Entry, Ledger, Now, RootRecord, event_key

FAILURES = 3
"""Failed attempts in a row after which a root is left alone."""
SHARES = 2
"""How often a root is shared; once it was made private again after each, it stays private."""
MINUTE = 60.0
PAUSE, LONGEST_PAUSE = 1.0, 600.0
"""Seconds after which what was declined is tried again: at first, and at most. Each time it is twice as long."""

MADE_PRIVATE_AGAIN = f"the root was shared {SHARES} times and made private again each time"
_KINDS = {
    Attempt.DONE: EventKind.ACTED,
    Attempt.DECLINED: EventKind.DECLINED,
    Attempt.FAILED: EventKind.FAILED,
}


def objection(
    ledger: Ledger, finding: Finding, action: Action, now: Now, config: Config, *, counted: bool = False
) -> str | None:
    """Why the service must not try this now; None when it may. `counted`: its incident is, as one of the minute's."""
    entry = ledger.entries.get(finding.id)
    root = ledger.roots.get(finding.root.path, RootRecord())
    if entry is None or not entry.confirmed:
        return "not confirmed"
    if entry.attempt in _SAID:
        return f"it was tried once, and {_SAID[entry.attempt]}"
    if (last := entry.declined(action)) and now.boot < last.again:
        return f"it was {last.text}"
    if root.left_alone:
        return f"{FAILURES} attempts on this root failed; it is left alone until the service is reloaded"
    if action is Action.SHARE and root.shares >= SHARES:
        return MADE_PRIVATE_AGAIN
    if not counted and limited(ledger, now, config):
        return f"{config.acts_per_minute} incidents were acted on within the last minute"
    return None


def begin(ledger: Ledger, finding: Finding, now: Now, *, counted: bool = False) -> Ledger:
    """An attempt starts. To be saved before the action: a killed service does not try again.

    Its incident counts from now on, unless it is `counted` already; `uncount` takes that back.
    """
    ledger = _marked(ledger, finding.id, Attempt.BEGUN)
    return ledger if counted else replace(ledger, actions=(*_last_minute(ledger, now), now.boot))


def uncount(ledger: Ledger, incidents: int) -> Ledger:
    """So many of the incidents that were counted last came to nothing: what was tried was declined, or not reached."""
    return replace(ledger, actions=ledger.actions[: len(ledger.actions) - incidents])


def begun(ledger: Ledger, wall: float) -> tuple[Event, ...]:
    """What says of the attempts that are under way that they are; `wall` is now, in seconds since the Epoch."""
    text = "what the service remembers can't be written, so this entry stands for it"
    entries = (entry for entry in ledger.entries.values() if entry.attempt is Attempt.BEGUN)
    return tuple(
        Event(EventKind.BEGUN, event_key(EventKind.BEGUN, entry.subject), wall, text, entry.subject)
        for entry in entries
    )


def undo(ledger: Ledger, findings: Sequence[Finding]) -> Ledger:
    """Take back the attempts that were begun and then not made at all."""
    for finding in findings:
        declined = bool(ledger.entries[finding.id].declines)
        ledger = _marked(ledger, finding.id, Attempt.DECLINED if declined else Attempt.NONE)
    return ledger


def finish(
    ledger: Ledger,
    finding: Finding,
    action: Action,
    attempt: Attempt,
    now: Now,
    text: str,
    data: Mapping[str, str],
    unread: tuple[int, ...] = (),
) -> Ledger:
    """An attempt ended: count it, and put its event in line to be reported. `data` are the event's fields, `unread` the
    mount namespaces that kept it back, since they could not be read.
    """
    entry = ledger.entries[finding.id]
    if attempt is Attempt.DECLINED:
        return _declined(ledger, entry, action, now, text, data, unread)
    root = ledger.roots.get(finding.root.path, RootRecord())
    root = _counted(root, action, attempt)
    event = _outcome(entry, action, attempt, now, text, data)
    pending = [*ledger.pending, event]
    if root.failures >= FAILURES and not root.left_alone:
        root = replace(root, left_alone=True)
        pending.append(_left_alone(entry, now, f"{FAILURES} attempts failed, the last one: {text}"))
    ledger = _marked(ledger, finding.id, attempt)
    return replace(ledger, roots={**ledger.roots, finding.root.path: root}, pending=tuple(pending))


def stop_sharing(ledger: Ledger, finding: Finding, now: Now, remedy: str) -> Ledger:
    """Report once that this root was made private again each time. Called when `objection` says so.

    `remedy` says which setting prevents it.
    """
    root = ledger.roots.get(finding.root.path, RootRecord())
    if root.shares < SHARES or root.made_private_again:
        return ledger
    root = replace(root, made_private_again=True)
    event = _left_alone(ledger.entries[finding.id], now, f"{MADE_PRIVATE_AGAIN}; {remedy}")
    return replace(ledger, roots={**ledger.roots, finding.root.path: root}, pending=(*ledger.pending, event))


def interrupted(ledger: Ledger, now: Now) -> Ledger:
    """At the start: attempts that a kill interrupted are reported as failed; the next scan shows their effect."""
    for entry in tuple(ledger.entries.values()):
        if entry.attempt is Attempt.BEGUN:
            text = "the service ended during the action; the next scan shows what became of it"
            event = _outcome(entry, None, Attempt.FAILED, now, text, {})
            ledger = replace(_marked(ledger, entry.subject.id, Attempt.FAILED), pending=(*ledger.pending, event))
    return ledger


GONE = "gone"
"""The code of a decline that found nothing left to do: the next scan clears the finding. It is not reported."""


def freed(ledger: Ledger, unread: Collection[int], now: Now) -> Ledger:
    """What was kept back by mount namespaces that have ended, or are read again, is due at once.

    `unread` are those that can't be read now.
    """
    entries = {
        key: replace(entry, declines=tuple(_freed(one, unread, now) for one in entry.declines))
        for key, entry in ledger.entries.items()
        if any(one.unread and not one.freed for one in entry.declines)
    }
    return replace(ledger, entries={**ledger.entries, **entries}) if entries else ledger


def _freed(decline: Decline, unread: Collection[int], now: Now) -> Decline:
    if not decline.unread or decline.freed or any(inode in unread for inode in decline.unread):
        return decline
    return replace(decline, again=min(decline.again, now.boot), freed=True)


def _declined(
    ledger: Ledger,
    entry: Entry,
    action: Action,
    now: Now,
    text: str,
    data: Mapping[str, str],
    unread: tuple[int, ...],
) -> Ledger:
    """Reported once for each code in `data`."""
    last, code = entry.declined(action), data.get("CODE", "")
    told = last.told if last else frozenset[str]()
    pause = min(2 * last.pause, LONGEST_PAUSE) if last else PAUSE
    decline = Decline(action, code, text, now.boot + pause, pause, told | {code}, unread[:NAMED])
    others = tuple(one for one in entry.declines if one.action is not action)
    known = replace(entry, attempt=Attempt.DECLINED, declines=(*others, decline))
    quiet = code in told or code == GONE
    pending = () if quiet else (_outcome(entry, action, Attempt.DECLINED, now, text, data),)
    entries = {**ledger.entries, entry.subject.id: known}
    return replace(ledger, entries=entries, pending=(*ledger.pending, *pending))


def attempted(ledger: Ledger) -> frozenset[str]:
    """Ids of the findings that had their attempt."""
    return frozenset(key for key, entry in ledger.entries.items() if entry.attempt in _SAID)


def declines(ledger: Ledger) -> dict[str, tuple[Decline, ...]]:
    """What was declined, by the ids of the findings."""
    return {key: entry.declines for key, entry in ledger.entries.items() if entry.declines}


def left_alone(ledger: Ledger) -> frozenset[bytes]:
    """Paths of the roots that nothing more is tried on."""
    return frozenset(path for path, root in ledger.roots.items() if root.left_alone)


def made_private_again(ledger: Ledger) -> frozenset[bytes]:
    """Paths of the roots that are not shared any more, since they were made private again each time."""
    return frozenset(path for path, root in ledger.roots.items() if root.shares >= SHARES)


def limited(ledger: Ledger, now: Now, config: Config) -> bool:
    """Whether so many incidents were acted on within the last minute that no other one may be now."""
    return len(_last_minute(ledger, now)) >= config.acts_per_minute


def reset(ledger: Ledger) -> Ledger:
    """At an operator's reload: what was declined, failed or left alone may be tried once more."""
    tried = (Attempt.DECLINED, Attempt.FAILED)
    entries = {
        key: replace(entry, attempt=Attempt.NONE, declines=()) if entry.attempt in tried else entry
        for key, entry in ledger.entries.items()
    }
    return replace(ledger, entries=entries, roots={})


_SAID = {
    Attempt.BEGUN: "did not end",
    Attempt.DONE: "was done",
    Attempt.FAILED: "failed",
}


def _counted(root: RootRecord, action: Action, attempt: Attempt) -> RootRecord:
    if attempt is Attempt.FAILED:
        return replace(root, failures=root.failures + 1)
    if attempt is Attempt.DONE:
        return replace(root, failures=0, shares=root.shares + (action is Action.SHARE))
    return root


def _marked(ledger: Ledger, finding: str, attempt: Attempt) -> Ledger:
    entry = replace(ledger.entries[finding], attempt=attempt)
    return replace(ledger, entries={**ledger.entries, finding: entry})


def _last_minute(ledger: Ledger, now: Now) -> tuple[float, ...]:
    return tuple(at for at in ledger.actions if now.boot - at < MINUTE)


def _outcome(
    entry: Entry, action: Action | None, attempt: Attempt, now: Now, text: str, data: Mapping[str, str]
) -> Event:
    kind = _KINDS[attempt]
    fields = ((("ACTION", action.value),) if action else ()) + tuple(data.items())
    return Event(kind, _key(kind, entry, now), now.wall, text, entry.subject, fields)


def _left_alone(entry: Entry, now: Now, text: str) -> Event:
    return Event(EventKind.LEFT_ALONE, _key(EventKind.LEFT_ALONE, entry, now), now.wall, text, entry.subject)


def _key(kind: EventKind, entry: Entry, now: Now) -> str:
    return f"{event_key(kind, entry.subject)}.{now.boot * 1e6:.0f}"
