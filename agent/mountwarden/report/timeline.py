"""When each event happened that led to a finding, as far as anything on the host still shows it. Pure.

The kernel keeps no time of a mount, of an umount or of a change of propagation. What is known instead: a mountpoint's
directory is not younger than a mount on it; a copy in a namespace that never had a master is not younger than that
namespace; and when the service's own scans were. What nothing shows is "not known".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..escape import printable, sentence, timestamp, unit_name
from ..explain import cause, naming
from ..explain.context import Context, bind_above, container_of
from ..model import Evidence, Finding, Kind
from .types import MomentJson, SettingJson

JOURNAL = 20
"""Entries of the journal that are in the timeline, the last ones."""

_COPIED_AT_START = (cause.MOUNT_FLAGS, cause.PRIVATE_BIND)
"""Causes by which a copy can only have come with its namespace."""
_EVENTS = {"found": "told"}
_ACTS = ("acted", "failed", "left-alone")


@dataclass(frozen=True, slots=True)
class TimelineFacts:
    """What was looked up: times in seconds since the Epoch, None where there is no answer."""

    born: float | None = None
    """When the mountpoint's directory was made in home."""
    process: float | None = None
    """When the first holder's process began."""
    entries: Sequence[Mapping[str, Any]] | None = ()
    """The journal's, oldest first; None where it could not be read."""
    agent: bool = False
    """`since` is the running service's, not of this scan."""


def moments(
    finding: Finding, around: Context, settings: Sequence[SettingJson], known: TimelineFacts
) -> list[MomentJson]:
    """The timeline: what must have happened in its order, then what the journal has."""
    start = around.unit.started if around.unit and around.unit.started else known.process
    found = [
        *_mounted(finding, around, start, known),
        *_started(finding, around, known),
        *_cut(finding, around, settings, start),
        *_unmounted(finding, known),
        _seen(finding, known),
    ]
    return found + list(journal(known.entries, brief=True))


def journal(entries: Iterable[Mapping[str, Any]] | None, *, brief: bool = False) -> list[MomentJson]:
    """What the journal has about a finding; `brief` leaves out what the finding itself says."""
    if entries is None:
        return [_moment("told", None, "the journal could not be read")]
    return [_entry(entry, brief=brief) for entry in tuple(entries)[-JOURNAL:]]


def _entry(entry: Mapping[str, Any], *, brief: bool) -> MomentJson:
    event, text = str(entry["event"] or "-"), str(entry["message"])
    if event == "summary":
        event, text = str(entry.get("summary_of", "found")), f"one of {entry.get('count', 'many')} in one entry"
    elif brief and event == "found":
        text = "reported in the journal"
    elif brief:
        text = f"{entry.get('action', 'action')}: {entry.get('text', '-')}" if event in _ACTS else ""
    if event in _ACTS and entry.get("by"):
        text += f", by {entry['by']}"
    moment = _moment(sentence(_EVENTS.get(event, event)), None, sentence(text), "journal")
    return {**moment, "at": entry["at"]}


def _moment(
    what: str,
    at: float | None,
    text: str,
    source: str | None = None,
    *,
    after: float | None = None,
    before: float | None = None,
) -> MomentJson:
    def moment(seconds: float | None) -> str | None:
        return None if seconds is None else timestamp(seconds)

    return {
        "what": what,
        "at": moment(at),
        "after": moment(after),
        "before": moment(before),
        "text": text,
        "source": source,
    }


def _mounted(finding: Finding, around: Context, start: float | None, known: TimelineFacts) -> Iterable[MomentJson]:
    if finding.kind in (Kind.PRIVATE_ROOT, Kind.STACKED):
        return
    came_with_it = finding.cause is not None and finding.cause.code in _COPIED_AT_START
    before = start if came_with_it else None
    text = f"{printable(around.mountpoint or finding.mountpoint)} was mounted"
    if finding.kind is not Kind.LEAKED or _seen_to_go(finding, known):
        text += f" {cause.where_home_is(finding.root)}"
    source = "its directory's birth" if known.born else None
    yield _moment("mounted", None, text, source, after=known.born, before=before)


def _started(finding: Finding, around: Context, known: TimelineFacts) -> Iterable[MomentJson]:
    if not finding.first.holders or finding.kind is Kind.PRIVATE_ROOT:
        return
    first = finding.first.holders[0]
    if around.unit:
        yield _moment("started", around.unit.started, f"{unit_name(around.unit.id)} started", "systemd")
        return
    process = f"process {first.pid} ({printable(first.comm)})"
    inside = container_of(finding)
    text = f"{process} of {naming.container_of(inside)} started" if inside else f"{process} started"
    yield _moment("started", known.process, text, "its process" if known.process else None)


def _cut(
    finding: Finding, around: Context, settings: Sequence[SettingJson], start: float | None
) -> Iterable[MomentJson]:
    if finding.kind not in (Kind.LEAKED, Kind.SEVERED, Kind.PRIVATE_ROOT):
        return
    match finding.cause.code if finding.cause else None:
        case cause.MOUNT_FLAGS:
            flags = next((s for s in settings if s["name"] == "MountFlags"), None)
            place = f" ({flags['file']}:{flags['line']})" if flags and flags["file"] else ""
            yield _moment("cut", start, f"propagation cut here: MountFlags=private{place}", "systemd")
        case cause.PRIVATE_BIND:
            bind = bind_above(around.above)
            where = printable(bind.point) if bind else "its volume"
            yield _moment("cut", start, f"propagation cut here: {where} bound with private propagation", "its process")
        case cause.INSIDE:
            yield _moment("cut", None, "propagation cut here: made private inside", after=start)
        case _:
            yield _moment("cut", None, "propagation cut: the kernel keeps no record of when, or by whom")


def _unmounted(finding: Finding, known: TimelineFacts) -> Iterable[MomentJson]:
    if finding.kind not in (Kind.LEAKED, Kind.ORPHANED, Kind.PINNED):
        return
    where = cause.where_home_is(finding.root)
    if _seen_to_go(finding, known):
        by = _by(known)
        yield _moment("unmounted", finding.since, f"unmounted {where}: {by} saw its mount go", by)
    elif finding.evidence is Evidence.RECORD:
        text = f"unmounted {where}, as the engine's record says; nothing saw it go"
        yield _moment("unmounted", None, text, before=finding.since)
    else:
        yield _moment("unmounted", None, f"not mounted {where}; it was never seen there", before=finding.since)


def _seen_to_go(finding: Finding, known: TimelineFacts) -> bool:
    """Whether this command or the service saw home's mount and then saw it gone."""
    found = next((entry for entry in known.entries or () if entry["event"] == "found"), {})
    return finding.evidence is Evidence.HISTORY or (known.agent and found.get("evidence") == Evidence.HISTORY)


def _by(known: TimelineFacts) -> str:
    return "mountwarden.service" if known.agent else "this command"


def _seen(finding: Finding, known: TimelineFacts) -> MomentJson:
    return _moment("found", finding.since, f"first seen by {_by(known)}", _by(known))
