"""Whether anybody owns a mount that home itself has, as its engine proves it."""

import enum
from dataclasses import dataclass


class Owned(enum.StrEnum):
    """YES: somebody uses or will use it. GONE: its engine proves that nobody does. UNKNOWN: no proof either way."""

    YES = "yes"
    GONE = "gone"
    UNKNOWN = "unknown"


class LeftBehind(enum.StrEnum):
    """What was left behind: each has its own proof, sentence and policy."""

    TASK = "task"
    """containerd's task, whose shim is gone."""
    TMPMOUNT = "tmpmount"
    """containerd's temporary mount, of a daemon that has ended."""
    EXECUTOR = "executor"
    """A build step of a BuildKit that has ended."""
    LAYER = "layer"
    """A layer or container file system of Docker without a container."""
    CONTAINER = "container"
    """podman's, mounted for a container that is dead."""
    POD = "pod"
    """A volume of a pod that kubelet does not know any more."""
    STAGING = "staging"
    """A volume that CSI staged, whose device has gone or is another one."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """What an engine's module found out about the owner of one mount."""

    state: Owned
    left: LeftBehind | None = None
    """What it is, where the state is GONE."""
    proof: str = ""
    """What proves it, as clauses that follow "its owner is gone: ": "containerd runs, no shim serves the bundle, …"."""
    frees: str = ""
    """What its end frees, as a noun phrase: "the block device /dev/sdc", "the layer's directory …"; empty: nothing."""


OWNER_UNKNOWN = Ownership(Owned.UNKNOWN)
