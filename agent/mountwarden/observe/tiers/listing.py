"""What listmount(2) and statmount(2) answer: a namespace's ids as bytes, and a mount as its line of mountinfo.

The line is what fs/proc_namespace.c would print, so that whatever reads texts reads it too. A field is used only if its
bit is in the answer's mask; an empty string sets no bit.
"""

import errno
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...kernel import abi, syscalls
from ...kernel.abi import StatmountMask
from ...kernel.probe import FIELDS
from ...mounts.mountinfo import escape
from ..mount_lines import TimeLeft

ID = 8
"""Bytes of one mount id in a list."""

_PAGE = 512
"""Ids that one call of listmount(2) is asked for: in a deep stack of mounts each takes it milliseconds."""
_NEEDED = int(
    StatmountMask.SB_BASIC
    | StatmountMask.MNT_BASIC
    | StatmountMask.MNT_ROOT
    | StatmountMask.MNT_POINT
    | StatmountMask.FS_TYPE
)
_SUBTYPE, _SOURCE, _OPTIONS, _ASKED = map(
    int, (StatmountMask.FS_SUBTYPE, StatmountMask.SB_SOURCE, StatmountMask.MNT_OPTS, FIELDS)
)
"""Plain integers: & of an enum is a function call, and a scan makes thousands of them."""
_SMALLEST, _LARGEST = 1 << 12, 1 << 20
"""Bytes of the buffer for statmount's answers."""

_ATTRIBUTES = (
    (abi.MOUNT_ATTR_NOSUID, b",nosuid"),
    (abi.MOUNT_ATTR_NODEV, b",nodev"),
    (abi.MOUNT_ATTR_NOEXEC, b",noexec"),
    (abi.MOUNT_ATTR_NOATIME, b",noatime"),
    (abi.MOUNT_ATTR_NODIRATIME, b",nodiratime"),
    (0, b",relatime"),
    (abi.MOUNT_ATTR_NOSYMFOLLOW, b",nosymfollow"),
    (abi.MOUNT_ATTR_IDMAP, b",idmapped"),
)
"""In the order of show_mnt_opts(). relatime is the value zero of MOUNT_ATTR__ATIME."""
_SUPER = ((abi.SB_SYNCHRONOUS, b",sync"), (abi.SB_DIRSYNC, b",dirsync"), (abi.SB_LAZYTIME, b",lazytime"))


UNASKED = (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM)
"""Errors of a process that has ended, or may not be asked."""


class Vanished(Exception):
    """The mount or the namespace went meanwhile (ENOENT)."""


class NotAsText(Exception):
    """The answer of statmount(2) is not enough to write this mount's line of mountinfo."""


@dataclass(frozen=True, slots=True)
class MountLine:
    """A mount as its line of mountinfo, without a newline, and what the line does not say."""

    text: bytes
    unique: int
    parent: int
    """Unique id of the mount that it is mounted on."""


class Lister:
    """Asks listmount(2) and statmount(2), with buffers of its own that grow as the answers do."""

    def __init__(self) -> None:
        self._page = syscalls.id_buffer(_PAGE)
        self._buffer = syscalls.byte_buffer(_SMALLEST)

    def ids(self, namespace: int, seconds: float) -> bytes:
        """The unique ids of all mounts of a namespace, `ID` bytes each in native order, ascending.

        Raises: Vanished; PermissionError where its user namespace is not below ours; other errors of listmount(2);
        OSError of ETIME where it takes more than `seconds` of CPU time.
        """
        parts: list[bytes] = []
        last, time_left = 0, TimeLeft(seconds)
        try:
            # Resumed from the last id: the kernel goes on after it. An empty page ends the list, not a short one.
            while count := syscalls.listmount(abi.LSMT_ROOT, last, namespace, self._page):
                parts.append(memoryview(self._page)[: count * ID].tobytes())
                last = int.from_bytes(parts[-1][-ID:], sys.byteorder)
                if time_left.is_over():
                    raise OSError(errno.ETIME, os.strerror(errno.ETIME))
        except FileNotFoundError:
            raise Vanished from None
        return b"".join(parts)

    def answer(self, namespace: int, unique: int, mask: int = _ASKED) -> bytes:
        """statmount's answer, with the length that it gives. Raises: Vanished; other OSErrors as statmount(2) does."""
        while True:
            try:
                syscalls.statmount(unique, mask, namespace, self._buffer)
            except FileNotFoundError:
                raise Vanished from None
            except OSError as error:
                if error.errno != errno.EOVERFLOW or len(self._buffer) >= _LARGEST:
                    raise
                self._buffer = syscalls.byte_buffer(len(self._buffer) * 4)
                continue
            size = int.from_bytes(memoryview(self._buffer)[:4], sys.byteorder)
            return memoryview(self._buffer)[:size].tobytes()

    def line(self, namespace: int, unique: int, masters: Mapping[int, int]) -> MountLine:
        """A mount's line; see `line`. Raises: Vanished, NotAsText; other OSErrors as statmount(2) does."""
        return line(self.answer(namespace, unique), unique, masters)


def line(answer: bytes, unique: int, masters: Mapping[int, int]) -> MountLine:
    """The line of mountinfo that statmount's answer for the mount `unique` stands for.

    `masters` has the master of each peer group for which it is known, 0 for none. A mount whose master has a master
    itself may have a propagate_from: statmount(2) gives it as seen from the caller's root, the text as seen from the
    root of the namespace.

    Raises: NotAsText for such a mount, and where the answer lacks something.
    """
    if len(answer) < abi.STATMOUNT_STRINGS:
        raise NotAsText
    fields = abi.STATMOUNT.unpack_from(answer)
    _size, options, bits, major, minor, _magic, super_flags, fstype, identity, parent, small, small_parent = fields[:12]
    attributes, propagation, group, master, _origin, root, point, _namespace, subtype, source = fields[12:]
    if bits & _NEEDED != _NEEDED or identity != unique:
        raise NotAsText
    if master and masters.get(master) != 0:
        raise NotAsText

    def text(bit: int, offset: int) -> bytes:
        return _string(answer, offset) if bits & bit else b""

    words = [
        b"%d %d %d:%d" % (small, small_parent, major, minor),
        escape(_string(answer, root)),
        escape(_string(answer, point)),
        _options(attributes),
        *([b"shared:%d" % group] if group else ()),
        *([b"master:%d" % master] if master else ()),
        *([b"unbindable"] if propagation & abi.MS_UNBINDABLE else ()),
        b"-",
        _type(_string(answer, fstype), text(_SUBTYPE, subtype)),
        escape(text(_SOURCE, source)).replace(b"#", b"\\043"),
        _super_options(super_flags, text(_OPTIONS, options)),
    ]
    return MountLine(b" ".join(words), unique, parent)


def small_id(answer: bytes) -> int:
    """The small id in an answer that holds MNT_BASIC. Raises: Vanished where it does not."""
    if len(answer) < abi.STATMOUNT.size:
        raise Vanished
    fields = abi.STATMOUNT.unpack_from(answer)
    if not fields[2] & StatmountMask.MNT_BASIC:
        raise Vanished
    return int(fields[10])


def _string(answer: bytes, offset: int) -> bytes:
    start = abi.STATMOUNT_STRINGS + offset
    end = answer.find(b"\0", start)
    if end < 0:
        raise NotAsText
    return answer[start:end]


def _type(name: bytes, subtype: bytes) -> bytes:
    return b"%b.%b" % (name, subtype) if subtype else name


def _options(attributes: int) -> bytes:
    """The mount's own options, as show_mnt_opts() prints them."""
    words = [b"ro" if attributes & abi.MOUNT_ATTR_RDONLY else b"rw"]
    words += [
        word for bit, word in _ATTRIBUTES if (attributes & bit if bit else not attributes & abi.MOUNT_ATTR__ATIME)
    ]
    return b"".join(words)


def _super_options(flags: int, options: bytes) -> bytes:
    words = [b"ro" if flags & abi.SB_RDONLY else b"rw", *(word for bit, word in _SUPER if flags & bit)]
    return b"".join(words) + (b"," + options if options else b"")


@dataclass(frozen=True, slots=True)
class Identified:
    """A mount namespace's 64-bit id, which is never reused, and how many mounts it has (None: the kernel can't say)."""

    id: int
    mounts: int | None


def identify(pid: int, inode: int) -> Identified | None:
    """The mount namespace of a process; None where it is not in the one with that inode (any more).

    Raises: OSError as open(2) and the ioctls do. The descriptor, which pins the namespace, is closed at once.
    """
    fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return identify_open(fd) if os.fstat(fd).st_ino == inode else None
    finally:
        os.close(fd)


def identify_open(fd: int) -> Identified:
    """The mount namespace of an open nsfs file. Raises: OSError as the ioctls do."""
    try:
        identity, mounts, _none = syscalls.mnt_ns_info(fd)
    except OSError as error:
        # NS_MNT_GET_INFO: Linux 6.12; NS_GET_MNTNS_ID: 6.11.
        if error.errno not in (errno.ENOTTY, errno.EINVAL):
            raise
        return Identified(syscalls.mnt_ns_id(fd), None)
    return Identified(identity, mounts)


def with_namespace(pid: int, inode: int, function: Callable[[int], None]) -> bool:
    """Call the function with an nsfs descriptor of the process's mount namespace; False where it is another one by now.

    Raises: OSError as open(2) does, or what the function raises.
    """
    fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_ino != inode:
            return False
        function(fd)
    finally:
        os.close(fd)
    return True
