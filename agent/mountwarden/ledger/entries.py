"""The facts of the ledger. Frozen, without input or output."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..model import Event, EventKind, Subject
from .flood import Storms


class Reported(enum.StrEnum):
    """How a finding was told."""

    NO = "no"
    ALONE = "alone"
    SUMMED = "summed"
    """As one of a summary's ids."""


class Attempt(enum.StrEnum):
    """What became of the one attempt that the service makes at a finding."""

    NONE = "none"
    BEGUN = "begun"
    DONE = "done"
    DECLINED = "declined"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Now:
    """The time of a look."""

    wall: float
    """Seconds since the Epoch: shown, never used to measure."""
    boot: float
    """Seconds of CLOCK_BOOTTIME at the look's start: a clock that nobody sets, and that goes on in suspend."""
    took: float = 0.0
    """Seconds of the look. What it saw for the first time counts from its end."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding, from its first look to its end."""

    subject: Subject
    identity: str
    """The very mount that was seen: another one on the same spot starts the confirm time anew."""
    first: float
    """CLOCK_BOOTTIME since which it is known to be there."""
    due: float
    """CLOCK_BOOTTIME at which it is confirmed."""
    confirmed: bool = False
    told: Reported = Reported.NO
    attempt: Attempt = Attempt.NONE


@dataclass(frozen=True, slots=True)
class GapEntry:
    """A gap, from its first look on."""

    first: float
    told: bool = False


@dataclass(frozen=True, slots=True)
class RootRecord:
    """How acts on one root went."""

    failures: int = 0
    """Failed attempts in a row."""
    shares: int = 0
    """How often it was shared by us."""
    left_alone: bool = False
    """The breaker is open; it was told."""
    fought: bool = False
    """Somebody makes it private again each time; it was told."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that is remembered. Of one boot: ids and clocks mean nothing in the next."""

    boot_id: str
    entries: Mapping[str, Entry] = field(default_factory=dict)
    pending: tuple[Event, ...] = ()
    """Events that are not known to have been told."""
    storms: Storms = field(default_factory=dict)
    acts: tuple[float, ...] = ()
    """CLOCK_BOOTTIME of the acts of the last minute."""
    roots: Mapping[bytes, RootRecord] = field(default_factory=dict)
    gaps: Mapping[str, GapEntry] = field(default_factory=dict)
    paused: bool = False
    """Whether a pause was told and not yet its end."""


def event_key(kind: EventKind, subject: Subject) -> str:
    """The key of a finding's event: another one each time that the finding comes back."""
    return f"{subject.id}.{subject.since * 1e6:.0f}.{kind}"
