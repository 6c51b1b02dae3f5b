"""containerd: temporary mounts below ROOT/tmpmounts that are older than the running containerd.

It mounts there to look into an image or to prepare one, each time in a directory that it has just made with a random
name: containerd-mount… (core/mount/temp.go, WithTempMount), ovl-idmapped…/N (core/mount/mount_linux.go,
prepareIDMappedOverlay), which an overlay needs only while it is being mounted. The place is the daemon's alone
(cmd/containerd/command/main.go, SetTempMountLocation): clients and shims use that of the system. At its start it
unmounts what it finds there (core/mount/temp_unix.go, CleanupTempMounts), and what was busy then stays.
"""

import os
import re

from ..escape import printable
from ..model import Match
from ..model.ownership import OWNER_UNKNOWN, LeftBehind, Owned, Ownership
from . import before_daemon, containerd
from .proof import Inquiry, Pairs

_NAME = re.compile(rb"(?:containerd-mount|ovl-idmapped)[0-9]+")
_PROOF = "containerd runs and answers, its temporary mount is older than it, no process lives in it"


def claims(match: Match) -> bool:
    """Whether it is for this module to say who owns a mount there."""
    return match.root.engine == containerd.ENGINE and _NAME.fullmatch(_name(match)) is not None


def owners(inquiry: Inquiry, pairs: Pairs) -> list[Ownership]:
    """One for each, all of one root. Raises: NoAnswer, OSError, ValueError where something can't be asked."""
    older = before_daemon.older(inquiry, pairs)
    return [
        _gone(match) if is_older and not before_daemon.lives(inquiry, match, mount, _name(match)) else OWNER_UNKNOWN
        for (match, mount), is_older in zip(pairs, older, strict=True)
    ]


def _name(match: Match) -> bytes:
    """The directory's below ROOT/tmpmounts; empty where it is not below that."""
    _root, _, rest = os.path.join(match.root.path, match.rel).rpartition(b"/tmpmounts/")
    return rest.partition(b"/")[0] if _root else b""


def _gone(match: Match) -> Ownership:
    directory = printable(os.path.join(match.root.path, match.rel))
    return Ownership(Owned.GONE, LeftBehind.TMPMOUNT, _PROOF, f"the directory {directory}")
