"""BuildKit, in dockerd or as buildkitd: the file system of a build step whose BuildKit has ended.

A step's bundle is ROOT/executor/ID with the mountpoint `rootfs`, both made for that step and removed after it
(moby/buildkit, executor/runcexecutor/executor.go, Run). ROOT is DATA_ROOT/buildkit in dockerd (moby,
builder/builder-next/executor_linux.go, once executor_unix.go, newExecutor), /var/lib/buildkit/runc-SNAPSHOTTER of
buildkitd (worker/runc/runc.go, NewWorkerOpt). No build outlives its BuildKit, but the step's processes do where that
was killed: then it is not said to be left.
"""

import os

from ..escape import printable
from ..model import Match
from ..model.ownership import OWNER_UNKNOWN, LeftBehind, Owned, Ownership
from . import before_daemon
from .proof import Inquiry, Pairs

_ENGINES = ("docker", "buildkit")


def claims(match: Match) -> bool:
    """Whether it is for this module to say who owns a mount there."""
    match match.rel.split(b"/"):
        case [*_, b"executor", name, b"rootfs"] if match.root.engine in _ENGINES:
            return name.isalnum()
    return False


def owners(inquiry: Inquiry, pairs: Pairs) -> list[Ownership]:
    """One for each, all of one root. Raises: NoAnswer, OSError, ValueError where something can't be asked."""
    older = before_daemon.older(inquiry, pairs)
    return [
        _gone(inquiry, match)
        if is_older and not before_daemon.lives(inquiry, match, mount, match.rel.split(b"/")[-2])
        else OWNER_UNKNOWN
        for (match, mount), is_older in zip(pairs, older, strict=True)
    ]


def _gone(inquiry: Inquiry, match: Match) -> Ownership:
    daemon = inquiry.host.daemon_of(match.root)
    name = daemon.comm if daemon else "BuildKit"
    proof = f"{name} runs and answers, the build step is older than it, no process lives in it"
    directory = printable(os.path.dirname(os.path.join(match.root.path, match.rel)))
    return Ownership(Owned.GONE, LeftBehind.EXECUTOR, proof, f"the build step's directory {directory}")
