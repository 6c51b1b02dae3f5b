"""What the agent remembers from scan to scan: since when, confirmed, reported, tried. Pure: no clock, no I/O.

A finding is reported once it held for its confirm time, and once more when a scan that could see it does not show it.
Events are `pending` until they are known to be in the journal: a kill between two steps neither loses nor doubles one.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from ..config.schema import Config, Silence
from ..model import NAMED, Event, EventKind, Finding, Gap, Severity, Subject, chief
from . import bursts, causes
from .entries import Attempt, Entry, GapEntry, Ledger, Now, Reported, event_key

__all__ = [
    "Attempt",
    "Entry",
    "GapEntry",
    "Ledger",
    "Now",
    "Reported",
    "anew",
    "annotate",
    "awake",
    "dropped",
    "due",
    "next_deadline",
    "note",
    "remembered",
    "reported",
    "update",
]

SUSPENDED = 0.1
"""Seconds of a suspend that count; less is the inaccuracy of two clocks that are read one after the other."""
ASK_AGAIN = 5.0
"""Seconds until the next scan where the confirm time is over, and what decides was not asked for."""
GAP_SECONDS = 60.0
"""How long a gap must hold before it is reported: a process that dies half-way makes one for a moment."""
OWNERS_GAP_SECONDS = 10.0
"""The same for what a user or a container has too much of."""
GAP_OVER_SECONDS = 30.0
"""How long no scan may have had it before it is over: what one owner has is read in turns."""


def update(
    ledger: Ledger,
    findings: Iterable[Finding],
    now: Now,
    config: Config,
    *,
    gaps: Iterable[Gap] = (),
    unjudged: frozenset[bytes] = frozenset(),
    complete: bool = True,
    namespaces: Collection[int] | None = None,
) -> tuple[Ledger, tuple[Event, ...]]:
    """Take in one scan; returns the new ledger and what is to be reported now (it is in `pending` too).

    A finding that the scan does not show is over, unless the scan could not have seen it: a gap has its namespace, its
    root is `unjudged` (paths of roots whose status is not ok), or the scan is not `complete`. `namespaces` are the
    inodes of all that there are; what is known of others is forgotten. None: nothing is.
    """
    findings, gaps = tuple(findings), tuple(gaps)
    ledger = replace(ledger, causes=causes.learned(ledger.causes, findings, namespaces))
    findings = causes.recalled(ledger.causes, findings)
    blind = frozenset(gap.namespace for gap in gaps if gap.namespace is not None)
    seen = {one.id: _seen(ledger.entries.get(one.id), one, now, config, blind) for one in findings}
    absent = [entry for entry in ledger.entries.values() if entry.subject.id not in seen]
    unseen = [entry for entry in absent if not complete or _unseen(entry, blind, unjudged)]
    kept = {entry.subject.id: entry for entry in unseen if entry.confirmed}
    gone = [entry for entry in absent if entry not in unseen]

    found = [_event(EventKind.FOUND, seen[f.id], now) for f in findings if _to_report(seen[f.id], f, now, config)]
    ended = [_event(EventKind.CLEARED, entry, now) for entry in gone if entry.reported is not Reported.NO]
    entries = {**kept, **seen}
    state, events = bursts.admit(ledger.bursts, [*found, *ended], now.boot, now.wall)
    summed = bursts.not_admitted(found, events)
    for event in found:
        if event.subject:
            how = Reported.SUMMED if event.subject.id in summed else Reported.ALONE
            entries[event.subject.id] = replace(entries[event.subject.id], reported=how)
    gap_entries, gap_events = _gaps(ledger, gaps, now)
    events = (*events, *gap_events)
    ledger = replace(ledger, entries=entries, bursts=state, gaps=gap_entries, pending=ledger.pending + events)
    return ledger, events


def anew(ledger: Ledger, boot: float) -> Ledger:
    """What is not confirmed holds since now, `boot`: nothing ran meanwhile, neither an engine nor this service."""
    entries = {
        key: entry if entry.confirmed else replace(entry, first=boot, due=boot + entry.due - entry.first)
        for key, entry in ledger.entries.items()
    }
    return replace(ledger, entries=entries)


def awake(ledger: Ledger, boot: float, asleep: float) -> Ledger:
    """Take in for how many seconds of this boot the host was suspended: CLOCK_BOOTTIME counts them."""
    if asleep - ledger.asleep < SUSPENDED:
        return ledger
    return replace(anew(ledger, boot), asleep=asleep)


def due(ledger: Ledger, findings: Iterable[Finding], now: Now, config: Config) -> frozenset[str]:
    """Ids of the findings that `update` would report as found now: so that their cause is asked for once, and first."""
    return frozenset(
        finding.id
        for finding in findings
        if _to_report(_seen(ledger.entries.get(finding.id), finding, now, config), finding, now, config)
    )


def next_deadline(ledger: Ledger, boot: float = 0.0) -> float | None:
    """Seconds of CLOCK_BOOTTIME, `boot` is now, at which the next finding would be confirmed or what was declined be
    tried again; None when none waits. What is overdue waits for something else, such as the end of a pause.
    """
    waits = [entry.due for entry in ledger.entries.values() if not entry.confirmed]
    waits += [one.again for entry in ledger.entries.values() for one in entry.declines if one.again > boot]
    return min(waits, default=None)


def annotate(ledger: Ledger, findings: Iterable[Finding], now: Now, config: Config) -> tuple[Finding, ...]:
    """The findings with what the ledger knows of them: confirmed, silenced, since, due, and a cause found earlier."""
    known = causes.recalled(ledger.causes, findings)
    return tuple(_annotated(ledger.entries.get(finding.id), finding, now, config) for finding in known)


def note(ledger: Ledger, *events: Event) -> Ledger:
    """Put events in line to be reported."""
    return replace(ledger, pending=ledger.pending + events)


def reported(ledger: Ledger, keys: Iterable[str]) -> Ledger:
    """The events with these keys have reached the journal."""
    keys = frozenset(keys)
    return replace(ledger, pending=tuple(event for event in ledger.pending if event.key not in keys))


def dropped(ledger: Ledger, most: int) -> Ledger:
    """With the newest `most` events in line; the oldest of them says how many are gone, and was not reported either."""
    gone, kept = ledger.pending[:-most], ledger.pending[-most:]
    lost = sum(int(dict(event.data).get("COUNT", 1)) if event.kind is EventKind.LOST else 1 for event in gone)
    key = gone[0].key if gone[0].kind is EventKind.LOST else f"lost.{gone[0].key}"
    first = Event(EventKind.LOST, key, gone[0].at, f"{lost} entries", data=(("COUNT", str(lost)),))
    return replace(ledger, pending=(first, *kept))


def silenced(finding: Finding, silences: Iterable[Silence], wall: float) -> bool:
    """Whether a silence covers the finding at `wall`, in seconds since the Epoch.

    What a silence leaves out matches anything; all it names must match.
    """
    return any(_covers(silence, finding) for silence in silences if silence.until is None or silence.until > wall)


def _covers(silence: Silence, finding: Finding) -> bool:
    return (
        silence.id in (None, finding.id)
        and (silence.root is None or finding.root.is_called(silence.root))
        and silence.kind in (None, finding.kind)
        and (silence.unit is None or finding.is_of(silence.unit))
        and (silence.id, silence.root, silence.kind, silence.unit) != (None, None, None, None)
    )


def _seen(old: Entry | None, finding: Finding, now: Now, config: Config, blind: frozenset[int] = frozenset()) -> Entry:
    """The entry of a finding that this scan shows; what it had in a namespace that is `blind` may still be there."""
    confirm = config.confirm.needed(finding)
    mounts = _mounts(finding)
    if old is None or (not old.confirmed and mounts.isdisjoint(old.mounts)):
        first = now.boot + now.took
        return Entry(subject_of(finding, now.wall), mounts, first, first + confirm)
    explained = replace(finding, cause=causes.better(old.subject.cause, finding.cause))
    subject = _with_unseen(subject_of(explained, old.subject.since), old.subject, blind)
    at = old.first + confirm
    over = now.boot >= at
    due, confirmed = (
        (now.boot + ASK_AGAIN, old.confirmed) if over and not finding.asked else (at, old.confirmed or over)
    )
    known = replace(old, subject=subject, mounts=mounts, due=due, confirmed=confirmed)
    # Other mounts on the same spot are another leak: what was done about the last one says nothing of it.
    return replace(known, attempt=Attempt.NONE, declines=()) if mounts.isdisjoint(old.mounts) else known


def _mounts(finding: Finding) -> frozenset[str]:
    return frozenset(f"{finding.device} {namespace} {mount}" for namespace, mount in finding.mounts)


def remembered(ledger: Ledger, finding: Finding) -> Entry | None:
    """The entry of a finding, if one of the very mounts that it is about was seen before."""
    entry = ledger.entries.get(finding.id)
    return None if entry is None or entry.mounts.isdisjoint(_mounts(finding)) else entry


def _with_unseen(subject: Subject, old: Subject, blind: frozenset[int]) -> Subject:
    unseen = tuple(inode for inode in old.namespaces if inode in blind and inode not in subject.namespaces)
    return replace(subject, namespaces=subject.namespaces + unseen, spaces=subject.spaces + len(unseen))


def _unseen(entry: Entry, blind: frozenset[int], unjudged: frozenset[bytes]) -> bool:
    subject = entry.subject
    unnamed = bool(blind) and subject.spaces > len(subject.namespaces)
    return unnamed or not blind.isdisjoint(subject.namespaces) or subject.root in unjudged


def _to_report(entry: Entry, finding: Finding, now: Now, config: Config) -> bool:
    return (
        entry.confirmed
        and entry.reported is Reported.NO
        and finding.severity.rank >= Severity.WARNING.rank
        and not silenced(finding, config.silences, now.wall)
    )


def _event(kind: EventKind, entry: Entry, now: Now) -> Event:
    return Event(kind, event_key(kind, entry.subject), now.wall, subject=entry.subject)


def _annotated(entry: Entry | None, finding: Finding, now: Now, config: Config) -> Finding:
    quiet = silenced(finding, config.silences, now.wall)
    if entry is None:
        return replace(finding, confirmed=False, silenced=quiet, since=None)
    cause = causes.better(entry.subject.cause, finding.cause)
    due = None if entry.confirmed else entry.subject.since + entry.due - entry.first
    return replace(finding, confirmed=entry.confirmed, silenced=quiet, since=entry.subject.since, due=due, cause=cause)


def subject_of(finding: Finding, since: float) -> Subject:
    """What an event says of the finding."""
    holder = chief(finding.first.holders)
    units = dict.fromkeys(one.unit for one in (*([holder] if holder else []), *finding.holders) if one.unit)
    return Subject(
        id=finding.id,
        kind=finding.kind,
        severity=finding.severity,
        root=finding.root.path,
        engine=finding.root.engine,
        mountpoint=finding.mountpoint,
        since=since,
        layer=finding.layer,
        seen_at=finding.first.seen_at,
        namespaces=finding.namespaces,
        spaces=finding.spaces,
        evidence=finding.evidence,
        cause=finding.cause,
        count=finding.count,
        pid=holder.pid if holder else None,
        comm=holder.comm if holder else None,
        unit=holder.unit if holder else None,
        units=tuple(units)[:NAMED],
        container=holder.container if holder else None,
        mount_class=finding.mount_class,
        others=finding.others,
    )


def _gaps(ledger: Ledger, gaps: tuple[Gap, ...], now: Now) -> tuple[dict[str, GapEntry], list[Event]]:
    """One entry for each (what, reason) of the host, and each (what, owner), however many namespaces have it.

    It is reported once it held, and once more when it is over.
    """
    entries: dict[str, GapEntry] = {}
    events: list[Event] = []
    for key, some in _by_key(gaps).items():
        entry = replace(ledger.gaps.get(key, GapEntry(now.boot)), last=now.boot)
        needed = OWNERS_GAP_SECONDS if some[0].owner else GAP_SECONDS
        if not entry.reported and now.boot - entry.first >= needed:
            entry = replace(entry, reported=True)
            data = (("COUNT", str(sum(gap.count for gap in some))),)
            text = f"{key}: {some[0].reason}" if some[0].owner else key
            events.append(Event(EventKind.GAP, f"gap.{entry.first * 1e6:.0f}.{key}", now.wall, text, data=data))
        entries[key] = entry
    for key, entry in ledger.gaps.items():
        if key in entries:
            continue
        if now.boot - entry.last < GAP_OVER_SECONDS:
            entries[key] = entry
        elif entry.reported:
            events.append(Event(EventKind.GAP_OVER, f"gap-over.{entry.first * 1e6:.0f}.{key}", now.wall, key))
    return entries, events


def _by_key(gaps: Iterable[Gap]) -> dict[str, list[Gap]]:
    found: dict[str, list[Gap]] = {}
    for gap in gaps:
        found.setdefault(f"{gap.what} of {gap.owner}" if gap.owner else f"{gap.what}: {gap.reason}", []).append(gap)
    return found
