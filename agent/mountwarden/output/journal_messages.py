"""What each event logs: its message id, its sentence, its fields. The catalog explains the ids to `journalctl -x`.

The ids are random (sd-id128 new); an id never changes its meaning.
"""

from ..escape import printable, unit_name
from ..model import Event, EventKind, Evidence, Kind, Severity, Subject
from ..systemd.journal import PREFIX
from .phrases import holder_of_subject, noun

IDS = {
    EventKind.FOUND: "ac05996646d6430297cd38b47d8faa5b",
    EventKind.CLEARED: "6665387de7b34d5c8396e6fb7cc48457",
    EventKind.ACTED: "d8d1b9343f40478e90477391a05fdd2c",
    EventKind.DECLINED: "8446b1f68def4a4495c5d50be698be8d",
    EventKind.FAILED: "999975574c4740f2af275b94feef2e3d",
    EventKind.LEFT_ALONE: "82e4f270071b43fb9629afaa244d3cf2",
    EventKind.SUMMARY: "2f65448710364400a90b8c0201b55bde",
    EventKind.PAUSED: "46242bf2bce9457ea46717a72a379f69",
    EventKind.RESUMED: "d4b997388f0443b2b4079dbf6c20023b",
    EventKind.GAP: "37ec7ff7e1344e8e80a5392d276c0810",
    EventKind.GAP_OVER: "2eb3265c1bea4810ba2e9bdabf9f15aa",
    EventKind.CONFIG_KEPT: "00e394dbe9f946618140ad22464b08a1",
    EventKind.MISSED: "d9a7028545a84ffe943038cb6f19b41d",
    EventKind.SCAN_FAILED: "efae1c9414594aec9dc401a924f0d84b",
    EventKind.STARTED: "952335ae956a4bff8875cae550d9e4b9",
    EventKind.BEGUN: "60aae1dbd8b7404db5764c13102ee380",
    EventKind.LOST: "a3c80929823e47daaca344451990911e",
}

ABOUT_A_FINDING = frozenset(
    {
        *(EventKind.FOUND, EventKind.CLEARED, EventKind.ACTED, EventKind.DECLINED, EventKind.FAILED),
        *(EventKind.LEFT_ALONE, EventKind.BEGUN),
    }
)
"""Events that have a subject."""

_ALWAYS = ("EVENT", "EVENT_ID", "TEXT")
_OF_SUBJECT = (
    *("FINDING", "KIND", "SEVERITY", "ROOT", "ENGINE", "MOUNTPOINT"),
    *("MOUNT_CLASS", "NAMESPACE", "CAUSE", "EVIDENCE", "HOLDER"),
)
_OF_DATA = {
    EventKind.SUMMARY: ("SUMMARY_OF", "COUNT", "FINDINGS", "ROOT"),
    EventKind.GAP: ("COUNT",),
    EventKind.MISSED: ("COUNT",),
    EventKind.LOST: ("COUNT",),
    EventKind.PAUSED: ("UNTIL",),
}

_ERROR, _WARNING, _NOTICE, _INFO = 3, 4, 5, 6
_PRIORITY = {
    EventKind.CLEARED: _NOTICE,
    EventKind.ACTED: _NOTICE,
    EventKind.PAUSED: _NOTICE,
    EventKind.RESUMED: _NOTICE,
    EventKind.GAP_OVER: _NOTICE,
    EventKind.MISSED: _NOTICE,
    EventKind.STARTED: _INFO,
    EventKind.BEGUN: _NOTICE,
    EventKind.CONFIG_KEPT: _ERROR,
    EventKind.SCAN_FAILED: _ERROR,
    EventKind.LEFT_ALONE: _ERROR,
}

_FOUND = {
    Kind.LEAKED: "{mountpoint} leaked: {state}, and still mounted in {holder}",
    Kind.SEVERED: "{mountpoint} is severed: an umount on the host would leave the copy in {holder}",
    Kind.PRIVATE_ROOT: "{root} is not shared: umounts below it do not reach other mount namespaces",
    Kind.PINNED: "{mountpoint} is pinned: no mount of the {what} is left, and {holder} holds it open",
    Kind.STACKED: "{mountpoint} is stacked: the same mount is there {count} times in {holder}",
    Kind.ORPHANED: "{mountpoint} is orphaned: its layer is unmounted on the host, and {holder} still runs in it",
    Kind.ABANDONED: "{mountpoint} is abandoned: the {what} is still mounted on the host, and nobody owns it",
}


_STATES = {
    Evidence.HISTORY: "the {what} is unmounted on the host",
    Evidence.RECORD: "the engine's record says that the {what} is unmounted",
    Evidence.SPOT: "the {what} is not mounted on the host",
    Evidence.CLAIMED: "the {what} is not mounted on the host",
}


def declared(kind: EventKind) -> frozenset[str]:
    """Names of the fields that every entry of this kind carries, so that the catalog may speak of them."""
    names = _ALWAYS + _OF_DATA.get(kind, ())
    return frozenset(PREFIX + name for name in (names + _OF_SUBJECT if kind in ABOUT_A_FINDING else names))


def priority(event: Event) -> int:
    """syslog(3)'s level."""
    if event.kind is EventKind.FOUND and event.subject and event.subject.severity is Severity.CRITICAL:
        return _ERROR
    return _PRIORITY.get(event.kind, _WARNING)


def sentence(event: Event) -> str:
    """One line. Names of the subject are made printable; the event's own text is as it came."""
    subject = event.subject
    if subject is None:
        return _PLAIN.get(event.kind, "{text}").format(text=event.text)
    name = f"{printable(subject.mountpoint)} ({subject.id})"
    match event.kind:
        case EventKind.FOUND:
            return _found(subject)
        case EventKind.CLEARED:
            return f"{subject.kind} is over: {name}, {holder_of_subject(subject)}"
        case EventKind.ACTED:
            return f"{_action(event)} done: {name}: {event.text}"
        case EventKind.DECLINED:
            return f"{_action(event)} declined, nothing was changed: {name}: {event.text}"
        case EventKind.BEGUN:
            return f"an action begins: {name}: {event.text}"
        case EventKind.LEFT_ALONE:
            return f"{printable(subject.root)} is left alone: {event.text}"
        case _:
            return f"{_action(event)} failed: {name}: {event.text}"


_PLAIN = {
    EventKind.PAUSED: "paused, no action is taken: {text}",
    EventKind.RESUMED: "resumed: {text}",
    EventKind.GAP: "something can't be read, so that a leak there would not be seen: {text}",
    EventKind.GAP_OVER: "what could not be read is read again: {text}",
    EventKind.CONFIG_KEPT: "the configuration is wrong, the old one is kept: {text}",
    EventKind.MISSED: "mount events were missed, and the mounts compared instead: {text}",
    EventKind.SCAN_FAILED: "a scan failed: {text}",
    EventKind.LOST: "the journal took nothing for too long, and the oldest are lost: {text}",
}


def entry(event: Event) -> tuple[tuple[str, str], ...]:
    """The entry's fields in a fixed order, MESSAGE first, as `Journal.send` takes them."""
    first = (("MESSAGE", sentence(event)), ("MESSAGE_ID", IDS[event.kind]), ("PRIORITY", str(priority(event))))
    return (*first, *_fields(event))


def _fields(event: Event) -> tuple[tuple[str, str], ...]:
    named = [("EVENT", _EVENT.get(event.kind, event.kind.value)), ("EVENT_ID", event.key), ("TEXT", event.text or "-")]
    extra: list[tuple[str, str]] = []
    if subject := event.subject:
        named += _of_subject(subject)
        # journalctl -u asks for UNIT= of PID 1's own entries, and for OBJECT_SYSTEMD_UNIT= of any other of root's.
        extra += [(name, unit_name(unit)) for unit in subject.units for name in ("UNIT", "OBJECT_SYSTEMD_UNIT")]
        if subject.pid:
            extra.append(("OBJECT_PID", str(subject.pid)))
    known = {name for name, _ in named}
    named += [(name, printable(value) if name == "ROOT" else value) for name, value in event.data if name not in known]
    return (*((PREFIX + name, value) for name, value in named), *extra)


_EVENT = {
    EventKind.DECLINED: EventKind.FAILED.value,
    EventKind.MISSED: EventKind.GAP.value,
    EventKind.GAP_OVER: EventKind.GAP.value,
}
"""One word finds all that was not done, or not seen, in the journal; the message id tells the two apart."""


def _found(subject: Subject) -> str:
    what = noun(subject.mount_class)
    text = _FOUND[subject.kind].format(
        what=what,
        state=_STATES[Evidence(subject.evidence or Evidence.SPOT)].format(what=what),
        mountpoint=printable(subject.mountpoint),
        root=printable(subject.root),
        holder=holder_of_subject(subject),
        count=subject.count,
    )
    because = f"; {subject.cause.text.removesuffix('.')}" if subject.cause else ""
    return f"{text}{because} ({subject.id})"


def _of_subject(subject: Subject) -> list[tuple[str, str]]:
    """Always the same names; what is not known says so, since the catalog's text has no if."""
    optional = (("LAYER", subject.layer), ("SEEN_AT", subject.seen_at))
    return [
        ("FINDING", subject.id),
        ("KIND", subject.kind),
        ("SEVERITY", subject.severity),
        ("ROOT", printable(subject.root)),
        ("ENGINE", subject.engine),
        ("MOUNTPOINT", printable(subject.mountpoint)),
        ("MOUNT_CLASS", subject.mount_class),
        *(("NAMESPACE", str(inode)) for inode in subject.namespaces or ("-",)),
        ("CAUSE", subject.cause.text if subject.cause else "not known"),
        ("EVIDENCE", subject.evidence or "-"),
        ("HOLDER", holder_of_subject(subject)),
        *((name, printable(value)) for name, value in optional if value is not None),
    ]


def _action(event: Event) -> str:
    return dict(event.data).get("ACTION", "an action")
