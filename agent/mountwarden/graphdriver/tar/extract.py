"""Applying a layer tar to a directory: every step beneath the directory's descriptor, nothing written in place.

What is already there under a member's name is removed first (a directory under a directory is kept), because the
files of an image share their inodes with the image below it. Whiteouts take away what lower layers brought and leave
what this layer brought, in whichever order they come, as the OCI image specification says.
"""

import enum
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from .. import xattrs
from ..beneath import RootDirectory, by_fd, exists, normalise, printable
from ..driver import GraphdriverError
from ..idmap import IdMaps
from ..removal import remove_children, remove_tree
from .format import BadArchive
from .parents import Parents, join, make_directory
from .reader import EntryKind, Member, TarReader

WHITEOUT = b".wh."
META = b".wh..wh."
OPAQUE = b".wh..wh..opq"
_CHUNK = 1 << 20
_HOLE = 1 << 16  # zeros of at least this many bytes become a hole
_ZEROS = bytes(_HOLE)


class CannotApply(GraphdriverError):
    """The file system, or what a member says of itself, keeps it from being made."""

    status = 2


class Devices(enum.StrEnum):
    """What to do with a device node."""

    CREATE = "create"
    SKIP = "skip"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Options:
    """How to apply. The limits are for untrusted streams; None is no limit.

    `maximum_bytes` counts the members' sizes with their holes, `progress` is called with the bytes of the stream so
    far.
    """

    maps: IdMaps = field(default_factory=IdMaps)
    devices: Devices = Devices.CREATE
    end_marker: bool = True
    maximum_members: int | None = 10_000_000
    maximum_bytes: int | None = None
    progress: Callable[[int], None] | None = None


def default_devices() -> Devices:
    """Whether device nodes can be made here: in a user namespace the kernel makes none (user_namespaces(7))."""
    with open("/proc/self/uid_map") as lines:
        whole = [line.split() for line in lines] == [["0", "0", "4294967295"]]
    return Devices.CREATE if whole else Devices.SKIP


def apply_layer(directory: bytes, stream: BinaryIO, options: Options | None = None) -> int:
    """Apply an uncompressed layer tar to `directory`; the bytes that its members hold.

    Raises: BadArchive or Escape for a stream that is wrong or hostile, CannotApply where the file system refuses a
    member. What was applied until then is left for the caller to remove.
    """
    with RootDirectory(directory) as root, Extraction(root, stream, options or Options()) as extraction:
        return extraction.run()


class Extraction:
    """One run of `apply_layer`."""

    def __init__(self, root: RootDirectory, stream: BinaryIO, options: Options) -> None:
        self._root = root
        self._options = options
        self._reader = TarReader(stream, end_marker=options.end_marker)
        self._parents = Parents(root, options.maps)
        self._unpacked = self._parents.unpacked
        self._times: dict[bytes, int] = {}
        self._buffer = memoryview(bytearray(_CHUNK))
        self._make = {
            EntryKind.FILE: self._file,
            EntryKind.DIRECTORY: self._directory,
            EntryKind.SYMLINK: self._symlink,
            EntryKind.HARDLINK: self._hardlink,
            EntryKind.CHARACTER: self._node,
            EntryKind.BLOCK: self._node,
            EntryKind.FIFO: self._node,
        }

    def __enter__(self) -> "Extraction":
        return self

    def __exit__(self, *exception: object) -> None:
        self._parents.forget()

    def run(self) -> int:
        """All members; the sum of their sizes."""
        total = 0
        for count, member in enumerate(self._reader, 1):
            total += member.size
            self._check_limits(count, total)
            self._apply(member)
            if self._options.progress:
                self._options.progress(self._reader.position)
        self._reader.drain()
        self._set_times()
        return total

    def _check_limits(self, count: int, total: int) -> None:
        members, size = self._options.maximum_members, self._options.maximum_bytes
        if members is not None and count > members:
            raise BadArchive(f"the archive has more than {members} members")
        if size is not None and total > size:
            raise BadArchive(f"the archive holds more than {size} bytes")

    def _apply(self, member: Member) -> None:
        path = normalise(member.name)
        parent, _, name = path.rpartition(b"/")
        try:
            if not path:
                self._root_itself(member)
            elif name == OPAQUE:
                self._opaque(parent)
            elif name.startswith(META) or path.startswith(META):
                return  # metadata of aufs itself, not content
            elif name.startswith(WHITEOUT):
                self._whiteout(parent, name.removeprefix(WHITEOUT), member)
            else:
                self._entry(parent, name, member)
        except OSError as error:
            raise CannotApply(f"cannot apply the {member.kind} {printable(member.name)}: {error.strerror}") from error

    def _root_itself(self, member: Member) -> None:
        if member.kind is not EntryKind.DIRECTORY:
            raise BadArchive(f"the layer's root would become a {member.kind}")
        self._directory_metadata(self._root.fd, b"", member)

    # Whiteouts

    def _whiteout(self, parent: bytes, name: bytes, member: Member) -> None:
        if name in (b"", b".", b".."):
            raise BadArchive(f"{printable(member.name)} is a whiteout of no name")
        try:
            fd = self._root.open_directory(parent)
        except FileNotFoundError:
            return
        try:
            path = join(self._parents.real_path(fd, parent), name)
            found = exists(fd, name)
            if found is None:
                return
            if path not in self._unpacked:
                self._parents.forget()
                remove_tree(fd, name)
            elif stat.S_ISDIR(found.st_mode):
                self._remove_lower(fd, name, path)
        finally:
            os.close(fd)

    def _opaque(self, parent: bytes) -> None:
        fd, path = self._parents.open(parent)
        self._remove_lower(fd, b".", path)

    def _remove_lower(self, fd: int, name: bytes, path: bytes) -> None:
        """Remove all in a directory that this layer did not bring."""
        own = os.dup(fd)
        try:
            self._parents.forget()
            remove_children(own, name, lambda below: join(path, below) in self._unpacked)
        finally:
            os.close(own)

    # Members

    def _entry(self, parent: bytes, name: bytes, member: Member) -> None:
        fd, real_parent = self._parents.open(parent)
        real = join(real_parent, name)
        if member.kind is EntryKind.HARDLINK and self._same(member, parent, name):
            return
        fd = self._clear(fd, parent, name, member)
        self._make[member.kind](fd, name, member, real)
        self._unpacked.add(real)

    def _same(self, member: Member, parent: bytes, name: bytes) -> bool:
        """A hard link of a name to itself, as GNU tar writes it for a name that it was given twice."""
        return normalise(member.target) == join(parent, name)

    def _clear(self, fd: int, parent: bytes, name: bytes, member: Member) -> int:
        found = exists(fd, name)
        if found is None:
            return fd
        if stat.S_ISDIR(found.st_mode):
            if member.kind is EntryKind.DIRECTORY:
                return fd
            own = os.dup(fd)
            try:
                self._parents.forget()
                remove_tree(own, name)
            finally:
                os.close(own)
            return self._parents.open(parent)[0]
        os.unlink(name, dir_fd=fd)
        if not stat.S_ISLNK(found.st_mode):
            return fd
        self._parents.forget()
        return self._parents.open(parent)[0]

    def _file(self, fd: int, name: bytes, member: Member, real: bytes) -> None:
        out = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
        try:
            self._content(out, member)
            self._metadata(out, member)
            os.utime(out, ns=(member.mtime, member.mtime))
        finally:
            os.close(out)

    def _content(self, out: int, member: Member) -> None:
        end = 0
        for start, size in member.segments:
            for position in range(start, start + size, _CHUNK):
                view = self._buffer[: min(_CHUNK, start + size - position)]
                self._reader.readinto(view)
                end = max(end, self._write(out, view, position))
                if self._options.progress and size > _CHUNK:
                    self._options.progress(self._reader.position)
        if end != member.size:
            os.ftruncate(out, member.size)

    @staticmethod
    def _write(out: int, view: memoryview, position: int) -> int:
        """Write, but leave holes for zeros; where the last written byte ended."""
        size = len(view)
        if size < _HOLE or _ZEROS not in (view[:_HOLE], view[-_HOLE:]):
            pieces = [(0, size)]
        else:
            steps = range(0, size, _HOLE)
            pieces = [(s, min(s + _HOLE, size)) for s in steps if view[s : s + _HOLE] != _ZEROS[: size - s]]
        end = 0
        for start, stop in pieces:
            while start < stop:
                start += os.pwrite(out, view[start:stop], position + start)
            end = position + stop
        return end

    def _metadata(self, fd: int, member: Member) -> None:
        """Owner first: changing it clears set-id bits and capabilities."""
        os.fchown(fd, *self._options.maps.host(member.uid, member.gid))
        os.fchmod(fd, member.mode)
        self._xattrs(fd, member)

    def _xattrs(self, target: bytes | int, member: Member) -> None:
        if member.xattrs:
            values = {name: value for name, value in member.xattrs.items() if xattrs.travels(name)}
            xattrs.write(target, xattrs.to_host(values, self._options.maps))

    def _directory(self, fd: int, name: bytes, member: Member, real: bytes) -> None:
        try:
            own = make_directory(fd, name)
        except FileExistsError:
            own = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            self._directory_metadata(own, real, member)
        finally:
            os.close(own)

    def _directory_metadata(self, fd: int, real: bytes, member: Member) -> None:
        self._metadata(fd, member)
        self._times[real] = member.mtime

    def _set_times(self) -> None:
        """Those of directories come last, since each entry made in one changes it."""
        for path, mtime in self._times.items():
            parent, _, name = path.rpartition(b"/")
            try:
                fd = self._root.open_directory(parent)
            except (FileNotFoundError, NotADirectoryError):  # replaced by a later member
                continue
            try:
                os.utime(name or b".", ns=(mtime, mtime), dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                pass
            finally:
                os.close(fd)

    def _symlink(self, fd: int, name: bytes, member: Member, real: bytes) -> None:
        os.symlink(member.target, name, dir_fd=fd)
        self._by_name(fd, name, member)

    def _by_name(self, fd: int, name: bytes, member: Member) -> None:
        uid, gid = self._options.maps.host(member.uid, member.gid)
        os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
        if member.kind is not EntryKind.SYMLINK:
            os.chmod(by_fd(fd, name), member.mode)
        self._xattrs(by_fd(fd, name), member)
        os.utime(name, ns=(member.mtime, member.mtime), dir_fd=fd, follow_symlinks=False)

    def _hardlink(self, fd: int, name: bytes, member: Member, real: bytes) -> None:
        """No metadata is set: the link shares its target's inode, which an image below may share too."""
        target = normalise(member.target)
        parent, _, target_name = target.rpartition(b"/")
        if not target_name or target_name.startswith(META):
            raise BadArchive(
                f"{printable(member.name)} is a hard link to {printable(member.target)}, which no layer holds"
            )
        source = self._root.open_directory(parent)
        try:
            os.link(target_name, name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(source)

    def _node(self, fd: int, name: bytes, member: Member, real: bytes) -> None:
        if member.kind is EntryKind.FIFO:
            os.mknod(name, stat.S_IFIFO | 0o600, dir_fd=fd)
            return self._by_name(fd, name, member)
        if member.kind is EntryKind.CHARACTER and member.device == (0, 0):
            raise BadArchive(f"{printable(member.name)} is the character device 0:0, overlayfs's own whiteout")
        if self._options.devices is Devices.REFUSE:
            raise BadArchive(f"{printable(member.name)} is a {member.kind}, and devices are refused")
        if self._options.devices is Devices.CREATE:
            kind = stat.S_IFCHR if member.kind is EntryKind.CHARACTER else stat.S_IFBLK
            os.mknod(name, kind | 0o600, os.makedev(*member.device), dir_fd=fd)
            self._by_name(fd, name, member)
        return None
