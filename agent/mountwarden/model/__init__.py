"""The facts that everything else is about. Frozen, without input or output.

A root is a directory below which an engine mounts. Its *home* is the mount namespace in which the engine does that: the
host's, unless the engine has one of its own. A mount on a mountpoint of the root, in home, may have *copies* in other
mount namespaces. A *spot* is where a mount is attached, as the kernel knows it: a directory of a file system, by
whatever path it is shown. *Evidence* is how it is known that home has unmounted what a copy is of.

Paths are bytes as the kernel gave them, octal escapes undone. Devices are text, "major:minor", as in mountinfo.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .access import MODE_BASED, Directory, Identities
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
        SuperblockTest,
        Tier,
    )
    from .events import Event, Subject
    from .findings import (
        NAMED,
        RUNTIME_INIT,
        Cause,
        Finding,
        FoundCopy,
        Holder,
        Outcome,
        Remedy,
        Target,
        chief,
        finding_id,
        one_each,
    )
    from .host import (
        HOST,
        UNKNOWN,
        Base,
        Candidate,
        Copy,
        Door,
        Gap,
        Given,
        Gone,
        Kept,
        Layout,
        Match,
        Missed,
        Mount,
        Namespace,
        Owner,
        Root,
        RootState,
        Spot,
        Stack,
        Standing,
        Use,
        gets_own_superblock,
        is_on_block_device,
    )
    from .ownership import OWNER_UNKNOWN, LeftBehind, Owned, Ownership
    from .picture import Picture, SpaceCopies, grouped
    from .questions import (
        Answers,
        ContainerQuestion,
        GivenQuestion,
        OwnerQuestion,
        PeerGroupQuestion,
        Question,
        RecordQuestion,
        UsersQuestion,
    )
    from .units import MS_PRIVATE, MS_SLAVE, Assignment, Directive, UnitFacts, UnitFile

__all__ = [
    "HOST",
    "MODE_BASED",
    "MS_PRIVATE",
    "MS_SLAVE",
    "NAMED",
    "OWNER_UNKNOWN",
    "RUNTIME_INIT",
    "UNKNOWN",
    "Action",
    "Answers",
    "Assignment",
    "Base",
    "Candidate",
    "Cause",
    "ContainerQuestion",
    "Copy",
    "Directive",
    "Directory",
    "Door",
    "Event",
    "EventKind",
    "Evidence",
    "Finding",
    "FoundCopy",
    "Gap",
    "Given",
    "GivenQuestion",
    "Gone",
    "Holder",
    "Identities",
    "Kept",
    "Kind",
    "Layout",
    "LeftBehind",
    "Match",
    "Missed",
    "Mount",
    "MountClass",
    "Namespace",
    "NamespaceKind",
    "Outcome",
    "Owned",
    "Owner",
    "OwnerQuestion",
    "Ownership",
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
    "SpaceCopies",
    "Spot",
    "Stack",
    "Standing",
    "Subject",
    "SuperblockTest",
    "Target",
    "Tier",
    "UnitFacts",
    "UnitFile",
    "Use",
    "UsersQuestion",
    "chief",
    "finding_id",
    "gets_own_superblock",
    "grouped",
    "is_on_block_device",
    "one_each",
]

_PARTS = ("enums", "host", "ownership", "events", "findings", "picture", "questions", "access", "units")


if not TYPE_CHECKING:

    def __getattr__(name):
        """Import the parts up to the one that has this name: engines wait for the service, which starts with few."""
        if name in __all__:
            for part in _PARTS:
                found = vars(import_module(f".{part}", __name__))
                if name in found:
                    return globals().setdefault(name, found[name])
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
