"""The facts of the ledger. Frozen, without input or output.

A field whose name in the ledger's file is another one has that name in its metadata, as "file".
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..model import Action, Cause, Event, EventKind, Subject
from .bursts import Bursts


class Reported(enum.StrEnum):
    """How a finding was reported."""

    NO = "no"
    ALONE = "alone"
    SUMMED = "summed"
    """As one of a summary's ids."""


class Attempt(enum.StrEnum):
    """What became of the one attempt that the service makes at a finding; one that is declined is none."""

    NONE = "none"
    BEGUN = "begun"
    DONE = "done"
    DECLINED = "declined"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Decline:
    """An action that was declined, and nothing was changed: it is tried again while its finding lasts."""

    action: Action
    code: str
    """Of the last time."""
    text: str
    again: float
    """Seconds of CLOCK_BOOTTIME before which it is not tried again."""
    pause: float
    """Seconds from the last time to that."""
    told: frozenset[str] = frozenset()
    """Codes that were reported."""
    unread: tuple[int, ...] = ()
    """Inodes of the first mount namespaces that kept it back, since they could not be read."""
    freed: bool = False
    """None of these does any more."""


@dataclass(frozen=True, slots=True)
class Now:
    """The time of a scan."""

    wall: float
    """Seconds since the Epoch: shown, never used to measure."""
    boot: float
    """Seconds of CLOCK_BOOTTIME at the scan's start: a clock that nobody sets, and that goes on in suspend."""
    took: float = 0.0
    """Seconds of the scan. What it saw for the first time counts from its end."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding, from the first scan that shows it to its end."""

    subject: Subject
    mounts: frozenset[str]
    """The very mounts that were seen: others on the same spot start the confirm time anew."""
    first: float
    """Seconds of CLOCK_BOOTTIME since which it is known to be there."""
    due: float
    """Seconds of CLOCK_BOOTTIME at which it is confirmed."""
    confirmed: bool = False
    reported: Reported = field(default=Reported.NO, metadata={"file": "told"})
    attempt: Attempt = Attempt.NONE
    declines: tuple[Decline, ...] = ()
    """One for each action that was declined."""

    def declined(self, action: Action) -> Decline | None:
        """How that action was declined the last time."""
        return next((one for one in self.declines if one.action is action), None)


@dataclass(frozen=True, slots=True)
class GapEntry:
    """A gap, from the first scan that has it."""

    first: float
    """Seconds of CLOCK_BOOTTIME."""
    reported: bool = field(default=False, metadata={"file": "told"})
    last: float = 0.0
    """When a scan last had it, in the same clock."""


@dataclass(frozen=True, slots=True)
class RootRecord:
    """How actions on one root ended."""

    failures: int = 0
    """Failed attempts in a row."""
    shares: int = 0
    """How often the service shared it."""
    left_alone: bool = False
    """Nothing more is tried on it, which was reported."""
    made_private_again: bool = field(default=False, metadata={"file": "fought"})
    """It was made private again after each sharing, which was reported."""


@dataclass(frozen=True, slots=True)
class SpaceCause:
    """Why copies of a root were left behind in a namespace, as it was before anything there was changed."""

    root: bytes
    namespace: int
    unit: str | None
    """Of its first process: the inode of a namespace is used again."""
    cause: Cause


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that is remembered. Of one boot: ids and clocks mean nothing in the next."""

    boot_id: str
    entries: Mapping[str, Entry] = field(default_factory=dict)
    pending: tuple[Event, ...] = ()
    """Events that are not known to be in the journal."""
    bursts: Bursts = field(default_factory=dict, metadata={"file": "storms"})
    actions: tuple[float, ...] = field(default=(), metadata={"file": "acts"})
    """Seconds of CLOCK_BOOTTIME at which the incidents that were acted on within the last minute began."""
    roots: Mapping[bytes, RootRecord] = field(default_factory=dict)
    gaps: Mapping[str, GapEntry] = field(default_factory=dict)
    causes: tuple[SpaceCause, ...] = ()
    """The first cause that was known of each root and namespace, while that is there: a rejoin changes what it is
    derived from, and leaves the copies."""
    paused: bool = False
    """Whether the begin of a pause was reported and not yet its end."""
    asleep: float = 0.0
    """Seconds of this boot in which the host was suspended, as of the last scan."""


def event_key(kind: EventKind, subject: Subject) -> str:
    """The key of a finding's event: another one each time that the finding comes back."""
    return f"{subject.id}.{subject.since * 1e6:.0f}.{kind}"
