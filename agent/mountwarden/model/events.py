"""What is told."""

from dataclasses import dataclass

from .enums import EventKind, Kind, Severity
from .findings import Cause


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event says of a finding: kept until the finding is cleared, when nothing of it can be looked at."""

    id: str
    kind: Kind
    severity: Severity
    root: bytes
    engine: str
    mountpoint: bytes
    since: float
    """Seconds since the Epoch at which it was first seen."""
    layer: bytes | None = None
    seen_at: bytes | None = None
    namespace: int | None = None
    evidence: str | None = None
    cause: Cause | None = None
    count: int = 1
    pid: int | None = None
    comm: str | None = None
    unit: str | None = None
    container: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something to be told once."""

    kind: EventKind
    key: str
    """Unique on this host; by it an event is found again in the journal after a kill."""
    at: float
    """Seconds since the Epoch."""
    text: str = ""
    """What there is to say beyond the subject: an outcome, a reason."""
    subject: Subject | None = None
    data: tuple[tuple[str, str], ...] = ()
    """Further fields of the journal entry: name without prefix, value."""
