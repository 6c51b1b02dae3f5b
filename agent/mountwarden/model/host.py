"""What a scan reads of the host: mounts, namespaces, and the engines' roots."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .enums import MountClass, RootKind


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

    def same_as(self, other: "Mount") -> bool:
        """Whether both are of the same, by type and options too: a device number is reused at once."""
        mine, its = (self.fstype, self.super_options), (other.fstype, other.super_options)
        return self.identity == other.identity and mine == its


def gets_own_superblock(mount: Mount) -> bool:
    """Whether each mount(2) makes a new superblock, so that mounts of one are all copies of one first mount.

    Any other type may give two mount(2)s of one source the same superblock, as every block device does.
    """
    return mount.fstype in ("overlay", "aufs", "tmpfs") or mount.fstype.startswith("fuse.")


def is_on_block_device(mount: Mount) -> bool:
    """Whether the mount keeps a block device busy. btrfs shows anonymous device numbers for its subvolumes."""
    return not mount.device.startswith("0:") or mount.fstype == "btrfs"


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a mount is attached, as the kernel sees it: the same spot is the same dentry, whatever path shows it."""

    device: str
    path: bytes


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mount that the rules have to judge, with its parent and spot."""

    mount: Mount
    parent: Mount | None
    spot: Spot | None


@dataclass(frozen=True, slots=True)
class Door:
    """A way to enter a mount namespace in which no process is: a file that refers to it."""

    via: str
    """bind, fd, or walk (found only by the walk over all namespaces: what holds it is not known)."""
    pid: int = 0
    """The process that has the file open; for a bind mount, one in the namespace that has it (0: our own)."""
    path: bytes = b""
    """Path of the nsfs file, as that process sees it."""


_ID = 64
"""Digits of an engine's id, of which `docker ps` shows the first twelve."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a mount namespace is: the user who made the user namespace that owns it; of root's, the container."""

    uid: int | None
    """As the host knows it; None where it is not known."""
    container: str | None = None
    """By its engine's id; None for what is in none, and of other users."""

    def __str__(self) -> str:
        if self.container:
            return f"container {self.container[:12] if len(self.container) == _ID else self.container}"
        return "an unknown user" if self.uid is None else f"user {self.uid}"


HOST = Owner(0)
"""Root's, and in no container."""
UNKNOWN = Owner(None)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A mount namespace as one scan found it."""

    inode: int
    pids: tuple[int, ...] = ()
    """Processes in it, lowest first; empty when only a bind or a descriptor keeps it."""
    id: int | None = None
    """The 64-bit id that is never reused (Linux 6.11)."""
    door: Door | None = None
    """How it is entered where it has no process."""
    owner: Owner = UNKNOWN


@dataclass(frozen=True, slots=True)
class Layout:
    """One pattern of mountpoints below a root. `*` stands for one path component.

    `**` alone stands for any directory, and then for mounts of block devices only.
    """

    pattern: bytes
    fstype: str | None
    """The type that the engine mounts there; None for any."""
    mount_class: MountClass = MountClass.LAYER
    is_file: bool = False
    """The mountpoint is a file (nsfs): a file is put in its place instead of a directory."""
    needs_history: bool = False
    """A spot alone is no evidence: any directory may be a mountpoint of anything."""


@dataclass(frozen=True, slots=True)
class Root:
    """A directory whose mounts are guarded, as the module of its engine found it."""

    path: bytes
    """Path in home, symbolic links resolved."""
    engine: str
    kind: RootKind
    layout: tuple[Layout, ...]
    home: int | None
    """Inode of home, the mount namespace in which the engine mounts; None: PID 1's."""
    home_known: bool = True
    """False where the engine is configured but not running: judged, and no action is taken."""
    home_pid: int | None = None
    """A process in home whose root is "/", where home is not our own namespace."""
    record: tuple[str, ...] = ()
    """Paths of the engine's own record, for engines/ to read; empty: none is known."""
    rmdir_on_put: bool = True
    """Whether the engine itself removes the mountpoint after an umount."""
    wants_private: bool = False
    """The engine makes this root private on purpose (containers/storage without skip_mount_home)."""
    aliases: tuple[bytes, ...] = ()
    """Names of the same directory in the configuration, through symbolic links."""
    daemonless: bool = False
    """The engine mounts in whatever namespace it is called in: nothing is reported unless its record says so."""

    @property
    def where(self) -> str:
        """Where home is, as a sentence says it."""
        return "on the host" if self.home_pid is None else f"in {self.engine}'s mount namespace"

    def is_called(self, path: bytes) -> bool:
        """Whether the configuration means this root by `path`."""
        return path == self.path or path in self.aliases


@dataclass(frozen=True, slots=True)
class Base:
    """A mount of home that holds a root or a part of it; the spots of the root are directories of its file system."""

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
    """The path in home."""
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
    """The spot on which an earlier scan saw the same (device, mnt_root) in home, while this copy was there already."""
    claim: Match | None = None
    """The layer that its own options name; whoever mounted it chose that text."""

    def with_history(self, history: Match) -> "Copy":
        """The same copy with that history. There may be tens of thousands, and dataclasses.replace() takes 8 us."""
        return Copy(self.namespace, self.mount, self.parent, self.spot, self.match, history, self.claim)


@dataclass(frozen=True, slots=True)
class Stack:
    """The same mount many times on one mountpoint, of home (`namespace` is home's) or of another namespace."""

    namespace: int
    match: Match
    top: Mount
    depth: int
    least: int | None = None
    """The least depth at which a scan saw it; None where that is not known."""
    bottom: int | None = None
    """Unique id of the lowest of them; None where it is not known."""

    @property
    def grew(self) -> bool:
        """Whether an earlier scan saw fewer of them."""
        return self.least is not None and self.least < self.depth


@dataclass(frozen=True, slots=True)
class RootState:
    """A root as one scan found it."""

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
class Standing:
    """A mount that home itself has on a spot, on top of all that is stacked there, and whose engine may prove that
    nobody owns it.
    """

    match: Match
    mount: Mount
    home: int | None
    asked: bool = True
    """Whether its owner is asked for in this scan; else what an earlier one was answered stands."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that could not be read: what, where and why. A gap is never taken for an absence."""

    what: str
    reason: str
    namespace: int | None = None
    count: int = 1
    owner: str | None = None
    """Whose namespace it is, such as `user 1000`, where it is not the host's."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Mount events that did not reach a scan, which therefore compared the mounts themselves."""

    reason: str
    """overflow or budget."""
    text: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A mount that was on a spot in home, and of which no copy is left in any namespace."""

    match: Match
    mount: Mount
    ids: frozenset[int]
    """Small mount ids that it had, in home and elsewhere. What holds one of them open keeps the superblock."""
    home: int | None = None
    """Inode of the home that had it."""


@dataclass(frozen=True, slots=True)
class Use:
    """One way in which a process uses a directory or a mount."""

    pid: int
    comm: str
    how: str
    """cwd, root, "fd 7", or "mount PATH" for a bind mount in its namespace."""

    def __str__(self) -> str:
        return f"process {self.pid} ({self.comm}, {self.how})" if self.pid else self.how


@dataclass(frozen=True, slots=True)
class Given:
    """A mount that a container or a unit was given on purpose, by its own configuration."""

    by: str
    """Who, such as `container 0123456789ab` or `web.service`; printable."""
    point: bytes
    """Where it has it."""
    stop: str | None
    """The command that stops it; None where none is known, or its name is special to a shell."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A superblock that no namespace has mounted and that is kept all the same, as one scan found it."""

    device: str
    """major:minor as mountinfo would show it."""
    fstype: str
    """Empty where it is not known."""
    uses: tuple[Use, ...]
    path: bytes | None = None
    """Of an overlay: a file of it in the layer's own file system, perhaps removed. Of a loop device: its file."""
    exact: bool = False
    """That path is in the overlay's own layer, not in one that others share."""
    sure: bool = False
    """It is of the root for certain."""
    bare: bool = False
    """It is kept by nothing but descriptors of a mount's root, as one that is made and not attached yet is."""
    root: Root | None = None
    """The root whose mount it was."""
    match: Match | None = None
    """The layer, where the path says it."""
