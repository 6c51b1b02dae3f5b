"""Mounts of home such as engines make for containers, on no spot of a known root. Pure.

What systemd and the system itself mount is left out: file-hierarchy(7), systemd.exec(5) (credentials, RootImage=),
systemd-sysext(8), portablectl(1), systemd-nspawn(1), snapd's and live systems' directories, user sessions.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..model import Mount, RootState
from .table import Table, below, join

_OVERLAYS = ("overlay", "aufs", "fuse.fuse-overlayfs")
_NAMESPACES = (b"net:[", b"ipc:[", b"uts:[", b"user:[", b"pid:[")
"""What nsfs shows as mnt_root of a namespace's file; mount namespaces are kept by snapd and unshare(1) alone."""

_SYSTEM = (
    *(b"/dev", b"/proc", b"/sys", b"/boot", b"/efi", b"/etc", b"/usr/lib", b"/usr/share", b"/usr/bin", b"/usr/sbin"),
    *(b"/lib", b"/bin", b"/sbin", b"/sysroot", b"/ostree", b"/rofs", b"/cdrom", b"/cow", b"/overlay", b"/rom"),
    *(b"/media/root-ro", b"/media/root-rw", b"/snap", b"/var/lib/snapd", b"/var/lib/flatpak"),
    *(b"/var/lib/machines", b"/var/lib/portables", b"/var/lib/extensions", b"/var/lib/extensions.mutable"),
    *(b"/var/lib/confexts", b"/run/systemd", b"/run/credentials", b"/run/user", b"/run/lock", b"/run/snapd"),
    *(b"/run/portables", b"/run/machines", b"/run/extensions", b"/run/confexts", b"/run/host", b"/run/initramfs"),
    *(b"/run/live", b"/run/archiso", b"/run/rootfsbase", b"/run/overlay", b"/run/media", b"/run/netns"),
)
"""Directories below which the system, and no engine, mounts."""

_SHARED = frozenset(
    {
        *(b"/", b"/home", b"/media", b"/mnt", b"/opt", b"/root", b"/run", b"/srv", b"/tmp", b"/usr", b"/usr/local"),
        *(b"/usr/local/lib", b"/usr/local/var", b"/usr/local/var/lib", b"/var", b"/var/cache", b"/var/lib"),
        *(b"/var/lib/private", b"/var/opt", b"/var/snap", b"/var/tmp"),
    }
)
"""Directories of many programs: what is right below them may be one engine's own."""


@dataclass(frozen=True, slots=True)
class UnguardedPattern:
    """Mounts below one directory whose paths are alike."""

    directory: bytes
    """What the patterns are below."""
    patterns: tuple[bytes, ...]
    fstypes: frozenset[str]
    many: int
    """How many mounts there are."""


@dataclass(frozen=True, slots=True)
class UnguardedDirectory:
    """A directory of one engine's own, with what is mounted below it and guarded by nothing."""

    path: bytes
    mounts: tuple[Mount, ...]
    found: tuple[UnguardedPattern, ...]

    @property
    def many(self) -> int:
        """How many of its mounts follow the patterns."""
        return sum(one.many for one in self.found)


def candidates(table: Table, states: Iterable[RootState]) -> tuple[Mount, ...]:
    """The mounts of home such as engines make, that are on no spot of a root and not below an engine's own root.

    What an engine that is known mounts elsewhere below its root is its module's business. Below a `[[root]]` entry
    the patterns of that entry alone are known.
    """
    states = tuple(states)
    guarded = {mount.id for state in states for mounts in state.live.values() for mount in mounts}
    known = [state.root.path for state in states if state.root.engine != "custom" and state.root.path != b"/"]
    passed_over = tuple(path + b"/" for path in (*_SYSTEM, *known))
    root = table.root()
    return tuple(
        mount
        for mount in table.mounts
        if _is_like_engines(mount)
        and mount.id not in guarded
        and (root is None or mount.device != root.device)
        and table.spot(mount) is not None
        and not (mount.point + b"/").startswith(passed_over)
    )


def _is_like_engines(mount: Mount) -> bool:
    """An overlay as a whole, not a bind of a part of one; a namespace's file; a container's /dev/shm.

    fusermount(1) mounts in home for any user: what is not root's there is no engine's of the host.
    """
    if mount.fstype in _OVERLAYS:
        fuse = mount.fstype.startswith("fuse.")
        return mount.root == b"/" and (not fuse or b"user_id=0" in mount.super_options.split(b","))
    if mount.fstype == "nsfs":
        return mount.root.startswith(_NAMESPACES)
    return mount.fstype == "tmpfs" and mount.root == b"/" and (mount.point.endswith(b"/shm") or mount.source == b"shm")


def own_directory(path: bytes) -> bytes | None:
    """The directory of one program above a mountpoint; None where the mountpoint itself is what would be that."""
    parts = path.split(b"/")
    for many in range(2, len(parts)):
        directory = b"/".join(parts[:many])
        if directory not in _SHARED:
            return directory
    return None


def directories(mounts: Iterable[Mount]) -> tuple[UnguardedDirectory, ...]:
    """The mounts by the directories that may be an engine's own, without those whose paths say nothing."""
    grouped: dict[bytes, list[Mount]] = {}
    for mount in mounts:
        if directory := own_directory(mount.point):
            grouped.setdefault(directory, []).append(mount)
    found = (UnguardedDirectory(path, tuple(some), tuple(_patterns(path, some))) for path, some in grouped.items())
    return tuple(one for one in found if one.found)


def _patterns(path: bytes, mounts: Collection[Mount]) -> Iterator[UnguardedPattern]:
    """Those of each type, and of several types as one where they lie below the same directory."""
    from .path_patterns import by_directory, patterns

    by_place: dict[bytes, dict[str, Mapping[bytes, int]]] = {}
    for fstype in dict.fromkeys(mount.fstype for mount in mounts):
        rels = [below(path, mount.point) or b"" for mount in mounts if mount.fstype == fstype]
        for parts, some in by_directory(patterns([tuple(rel.split(b"/")) for rel in rels])).items():
            by_place.setdefault(join(path, b"/".join(parts)), {})[fstype] = some
    for place, by_type in by_place.items():
        # A namespace's file has a mountpoint of another kind, and one entry can't be of both.
        types = frozenset(by_type) - {"nsfs"} or frozenset(by_type)
        known = sorted({pattern for fstype in types for pattern in by_type[fstype]})
        yield UnguardedPattern(place, tuple(known), types, sum(sum(by_type[fstype].values()) for fstype in types))
