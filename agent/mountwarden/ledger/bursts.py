"""Many events of one root at once become one summary. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..model import Event, EventKind

LIMIT = 20
"""Events of one kind and root that are reported one by one within a window."""
WINDOW = 10.0
"""Seconds."""
IDS = 1000
"""Ids that a summary carries at most."""


@dataclass(frozen=True, slots=True)
class Burst:
    """The events of one kind and root in the current window."""

    start: float
    """Seconds of CLOCK_BOOTTIME."""
    reported: int = field(default=0, metadata={"file": "told"})
    waiting: tuple[str, ...] = field(default=(), metadata={"file": "held"})
    """Ids of findings whose event waits for the next summary."""


Bursts = Mapping[tuple[EventKind, bytes], Burst]


def admit(bursts: Bursts, events: Iterable[Event], boot: float, wall: float) -> tuple[Bursts, tuple[Event, ...]]:
    """Let events through while their root has few; returns the new state and what is to be reported now.

    Events that would pass the limit are reported as one summary at once; what follows within the window waits, and is
    reported as the next summary when the window ends. `boot` is CLOCK_BOOTTIME, `wall` seconds since the Epoch.
    """
    state = dict(bursts)
    admitted: list[Event] = []
    for key, batch in _batches(events).items():
        state[key] = burst = _current(state.get(key), boot)
        if burst.reported + len(batch) <= LIMIT:
            state[key] = replace(burst, reported=burst.reported + len(batch))
            admitted += batch
        else:
            ids = tuple(event.subject.id for event in batch if event.subject)
            state[key] = replace(burst, waiting=burst.waiting + ids)
    for key, burst in list(state.items()):
        if burst.waiting and (burst.reported <= LIMIT or boot - burst.start >= WINDOW):
            admitted.append(_summary(key, burst, boot, wall))
            state[key] = Burst(boot, reported=LIMIT + 1)
        elif boot - burst.start >= WINDOW:
            del state[key]
    return state, tuple(admitted)


def not_admitted(events: Iterable[Event], admitted: Iterable[Event]) -> frozenset[str]:
    """Ids of the findings whose own event was not let through."""
    keys = {event.key for event in admitted}
    return frozenset(event.subject.id for event in events if event.subject and event.key not in keys)


def _batches(events: Iterable[Event]) -> dict[tuple[EventKind, bytes], list[Event]]:
    batches: dict[tuple[EventKind, bytes], list[Event]] = {}
    for event in events:
        batches.setdefault((event.kind, event.subject.root if event.subject else b""), []).append(event)
    return batches


def _current(burst: Burst | None, boot: float) -> Burst:
    if burst is None or (boot - burst.start >= WINDOW and not burst.waiting):
        return Burst(boot)
    return burst


def _summary(key: tuple[EventKind, bytes], burst: Burst, boot: float, wall: float) -> Event:
    kind, root = key
    return Event(
        EventKind.SUMMARY,
        f"summary.{kind}.{burst.waiting[0]}.{boot * 1e6:.0f}",
        wall,
        f"{len(burst.waiting)} findings of one root were {_PAST.get(kind, kind)} within {WINDOW:g} s",
        data=(
            ("SUMMARY_OF", kind.value),
            ("COUNT", str(len(burst.waiting))),
            ("FINDINGS", " ".join(burst.waiting[:IDS])),
            ("ROOT", root.decode("utf-8", "surrogateescape")),
        ),
    )


_PAST = {
    EventKind.FAILED: "tried without success",
    EventKind.ACTED: "acted on",
}
