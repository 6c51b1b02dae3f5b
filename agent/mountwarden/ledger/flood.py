"""Many events of one root at once become one summary. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..model import Event, EventKind

LIMIT = 20
"""Events of one kind and root that are told one by one within a window."""
WINDOW = 10.0
"""Seconds."""
IDS = 1000
"""Ids that a summary carries at most."""


@dataclass(frozen=True, slots=True)
class Storm:
    """What one root said of one kind of event in the current window."""

    start: float
    """Seconds of CLOCK_BOOTTIME."""
    told: int = 0
    held: tuple[str, ...] = ()
    """Ids of findings whose event waits for the next summary."""


Storms = Mapping[tuple[EventKind, bytes], Storm]


def admit(storms: Storms, events: Iterable[Event], boot: float, wall: float) -> tuple[Storms, tuple[Event, ...]]:
    """Let events through while their root is quiet; returns the new state and what is to be told now.

    A batch that would pass the limit is told as one summary at once; what follows within the window is held, and told
    as the next summary when the window ends. `boot` is CLOCK_BOOTTIME, `wall` seconds since the Epoch.
    """
    state = dict(storms)
    told: list[Event] = []
    for key, batch in _batches(events).items():
        state[key] = storm = _current(state.get(key), boot)
        if storm.told + len(batch) <= LIMIT:
            state[key] = replace(storm, told=storm.told + len(batch))
            told += batch
        else:
            state[key] = replace(storm, held=storm.held + tuple(event.subject.id for event in batch if event.subject))
    for key, storm in list(state.items()):
        if storm.held and (storm.told <= LIMIT or boot - storm.start >= WINDOW):
            told.append(_summary(key, storm, boot, wall))
            state[key] = Storm(boot, told=LIMIT + 1)
        elif boot - storm.start >= WINDOW:
            del state[key]
    return state, tuple(told)


def held_back(events: Iterable[Event], told: Iterable[Event]) -> frozenset[str]:
    """Ids of the findings whose own event was not let through."""
    keys = {event.key for event in told}
    return frozenset(event.subject.id for event in events if event.subject and event.key not in keys)


def _batches(events: Iterable[Event]) -> dict[tuple[EventKind, bytes], list[Event]]:
    batches: dict[tuple[EventKind, bytes], list[Event]] = {}
    for event in events:
        batches.setdefault((event.kind, event.subject.root if event.subject else b""), []).append(event)
    return batches


def _current(storm: Storm | None, boot: float) -> Storm:
    if storm is None or (boot - storm.start >= WINDOW and not storm.held):
        return Storm(boot)
    return storm


def _summary(key: tuple[EventKind, bytes], storm: Storm, boot: float, wall: float) -> Event:
    kind, root = key
    return Event(
        EventKind.SUMMARY,
        f"summary.{kind}.{storm.held[0]}.{boot * 1e6:.0f}",
        wall,
        f"{len(storm.held)} findings of one root were {_PAST.get(kind, kind)} within {WINDOW:g} s",
        data=(
            ("SUMMARY_OF", kind.value),
            ("COUNT", str(len(storm.held))),
            ("FINDINGS", " ".join(storm.held[:IDS])),
            ("ROOT", root.decode("utf-8", "surrogateescape")),
        ),
    )


_PAST = {
    EventKind.FAILED: "tried in vain",
    EventKind.ACTED: "acted on",
}
