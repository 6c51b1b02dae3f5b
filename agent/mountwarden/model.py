"""The facts that everything else speaks of. Frozen, without input or output.

Paths are bytes as the kernel gave them, octal escapes undone. Devices are text, "major:minor", as in mountinfo.
"""

import enum
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field


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


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of one namespace, as a line of proc_pid_mountinfo(5) or statmount(2) describes it."""

    id: int
    parent: int
    device: str
    root: bytes
    point: bytes
    options: bytes
    shared: int
    master: int
    propagate_from: int
    unbindable: bool
    fstype: str
    source: bytes
    super_options: bytes
    unique: int | None = None

    @property
    def identity(self) -> tuple[str, bytes]:
        """What is mounted, wherever it is: (device, mnt_root)."""
        return self.device, self.root


def is_on_block_device(mount: Mount) -> bool:
    """Whether the mount keeps a block device busy. btrfs shows anonymous device numbers for its subvolumes."""
    return not mount.device.startswith("0:") or mount.fstype == "btrfs"


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a mount is attached, as the kernel sees it: the same spot is the same dentry, whatever path shows it."""

    device: str
    path: bytes


@dataclass(frozen=True, slots=True)
class Door:
    """A way into a mount namespace that has no process."""

    via: str
    """bind, fd, or walk (by the walk over all namespaces alone: nothing that we can name holds it)."""
    pid: int = 0
    """The process that has the descriptor; for a bind, one in the namespace that shows it (0: our own)."""
    path: bytes = b""
    """Of the nsfs file, as seen there."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A mount namespace at one look."""

    inode: int
    pids: tuple[int, ...] = ()
    """Processes in it, lowest first; empty when only a bind or a descriptor keeps it."""
    id: int | None = None
    """The 64-bit id that is never reused (Linux 6.11)."""
    user: int | None = None
    """Inode of the user namespace of its first process."""
    via: str = "process"
    """How the look reached it: process, bind, fd or walk."""
    door: Door | None = None
    """The way in where it has no process."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One pattern of paths below a root on which the engine mounts. `*` stands for one path component.

    `**` alone stands for any directory, and then for mounts of block devices only.
    """

    pattern: bytes
    fstype: str | None
    """The type that the engine mounts there; None for any."""
    mount_class: MountClass = MountClass.LAYER
    is_file: bool = False
    """The mountpoint is a file (nsfs): a file is put in its place instead of a directory."""
    needs_history: bool = False
    """Nothing is leaked there by its spot alone: any directory may be a mountpoint of somebody."""


@dataclass(frozen=True, slots=True)
class Root:
    """A directory whose mounts are guarded, as an engine's module found it."""

    path: bytes
    """Real path in its home's view, symlinks resolved."""
    engine: str
    kind: RootKind
    layout: tuple[Layout, ...]
    home: int | None
    """Inode of the mount namespace whose view counts; None: PID 1's."""
    home_known: bool = True
    """False where the engine is configured but not running: judged, never acted on."""
    home_pid: int | None = None
    """A process in home whose root is "/", where home is not the agent's own namespace."""
    record: tuple[str, ...] = ()
    """Paths of the engine's own record, for engines/ to read; empty: it keeps none that we know."""
    rmdir_on_put: bool = True
    """Whether the engine itself removes the mountpoint after an umount."""
    wants_private: bool = False
    """The engine makes this root private on purpose (containers/storage without skip_mount_home)."""
    aliases: tuple[bytes, ...] = ()
    """Names of the same directory in the configuration, through symbolic links."""
    daemonless: bool = False
    """The engine mounts in whatever namespace it is called in: without a word of its record nothing is accused."""
    observe_only: bool = False
    """Roots of a user's own configuration: never acted on by the root agent."""

    def is_called(self, path: bytes) -> bool:
        """Whether the configuration means this root by `path`."""
        return path == self.path or path in self.aliases


@dataclass(frozen=True, slots=True)
class Base:
    """A mount of home that holds a part of a root: where a root's spots lie as the kernel sees them."""

    mount: Mount
    spot: Spot
    """(device, path in the file system) of the directory `rel` below the root."""
    rel: bytes
    """Path below the root; empty for the root itself."""


@dataclass(frozen=True, slots=True)
class Match:
    """A spot that lies in the layout of a root."""

    root: Root
    base: Base
    layout: Layout
    rel: bytes
    """The mountpoint's path below the root."""
    layer: bytes
    """What the layout's `*` stands for; for several, all of them joined by slashes."""
    mountpoint: bytes
    """The path at home."""
    spot: Spot


@dataclass(frozen=True, slots=True)
class Copy:
    """A mount outside a root's homes that may be a copy of one of home's mounts."""

    namespace: int
    mount: Mount
    parent: Mount | None
    spot: Spot | None
    """None for an overmount, or where the parent is not visible."""
    match: Match | None = None
    """The layout that its spot is in."""
    history: Match | None = None
    """The spot on which home was seen to have the same (device, mnt_root) until it went, this copy being there then."""
    claim: Match | None = None
    """The layer that its own options name: an attacker's text for all we know."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The same mount many times on one mountpoint, of home (`namespace` is home's) or of another namespace."""

    namespace: int
    match: Match
    top: Mount
    depth: int


@dataclass(frozen=True, slots=True)
class RootState:
    """A root as one look found it."""

    root: Root
    home: int | None
    """Inode of home, None where it could not be read."""
    mount: Mount | None
    """Home's mount that contains the root."""
    bases: tuple[Base, ...] = ()
    live: Mapping[Spot, tuple[Mount, ...]] = field(default_factory=dict)
    """Home's mounts on spots of the layout, bottom of each stack first."""
    matches: Mapping[Spot, Match] = field(default_factory=dict)
    """The match of each spot of `live`."""
    parents: Mapping[int, Mount] = field(default_factory=dict)
    """What each of the live mounts is mounted on, by the live mount's id."""
    stacks: tuple[Stack, ...] = ()
    """Mounts of the layout that are there many times over."""
    status: str = "ok"
    """ok, or why the root can't be judged."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that could not be read: what, where and why. A gap is never taken for an absence."""

    what: str
    reason: str
    namespace: int | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Missed:
    """Mount events that did not reach a look, which has therefore compared the mounts themselves."""

    reason: str
    """overflow or budget."""
    text: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A mount that was on a spot at home, and of which no copy is left in any namespace."""

    match: Match
    mount: Mount
    ids: frozenset[int]
    """Small mount ids that it had, in home and elsewhere; what still holds one of them open pins the superblock."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The host at one look."""

    boot_id: str
    tier: Tier
    roots: tuple[RootState, ...]
    namespaces: Mapping[int, Namespace]
    copies: tuple[Copy, ...]
    mounts: int
    """How many mounts the look passed over, in all namespaces."""
    home_identities: frozenset[tuple[str, bytes]] = frozenset()
    """(device, mnt_root) of every mount of every home."""
    stacks: tuple[Stack, ...] = ()
    """What is stacked in namespaces that are no home."""
    gone: tuple[Gone, ...] = ()
    """Mounts that a home had and that no namespace has any more."""
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Use:
    """One way in which a process uses a directory or a mount."""

    pid: int
    comm: str
    how: str
    """cwd, root, "fd 7", or "mount PATH" for a bind in its namespace."""

    def __str__(self) -> str:
        return f"process {self.pid} ({self.comm}, {self.how})" if self.pid else self.how


@dataclass(frozen=True, slots=True)
class RecordWant:
    """The judge asks for the engine's record of one layer. The answer is a RecordState."""

    match: Match


@dataclass(frozen=True, slots=True)
class GroupWant:
    """The judge asks for the master of a peer group. The answer is an int (0: none), or None where nothing shows it."""

    group: int


@dataclass(frozen=True, slots=True)
class UsersWant:
    """The judge asks which processes hold mounts that no namespace has any more. The answer is a tuple of Use."""

    ids: frozenset[int]


Want = RecordWant | GroupWant | UsersWant


@dataclass(frozen=True, slots=True)
class Answers:
    """What the judge has been told of what it wanted to know. What is missing is not known yet."""

    records: Mapping[RecordWant, RecordState] = field(default_factory=dict)
    masters: Mapping[GroupWant, int | None] = field(default_factory=dict)
    users: Mapping[UsersWant, tuple[Use, ...]] = field(default_factory=dict)

    def lacks(self, want: Want) -> bool:
        """Whether it is not answered."""
        return want not in self.records and want not in self.masters and want not in self.users


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that keeps a namespace or a superblock alive."""

    pid: int
    comm: str
    unit: str | None = None
    container: str | None = None
    user: int | None = None
    """Real uid."""
    user_unit: str | None = None
    """The unit of a user's own systemd, below `unit`."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a copy was left behind: a stable code, and one exact sentence."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Remedy:
    """What ends a finding, and whether the service would do it by itself."""

    action: Action
    automatic: bool
    reason: str
    """Why it is automatic, or why it is not."""
    command: str | None
    """To be pasted; None where an id or name holds what a shell would read."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a remedy acts on, as judged: everything that is checked again right before the act."""

    match: Match
    copies: tuple[Copy, ...]
    """The leaked copies on that spot, in all namespaces; of a severed root, those that are cut off."""
    here: tuple[Copy, ...] = ()
    """The leaked copies of the finding's own namespace, those bound elsewhere too; bottom of a stack first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong."""

    id: str
    kind: Kind
    severity: Severity
    root: Root
    home: int | None
    spot: Spot | None
    layer: bytes | None
    mountpoint: bytes
    """Path at home."""
    seen_at: bytes | None
    """Path in the holder's namespace."""
    namespace: int | None
    """Inode of the holder's namespace; home's own for private-root."""
    fstype: str
    device: str
    mount_id: int | None
    unique_id: int | None
    evidence: Evidence | None
    reach: Reach | None
    mount_class: MountClass = MountClass.LAYER
    count: int = 1
    detail: str = ""
    """A judge's remark, such as the newer mount that hides the spot."""
    target: Target | None = None
    # Filled in after judgement:
    namespace_kind: NamespaceKind | None = None
    namespace_id: int | None = None
    holders: tuple[Holder, ...] = ()
    cause: Cause | None = None
    remedies: tuple[Remedy, ...] = ()
    confirmed: bool = False
    silenced: bool = False
    since: float | None = None
    """Seconds since the Epoch at which it was first seen."""

    @property
    def starting(self) -> bool:
        """Its namespace is held by nothing but a runtime that sets a container up, before the change of its root.

        A process chooses its name: by this one, a finding is only told later.
        """
        return bool(self.holders) and all(RUNTIME_INIT.fullmatch(holder.comm) for holder in self.holders)


RUNTIME_INIT = re.compile(r"(runc|youki):\[[0-9]:[A-Z]+\]|runc|crun|youki")
"""Names of the processes in which runc (libcontainer/nsenter), crun and youki enter and prepare a container."""


def finding_id(boot_id: str, kind: Kind, root: bytes, spot: bytes, namespace: int | None) -> str:
    """The stable id of a finding: the same in each run, tier, journal and command."""
    parts = (boot_id.encode(), kind.encode(), root, spot, b"%d" % (namespace or 0))
    digest = hashlib.sha256(b"\0".join(b"%d:%s" % (len(part), part) for part in parts))
    return "mw-" + digest.hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one act, enough to reconstruct it."""

    finding: Finding
    action: Action
    done: bool
    code: str
    """done, or why not: the code of the refusal."""
    text: str
    """One line for people."""
    saw: str = ""
    did: str = ""
    verified: str = ""


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


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event says of a finding: kept until the finding is cleared, when nothing of it can be looked at."""

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
    namespace: int | None = None
    evidence: str | None = None
    cause: Cause | None = None
    count: int = 1
    pid: int | None = None
    comm: str | None = None
    unit: str | None = None
    container: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something to be told once."""

    kind: EventKind
    key: str
    """Unique on this host; by it an event is found again in the journal after a kill."""
    at: float
    """Seconds since the Epoch."""
    text: str = ""
    """What there is to say beyond the subject: an outcome, a reason."""
    subject: Subject | None = None
    data: tuple[tuple[str, str], ...] = ()
    """Further fields of the journal entry: name without prefix, value."""
