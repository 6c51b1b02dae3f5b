"""The closed sets of words of all facts, documents and messages."""

import enum


class Kind(enum.StrEnum):
    """What is wrong."""

    LEAKED = "leaked"
    SEVERED = "severed"
    PRIVATE_ROOT = "private-root"
    PINNED = "pinned"
    STACKED = "stacked"
    ORPHANED = "orphaned"
    ABANDONED = "abandoned"


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
    """How it is known that a copy is leaked, best first.

    HISTORY: home had the mount in an earlier scan. RECORD: the engine's own record says that it is unmounted. SPOT: the
    copy is where only the engine mounts, and home has nothing there. CLAIMED: only the mount's own options say so.
    """

    HISTORY = "history"
    RECORD = "record"
    SPOT = "spot"
    CLAIMED = "claimed"


class Reach(enum.StrEnum):
    """How a copy goes: by an umount in home, rmdir(2) of its mountpoint, from inside, or with its holders."""

    PROPAGATION = "propagation"
    RMDIR = "rmdir"
    INSIDE = "inside"
    HOLDERS = "holders"


class Action(enum.StrEnum):
    """What is done about a finding."""

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
    """What a mount on a spot of a layout is; confirm times and policies depend on it."""

    LAYER = "layer"
    SHM = "shm"
    NETNS = "netns"
    VOLUME = "volume"


class NamespaceKind(enum.StrEnum):
    """What holds a mount namespace: a systemd service, a container, any other process, or no process."""

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
    """Who decides on an action: the service itself, the operator, or nobody."""

    AUTO = "auto"
    ASK = "ask"
    OFF = "off"


class Tier(enum.StrEnum):
    """Which kernel interface a scan used."""

    EVENTS = "events"
    STATMOUNT = "statmount"
    MOUNTINFO = "mountinfo"


class SuperblockTest(enum.StrEnum):
    """What says whether a superblock lives on that home has no mount of any more: ustat(2), inotify(7), or nothing."""

    USTAT = "ustat"
    INOTIFY = "inotify"
    NONE = "none"


class EventKind(enum.StrEnum):
    """What the service logs. Each has one message id and one catalog entry."""

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
    GAP_OVER = "gap-over"
    CONFIG_KEPT = "config-kept"
    MISSED = "missed"
    SCAN_FAILED = "look-failed"
    STARTED = "started"
    BEGUN = "begun"
    LOST = "lost"
