"""The text of /proc/PID/mountinfo: bytes in, facts out. Nothing here opens a file.

A line, from proc_pid_mountinfo(5), Documentation/filesystems/proc.rst and fs/proc_namespace.c (show_mountinfo):

    36 35 98:0 /mnt1 /mnt2 rw,noatime shared:7 master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue
    |  |  |    |     |     |          |                                  | |    |         |
    |  |  |    |     |     options    any number of tags                 | type source    super options
    |  |  device root  point                                              separator
    id parent

Root, point, source and options have space, tab, newline and backslash (source also '#') as octal escapes; any
other byte, valid UTF-8 or not, stands as it is. The type may carry a ".subtype". Source may be empty, and is then
two spaces in a row. A field may be of any length up to what one line holds (the kernel skips longer mounts).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..model import Mount, Spot

_ESCAPE = re.compile(rb"\\([0-7]{3})")
_DEVICE = re.compile(rb"[0-9]+:[0-9]+")
_LONGEST_NUMBER = 19
"""Digits with which a number is below 2**64 whatever they are; the kernel's ids here are int."""
NO_NUMBER = "the mount id or its parent is not a number"
"""Why a line is unreadable."""
_TAGS = {b"shared": 0, b"master": 1, b"propagate_from": 2}


def unescape(field: bytes) -> bytes:
    r"""Undo mangle()'s octal escapes: ``\040`` is a space. Anything that is no escape stays as it is."""
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 8) & 0xFF,)), field) if b"\\" in field else field


def escape(field: bytes) -> bytes:
    r"""What mangle() of the kernel makes of a path: space, tab, newline and backslash as octal."""
    for byte in b"\\ \t\n":
        field = field.replace(bytes((byte,)), b"\\%03o" % byte)
    return field


def is_number(text: bytes) -> bool:
    """Whether it is a number as the kernel writes one: int() takes more, and refuses thousands of digits."""
    return len(text) <= _LONGEST_NUMBER and text.isdigit()


def are_numbers(texts: Sequence[bytes]) -> bool:
    """The same for many at once, of which there may be none."""
    return not texts or (
        b"".join(texts).isdigit() and 0 < min(map(len, texts)) <= max(map(len, texts)) <= _LONGEST_NUMBER
    )


class Unreadable(ValueError):
    """A line that is no mount. Its text is the reason."""


def parse_line(line: bytes, uniques: Mapping[bytes, int] = MappingProxyType({})) -> Mount:
    """One line, without its newline; `uniques` are unique ids by small ones. Raises: Unreadable with the reason."""
    identity, parent, rest = split(line)
    return build(identity, parent, parse_rest(rest), uniques.get(line[: line.index(b" ")]))


def split(line: bytes) -> tuple[int, int, bytes]:
    """The mount id, its parent, and the rest of a line. Raises: Unreadable with the reason."""
    head = line.split(b" ", 2)
    if len(head) != 3:
        raise Unreadable("fewer fields than an id, a parent and a mount")
    if not is_number(head[0]) or not is_number(head[1]):
        raise Unreadable(NO_NUMBER)
    return int(head[0]), int(head[1]), head[2]


Rest = tuple[str, bytes, bytes, bytes, int, int, int, bool, str, bytes, bytes]
"""A line without its two ids; copies of a mount in many namespaces often share it to the byte."""


def parse_rest(rest: bytes) -> Rest:
    """All fields after the two ids. Raises: Unreadable with the reason."""
    left, separator, right = rest.partition(b" - ")
    if not separator:
        raise Unreadable("no separator")
    fields = left.split(b" ")
    if len(fields) < 4:
        raise Unreadable("fewer fields than device, root, mount point and options")
    if not _DEVICE.fullmatch(fields[0]):
        raise Unreadable("the device is not major:minor")
    shared, master, origin, unbindable = _tags(fields[4:])
    fstype, source, super_options = _file_system(right)
    return (
        fields[0].decode(),
        unescape(fields[1]),
        unescape(fields[2]),
        fields[3],
        shared,
        master,
        origin,
        unbindable,
        fstype,
        source,
        super_options,
    )


def _tags(tags: list[bytes]) -> tuple[int, int, int, bool]:
    groups = [0, 0, 0]
    unbindable = False
    for tag in tags:
        name, _colon, value = tag.partition(b":")
        if name == b"unbindable":
            unbindable = True
        elif name in _TAGS:
            if not is_number(value):
                raise Unreadable("a peer group is not a number")
            groups[_TAGS[name]] = int(value)
        # A tag that we do not know is a newer kernel's: proc(5) says that parsers are to ignore it.
    return groups[0], groups[1], groups[2], unbindable


def _file_system(right: bytes) -> tuple[str, bytes, bytes]:
    fields = right.split(b" ")
    if len(fields) < 3:
        raise Unreadable("fewer fields than type, source and super options")
    # A source with a bare space cannot come from the kernel; super options could (a module's own), and come last.
    fstype = fields[0].decode("utf-8", "surrogateescape")
    return fstype, unescape(fields[1]), b" ".join(fields[2:])


def build(identity: int, parent: int, rest: Rest, unique: int | None = None) -> Mount:
    """A Mount of its ids and the rest of its line."""
    return Mount(identity, parent, *rest, unique)


def propagation(mount: Mount) -> str:
    """The mount's propagation in findmnt(8)'s words: shared, slave, both, private or unbindable."""
    words = [word for word, group in (("shared", mount.shared), ("slave", mount.master)) if group]
    return ",".join(words) or ("unbindable" if mount.unbindable else "private")


def parse(text: bytes, uniques: Mapping[bytes, int] = MappingProxyType({})) -> tuple[list[Mount], dict[str, int]]:
    """Every mount of a text, and how many lines were unreadable, by reason."""
    mounts: list[Mount] = []
    unreadable: dict[str, int] = {}
    for line in text.split(b"\n"):
        if not line:
            continue
        try:
            mounts.append(parse_line(line, uniques))
        except Unreadable as error:
            unreadable[str(error)] = unreadable.get(str(error), 0) + 1
    return mounts, unreadable


def below(parent: bytes, path: bytes) -> bytes | None:
    """What `path` is below `parent`, without a leading slash: empty for itself, None where it is not below."""
    if parent == b"/":
        return path[1:] if path.startswith(b"/") else None
    if path == parent:
        return b""
    return path[len(parent) + 1 :] if path.startswith(parent + b"/") else None


def join(directory: bytes, rest: bytes) -> bytes:
    """`rest` below `directory`, the inverse of `below`."""
    if not rest:
        return directory
    return directory + rest if directory.endswith(b"/") else directory + b"/" + rest


def spot_of(mount: Mount, parent: Mount | None) -> Spot | None:
    """Where `mount` is attached: (parent's device, parent's mnt_root joined with the path below the parent).

    None for an overmount (a mount on the root of its own parent), for a mountpoint or root that was deleted, and where
    the parent is not visible to the reader.
    """
    if parent is None or mount.point.endswith(b"//deleted") or parent.root.endswith(b"//deleted"):
        return None
    rest = below(parent.point, mount.point)
    return Spot(parent.device, join(parent.root, rest)) if rest else None


class Table:
    """The mounts of one namespace by id, with what is needed to walk them."""

    __slots__ = ("_by_id", "_children", "mounts", "unreadable")

    def __init__(self, mounts: Iterable[Mount], unreadable: dict[str, int] | None = None) -> None:
        self.mounts: tuple[Mount, ...] = tuple(mounts)
        self.unreadable = unreadable or {}
        self._by_id = {mount.id: mount for mount in self.mounts}
        self._children: dict[int, list[Mount]] = {}
        for mount in self.mounts:
            if mount.parent != mount.id:
                self._children.setdefault(mount.parent, []).append(mount)

    @classmethod
    def from_text(cls, text: bytes, uniques: Mapping[bytes, int] = MappingProxyType({})) -> "Table":
        """The table of a whole mountinfo text; `uniques` are unique ids by small ones as written."""
        return cls(*parse(text, uniques))

    def get(self, identity: int) -> Mount | None:
        """The mount with that small id."""
        return self._by_id.get(identity)

    def children(self, identity: int) -> list[Mount]:
        """Mounts whose parent is that mount."""
        return self._children.get(identity, [])

    def root(self) -> Mount | None:
        """The namespace's own root mount: the one at "/" whose parent is not in the table."""
        return next((m for m in self.mounts if m.point == b"/" and m.parent not in self._by_id), None)

    def spot(self, mount: Mount) -> Spot | None:
        """Where a mount of this table is attached."""
        return spot_of(mount, self.get(mount.parent))

    def stacked_on(self, mount: Mount) -> list[Mount]:
        """What is stacked on the root of `mount`, the last on top. A circle, as in a text that was torn, ends."""
        stack, seen = list[Mount](), {mount.id}
        while over := next((child for child in self.children(mount.id) if child.point == mount.point), None):
            if over.id in seen:
                break
            seen.add(over.id)
            stack.append(mount := over)
        return stack

    def top(self, mount: Mount) -> Mount:
        """What is seen at the root of `mount`: the last of what is stacked on it."""
        return [mount, *self.stacked_on(mount)][-1]

    def containing(self, path: bytes) -> Mount | None:
        """The mount that a walk from the namespace's root to `path` ends on; symbolic links must be resolved before."""
        mount = self.root() if path.startswith(b"/") else None
        while mount is not None:
            mount = self.top(mount)
            nearer = [
                child
                for child in self.children(mount.id)
                if len(child.point) > len(mount.point) and below(child.point, path) is not None
            ]
            if not nearer:
                return mount
            mount = min(nearer, key=lambda child: len(child.point))
        return None

    def visible(self, mount: Mount) -> bool:
        """Whether a walk to the mount's own path ends on it, so that nothing covers it."""
        return self.containing(mount.point) is mount


@dataclass(frozen=True, slots=True)
class Lines:
    """Finds a few mounts in a text without parsing the rest of it."""

    text: bytes

    def holding(self, needles: Iterable[bytes]) -> Iterable[bytes]:
        """Each line that holds any of the needles, once, in no order that means anything."""
        text, lines = self.text, dict[int, bytes]()
        find, rfind = text.find, text.rfind  # this loop is a third of what a look costs beside the reading
        for needle in needles:
            at = find(needle)
            while at >= 0:
                start = rfind(b"\n", 0, at) + 1
                end = find(b"\n", at)
                lines[start] = text[start : end if end >= 0 else len(text)]
                at = find(needle, end) if end >= 0 else -1
        return lines.values()

    def by_id(self, identity: int) -> bytes | None:
        """The line of that mount id."""
        prefix = b"%d " % identity
        if self.text.startswith(prefix):
            start = 0
        else:
            start = self.text.find(b"\n" + prefix) + 1
            if start == 0:
                return None
        end = self.text.find(b"\n", start)
        return self.text[start : end if end >= 0 else len(self.text)]
