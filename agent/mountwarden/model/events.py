"""What the service logs to the journal."""

from dataclasses import dataclass

from .enums import EventKind, Kind, MountClass, Severity
from .findings import Cause


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event says of a finding. It is kept until the finding is cleared, when the host shows none of it."""

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
    namespaces: tuple[int, ...] = ()
    """Inodes of the first namespaces that have a copy."""
    spaces: int = 0
    """The number of all of them."""
    evidence: str | None = None
    cause: Cause | None = None
    count: int = 1
    pid: int | None = None
    comm: str | None = None
    unit: str | None = None
    units: tuple[str, ...] = ()
    """Those of PID 1's of the holders of all copies, at most `NAMED`."""
    container: str | None = None
    mount_class: MountClass = MountClass.LAYER
    others: int = 0
    """How many hold copies besides that process, its unit and container."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something to be logged once."""

    kind: EventKind
    key: str
    """Unique on this host; by it an event is found in the journal after the service was killed."""
    at: float
    """Seconds since the Epoch."""
    text: str = ""
    """What there is to say beyond the subject, such as an outcome or a reason."""
    subject: Subject | None = None
    data: tuple[tuple[str, str], ...] = ()
    """Further fields of the journal entry: name without prefix, value."""
