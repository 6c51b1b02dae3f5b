"""What a snapshot holds: the facts that findings are made from, not the findings."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..config.schema import Mode, PolicyEntry, RootEntry
from ..explain.context import Context
from ..model import Answers, Door, Gap, Holder, Mount, NamespaceKind, Picture
from ..mounts.propagation import Behaviour
from ..predict.occupants import Occupant

SCHEMA = "mountwarden.snapshot/1"


@dataclass(frozen=True, slots=True)
class SavedMembers:
    """The processes of a namespace that holds something, and what kind of namespace it is."""

    kind: NamespaceKind | None
    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedHistory:
    """What depends on earlier scans: it can't be found again from a single picture."""

    confirmed: bool
    silenced: bool
    since: float | None
    due: float | None = None


@dataclass(frozen=True, slots=True)
class SavedMounts:
    """All mounts of all namespaces, and what keeps them busy: what a prediction is made from."""

    own: int
    """Inode of the namespace in which the snapshot was taken."""
    tables: Mapping[int, tuple[Mount, ...]]
    """By the namespace's inode. A mount id is there once."""
    owners: Mapping[int, int]
    """Inode of the user namespace that owns each."""
    pids: Mapping[int, tuple[int, ...]]
    doors: Mapping[int, Door]
    """By inode: the way to enter each namespace without a process."""
    behaviour: Behaviour
    """What this kernel does with overmounts."""
    occupants: tuple[Occupant, ...]
    """What keeps a mount busy, without the names of files that processes have open."""
    spaces: Mapping[int, SavedMembers]
    """The processes of each namespace, by its inode."""
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A host at one scan, as it is written to a file."""

    version: str
    """Of the mountwarden that took it."""
    anonymous: bool
    hostname: str
    kernel: str
    taken: float
    """Seconds since the Epoch at which the scan began."""
    seconds: float
    """Seconds that the scan took."""
    mode: Mode
    paused: bool
    policies: tuple[PolicyEntry, ...]
    """Of the configuration, in order."""
    entries: tuple[RootEntry, ...]
    """The `[[root]]` entries of the configuration."""
    picture: Picture
    answers: Answers
    """The answers to the judge's questions, beside the picture."""
    gaps: tuple[Gap, ...] = ()
    members: Mapping[int, SavedMembers] = field(default_factory=dict)
    """By the namespace's inode."""
    users: Mapping[int, Holder] = field(default_factory=dict)
    """By pid: processes that keep mounts which are in no namespace any more."""
    told: Mapping[str, SavedHistory] = field(default_factory=dict)
    """By the finding's id."""
    circumstances: Mapping[str, Context] = field(default_factory=dict)
    """What the causes are found from, by the id of the first finding of each cause."""
    survey: SavedMounts | None = None
    """None where there were too many mounts."""
