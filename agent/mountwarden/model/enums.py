"""The closed sets of words that everything else is said in."""

import enum


class Kind(enum.StrEnum):
    """What is wrong."""

    LEAKED = "leaked"
    SEVERED = "severed"
    PRIVATE_ROOT = "private-root"
    PINNED = "pinned"
    STACKED = "stacked"
    ORPHANED = "orphaned"


class Severity(enum.StrEnum):
    """How bad a finding is; exit status, journal and alerts start at warning."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for critical."""
        return list(Severity).index(self)


class Evidence(enum.StrEnum):
    """How we know that a copy is leaked, best first."""

    HISTORY = "history"
    RECORD = "record"
    SPOT = "spot"
    CLAIMED = "claimed"


class Reach(enum.StrEnum):
    """How home gets at a copy."""

    PROPAGATION = "propagation"
    RMDIR = "rmdir"
    INSIDE = "inside"
    HOLDERS = "holders"


class Action(enum.StrEnum):
    """A remedy."""

    SHARE = "share"
    DETACH = "detach"
    REJOIN = "rejoin"
    UNMOUNT = "unmount"
    RESTART = "restart"


class RootKind(enum.StrEnum):
    """What an engine mounts below a root."""

    GRAPH = "graph"
    NETNS = "netns"
    VOLUME = "volume"
    CUSTOM = "custom"


class MountClass(enum.StrEnum):
    """What a mount on a spot of a layout is; confirm times and policies go by it."""

    LAYER = "layer"
    SHM = "shm"
    NETNS = "netns"
    VOLUME = "volume"


class NamespaceKind(enum.StrEnum):
    """What holds a mount namespace: a systemd service, a container, a bare process, or no process at all."""

    SERVICE = "service"
    CONTAINER = "container"
    PROCESS = "process"
    BARE = "bare"


class RecordState(enum.StrEnum):
    """What the engine's own record says of a layer."""

    LIVE = "live"
    UNMOUNTED = "unmounted"
    UNKNOWN = "unknown"


class Policy(enum.StrEnum):
    """Who decides on an act: the service itself, a human, or nobody."""

    AUTO = "auto"
    ASK = "ask"
    OFF = "off"


class Tier(enum.StrEnum):
    """Which kernel interface a look used."""

    EVENTS = "events"
    STATMOUNT = "statmount"
    MOUNTINFO = "mountinfo"


class EventKind(enum.StrEnum):
    """What the agent tells. Each has one message id and one catalog entry."""

    FOUND = "found"
    CLEARED = "cleared"
    ACTED = "acted"
    DECLINED = "declined"
    FAILED = "failed"
    LEFT_ALONE = "left-alone"
    SUMMARY = "summary"
    PAUSED = "paused"
    RESUMED = "resumed"
    GAP = "gap"
    CONFIG_KEPT = "config-kept"
    MISSED = "missed"
    LOOK_FAILED = "look-failed"
    STARTED = "started"
