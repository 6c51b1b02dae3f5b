"""The facts that everything else is about. Frozen, without input or output.

A root is a directory below which an engine mounts. Its *home* is the mount namespace in which the engine does that: the
host's, unless the engine has one of its own. A mount on a mountpoint of the root, in home, may have *copies* in other
mount namespaces. A *spot* is where a mount is attached, as the kernel knows it: a directory of a file system, by
whatever path it is shown. *Evidence* is how it is known that home has unmounted what a copy is of.

Paths are bytes as the kernel gave them, octal escapes undone. Devices are text, "major:minor", as in mountinfo.
"""

from .enums import (
    Action,
    EventKind,
    Evidence,
    Kind,
    MountClass,
    NamespaceKind,
    Policy,
    Reach,
    RecordState,
    RootKind,
    Severity,
    Tier,
)
from .events import Event, Subject
from .findings import RUNTIME_INIT, Cause, Finding, Holder, Outcome, Remedy, Target, chief, finding_id
from .host import (
    Base,
    Candidate,
    Copy,
    Door,
    Gap,
    Gone,
    Layout,
    Match,
    Missed,
    Mount,
    Namespace,
    Picture,
    Root,
    RootState,
    Spot,
    Stack,
    is_on_block_device,
)
from .questions import Answers, PeerGroupQuestion, Question, RecordQuestion, Use, UsersQuestion
from .units import MS_PRIVATE, MS_SLAVE, Assignment, Directive, UnitFacts, UnitFile

__all__ = [
    "MS_PRIVATE",
    "MS_SLAVE",
    "RUNTIME_INIT",
    "Action",
    "Answers",
    "Assignment",
    "Base",
    "Candidate",
    "Cause",
    "Copy",
    "Directive",
    "Door",
    "Event",
    "EventKind",
    "Evidence",
    "Finding",
    "Gap",
    "Gone",
    "Holder",
    "Kind",
    "Layout",
    "Match",
    "Missed",
    "Mount",
    "MountClass",
    "Namespace",
    "NamespaceKind",
    "Outcome",
    "PeerGroupQuestion",
    "Picture",
    "Policy",
    "Question",
    "Reach",
    "RecordQuestion",
    "RecordState",
    "Remedy",
    "Root",
    "RootKind",
    "RootState",
    "Severity",
    "Spot",
    "Stack",
    "Subject",
    "Target",
    "Tier",
    "UnitFacts",
    "UnitFile",
    "Use",
    "UsersQuestion",
    "chief",
    "finding_id",
    "is_on_block_device",
]
