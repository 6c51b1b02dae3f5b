"""The configuration: defaults in code, then mountwarden.toml, then mountwarden.toml.d/*.toml by name."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..model import Action, Kind, MountClass, Policy, RootKind, Tier

if TYPE_CHECKING:
    from ..model import Finding

DIRECTORY = b"/etc/mountwarden"
VERSION = 1
"""Of the configuration's format. Within a version keys are only added: none is removed or changes its meaning."""
ENGINES = (
    *("docker", "containers-storage", "containerd", "kubelet", "netns", "host"),
    *("buildkit", "crio", "incus", "nerdctl"),
)
"""Engines that `engines` may name. `[[policy]]` may name "custom" too: the `[[root]]` entries."""


class Mode(enum.StrEnum):
    """Whether the service takes actions by itself at all."""

    ACT = "act"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Confirm:
    """How many seconds a finding must last before it is reported."""

    layer: float = 1.0
    shm: float = 1.0
    volume: float = 5.0
    netns: float = 90.0
    pinned: float = 30.0
    orphaned: float = 30.0
    abandoned: float = 300.0
    """At home: as long as any engine takes to notice that what it ran has died, and to tidy up."""
    private_root: float = 0.5
    starting: float = 30.0
    """In a namespace in which a runtime still sets up a container: its copies go when it changes its root."""

    def needed(self, finding: "Finding") -> float:
        """The confirm time of a finding, in seconds."""
        seconds = self.seconds(finding.kind, finding.mount_class)
        return max(seconds, self.starting) if finding.starting else seconds

    def seconds(self, kind: Kind, mount_class: MountClass) -> float:
        """The confirm time of a finding of this kind on a mount of this class, in seconds."""
        if kind in (Kind.PINNED, Kind.ORPHANED, Kind.ABANDONED):
            return float(getattr(self, kind))
        if kind is Kind.PRIVATE_ROOT:
            return self.private_root
        return float(getattr(self, mount_class))


@dataclass(frozen=True, slots=True)
class RootEntry:
    """A `[[root]]` of the configuration."""

    path: bytes
    kind: RootKind = RootKind.CUSTOM
    layout: tuple[bytes, ...] = (b"*/merged",)
    fstype: str | None = "overlay"
    policy: Policy | None = None
    """For share and detach of this root; None: the engine's."""


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """A `[[policy]]`: who decides on an action, for what it matches. None matches anything; the last match wins."""

    action: Action
    policy: Policy
    root: bytes | None = None
    engine: str | None = None
    kind: Kind | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """A `[[silence]]`: findings that are still found and in JSON, but without exit code, alert or action."""

    reason: str
    until: float | None = None
    """Seconds since the Epoch; None: for ever."""
    id: str | None = None
    root: bytes | None = None
    unit: str | None = None
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that an operator can set."""

    mode: Mode = Mode.ACT
    tick: float = 1.0
    """Seconds between scans of the list of namespaces and of the roots' propagation."""
    resync: float = 60.0
    """Seconds between full scans."""
    tier: Tier | None = None
    """The kernel interface that scans use; None: the best that works here."""
    confirm: Confirm = Confirm()
    engines: tuple[str, ...] = ENGINES
    """Engines whose roots are watched; those of `[[root]]` entries always are."""
    roots: tuple[RootEntry, ...] = ()
    policies: tuple[PolicyEntry, ...] = ()
    silences: tuple[Silence, ...] = ()
    acts_per_minute: int = 60
    """Incidents that are acted on within a minute, at most; one is all that is tried on one root after one scan."""
    metrics: bytes | None = None
    """Text file for node_exporter's collector; None: none is written."""
    origin: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Key to the file and line that set it, such as `confirm.netns` or `silence[0]`; keys not in it are defaults."""
